"""DiffTPT: test-time prompt tuning on generated pictures beside crops, those left out that stray from the image.

Chun-Mei Feng, Kai Yu, Yong Liu, Salman Khan, Wangmeng Zuo, "Diverse Data Augmentation with Diffusions for Effective
Test-time Prompt Tuning", ICCV 2023, arXiv:2308.06038; settings from the authors' code. Its base is TPT, see `tpt`.

    for each test image x:
        V <- x, random crops of x, pictures that a generator makes of x
        v <- v0,  AdamW anew
        p_i <- softmax over c of  scale <f(x_i), g([v] [name of c] .)>
        S <- x, and of the others the share rho_c that is most similar to x by cosine
        K <- of S the share rho_h of lowest entropy of p_i                   (S and K chosen once, by v0)
        for each step:
            v <- AdamW down the entropy of  mean over i in K of p_i
        answer: the class of highest  <f(x), g([v] [name of c] .)>

The generator is the helper `views`: any function from a picture to pictures, such as a diffusion model that varies an
image. It is asked when a prompt is used, once for each image; a folder holds nothing of it. What the paper calls the
similarity of a generated picture to the image is a choice here: of vectors of images, for generated views alone (the
paper's words), or of class logits, for crops too (the authors' code). What else differs is what `tpt` states.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import TwoTower, Varies
from promptology.prompts.learned import Learned
from promptology.prompts.procedures import Procedure
from promptology.run.cost import Cost
from promptology.run.engine import Run


@method(
    "difftpt",
    family="vision",
    learns="procedure",
    paper="arXiv:2308.06038",
    needs={"model": TwoTower, "views": Varies},
    labels=False,
)
@dataclass(frozen=True)
class DiffTPT:
    """Tune the context of class names on crops and generated pictures of each image, as it comes."""

    length: int = 4
    """Vectors of context (code)."""
    phrase: str = "a photo of a"
    """Words that the context starts from (code), where it has no more vectors than they tokens; empty: at random."""
    crops: int = 64
    """Random crops of an image, beside itself (code)."""
    generated: int = 63
    """Generated pictures of an image (code)."""
    faithful: float = 0.8
    """rho_c: share that is kept as most similar to the image (code); 1: all."""
    similarity: str = "image"
    """By what: image (vectors of images; generated views alone) or logits (class logits; all views, as the code)."""
    confident: float = 0.3
    """rho_h: share of these that is kept, those of lowest entropy, at least one (code)."""
    steps: int = 4
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

        if self.generated < 1:
            raise UsageError(f"generated is {self.generated}; without generated pictures take method tpt")
        names = (
            "crops",
            "flip",
            "augmix",
            "generated",
            "faithful",
            "similarity",
            "confident",
            "steps",
            "rate",
            "decay",
        )
        options = {name: getattr(self, name) for name in names}
        options["seed"] = int(run.rng("views").integers(2**31))
        return adapting_classes(run, self.length, self.phrase, Procedure("view-tuning", options), "difftpt")
