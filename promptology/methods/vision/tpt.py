"""TPT: a context of class names that is tuned anew for every image, so that its crops agree on a confident answer.

Manli Shu, Weili Nie, De-An Huang, Zhiding Yu, Tom Goldstein, Anima Anandkumar, Chaowei Xiao, "Test-Time Prompt Tuning
for Zero-Shot Generalization in Vision-Language Models", NeurIPS 2022, arXiv:2209.07511; settings from the authors' code.

    v0 <- embeddings of a phrase                                        (or a context that CoOp learned: a source)
    for each test image x:
        x_1 = x;  x_2 .. x_B <- random crops of x, some flipped
        v <- v0,  AdamW anew
        p_i <- softmax over c of  scale <f(x_i), g([v] [name of c] .)>
        K <- the floor(rho B) views of lowest entropy of p_i            (chosen once, by v0)
        for each step:
            v <- AdamW down the entropy of  mean over i in K of p_i
        answer: the class of highest  <f(x), g([v] [name of c] .)>

Nothing is learned beforehand and no label is used: what is kept is how to adapt, a procedure, and its price is paid in
every prediction. What differs: vectors of views are computed once (the code encodes them at every step, with the same
numbers); crops are drawn from the image's own digest and the run's seed, so that no other image plays a part; float32
without loss scaling; whether crops are mixed (AugMix) is a setting, where the code goes by the data set's name. Of a
context that depends on the image (CoCoOp as a source) what its network gives for the image is tuned.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import TwoTower
from promptology.prompts.learned import Learned
from promptology.prompts.procedures import Procedure
from promptology.run.cost import Cost
from promptology.run.engine import Run


@method("tpt", family="vision", learns="procedure", paper="arXiv:2209.07511", needs={"model": TwoTower}, labels=False)
@dataclass(frozen=True)
class TPT:
    """Tune the context of class names on the views of each image, as it comes."""

    length: int = 4
    """Vectors of context (code)."""
    phrase: str = "a photo of a"
    """Words that the context starts from (code), where it has no more vectors than they tokens; empty: at random."""
    views: int = 64
    """B: views of an image, itself among them (code)."""
    confident: float = 0.1
    """rho: share of views that is kept, those of lowest entropy, at least one (code)."""
    steps: int = 1
    """Steps for an image (code); 0: zero-shot."""
    rate: float = 0.005
    """Rate of the context (code)."""
    decay: float = 0.01
    """Weight decay, which draws the context to zero (AdamW's own, code)."""
    flip: float = 0.5
    """Share of crops that is mirrored (code); 0 where left and right mean something."""
    augmix: bool = False
    """Whether crops are mixed from chains of mild operations (AugMix), as the code does on fine-grained data sets."""

    def plan(self, task: Task) -> Cost:
        """Return nothing: all is done in predictions."""
        return Cost()

    def fit(self, run: Run) -> Learned:
        """Return the context and the procedure."""
        from promptology.training.test_time import adapting_classes

        if self.views < 1:
            raise UsageError(f"views is {self.views}; the image itself is one, so 1 or more are due")
        options = {
            "crops": self.views - 1,
            "flip": self.flip,
            "augmix": self.augmix,
            "confident": self.confident,
            "steps": self.steps,
            "rate": self.rate,
            "decay": self.decay,
            "seed": int(run.rng("views").integers(2**31)),
        }
        return adapting_classes(run, self.length, self.phrase, Procedure("view-tuning", options), "tpt")
