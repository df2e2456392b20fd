"""Linear probe: logistic regression on the frozen features of a model, the baseline of everything that is trained.

Guillaume Alain, Yoshua Bengio, "Understanding intermediate layers using linear classifier probes", 2016,
arXiv:1610.01644, here on the last layer; the regression and its choice of weight decay are textbook ones.

    h(x) <- the model's unit vector of x (of an image that of the image tower), each dimension scaled to mean 0 and variance 1 over the training items
    W, b <- argmin  mean over items of the cross-entropy of softmax(W h + b)  +  decay / 2 |W|^2
            (several classes an item: one regression a class, with the sigmoid)
    decay: the one with the least loss on held-out fifths of the training items
    the scaling is folded into W and b, so that what is saved reads the plain vectors

Vectors of unit length, not states as they are: every model that embeds gives them, white box or not, so that a probe
and its score do not depend on what else a model offers, and it works on with any way to the same model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Differentiable, Embeds, TwoTower
from promptology.predict.images import images_of
from promptology.prompts.learned import Learned, Readout
from promptology.prompts.render import input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.regression import probe


@method(
    "linear-probe",
    family="soft",
    learns="head",
    paper="arXiv:1610.01644",
    needs={"model": Embeds | Differentiable | TwoTower},
)
@dataclass(frozen=True)
class LinearProbe:
    """Fit a linear head on the model's vectors."""

    decay: float = 0.0
    """Weight decay on scaled features, as a share of the mean loss; 0 chooses among 0.001, 0.01, 0.1 and 1."""
    features: str = "embed"
    """What is read of a text: embed (unit vectors), or state (pooled hidden states as they are, of a white-box model)."""

    def plan(self, task: Task) -> Cost:
        """Return one pass per labelled training item."""
        return Cost(passes=sum(i.labelled for i in task.train))

    def fit(self, run: Run) -> Learned:
        """Return the head as a readout."""
        if self.features not in ("embed", "state"):
            raise UsageError(f"features {self.features!r} are unknown; there are embed and state")
        signature, items = run.task.signature, [i for i in run.task.train if i.labelled]
        if signature.output not in ("class", "classes"):
            raise UsageError(f"a linear probe tells classes apart; the output of this task is {signature.output}")
        if not items:
            raise UsageError(f"task {run.task.name!r} has no labelled training items to train on")
        handle, features = run.model(), "image" if signature.images else self.features
        if features == "image":
            vectors = handle.embed(images_of(items, signature)).astype(np.float64)
        else:
            texts = [input_text(i.inputs, signature) for i in items]
            vectors = (handle.embed(texts) if features == "embed" else handle.states(texts)).astype(np.float64)
        several = signature.output == "classes"
        said = [i.target if several else (i.target,) for i in items]
        gold = np.array([[name in some for name in signature.class_names] for some in said], np.float64)
        found, decay = probe(vectors, gold, several, self.decay)
        run.log("probe", decay=decay, items=len(items), width=vectors.shape[1])
        arrays = {"weight": found.weight.astype(np.float32), "bias": found.bias.astype(np.float32)}
        options = {"classes": list(signature.class_names), "input_template": "{input}", "features": features}
        access = {"embed": "embeds", "state": "differentiable", "image": "two-tower"}[features]
        return Learned((Readout("head", options, arrays),), signature, {"model": access}, "linear-probe")
