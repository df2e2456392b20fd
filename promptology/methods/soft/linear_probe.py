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

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Differentiable, Embeds, TwoTower
from promptology.predict.images import images_of
from promptology.prompts.learned import Learned, Readout
from promptology.prompts.render import input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run

GRID = (0.001, 0.01, 0.1, 1.0)
FOLDS = 5
ABSENT = 10.0
"""By how much the score of a class without a training item lies below the others' biases."""
Array = NDArray[np.float64]


class Fitted(NamedTuple):
    """A linear map: `weight` (classes, width) and `bias` (classes,)."""

    weight: Array
    bias: Array


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
        mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
        spread[spread < 1e-12] = 1.0
        scaled = (vectors - mean) / spread
        _solver(1.0)  # says what is missing before threads are looked at
        with _one_thread():
            decay = self.decay or best_decay(scaled, gold, several)
            found = regression(scaled, gold, decay, several)
        run.log("probe", decay=decay, items=len(items), width=vectors.shape[1])
        weight = found.weight / spread
        arrays = {"weight": weight.astype(np.float32), "bias": (found.bias - weight @ mean).astype(np.float32)}
        options = {"classes": list(signature.class_names), "input_template": "{input}", "features": features}
        access = {"embed": "embeds", "state": "differentiable", "image": "two-tower"}[features]
        return Learned((Readout("head", options, arrays),), signature, {"model": access}, "linear-probe")


def _solver(penalty: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise UsageError(
            'the linear probe needs scikit-learn; install it with pip install "promptology[local]"'
        ) from None
    return LogisticRegression(C=1.0 / penalty, max_iter=1000, tol=1e-6)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, without lines about a solver that stops at its most steps.

    Matrices this small are multiplied a hundred times slower by threads that wait for each other on a busy machine.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def regression(features: Array, gold: Array, decay: float, several: bool) -> Fitted:
    """Return the logistic regression of classes on features: one for all, or with `several` one for each class.

    `features`: (items, width); `gold` (0 or 1): (items, classes). A class without items gets no weight and a bias below
    all others; where several may apply, a class that all or no items have gets the log-odds of its share.
    """

    def solve(target: NDArray[Any]) -> Any:
        return _solver(decay * len(features)).fit(features, target)

    n, classes = gold.shape
    weight, bias = np.zeros((classes, features.shape[1])), np.zeros(classes)
    if several:
        for c in range(classes):
            positives = gold[:, c].sum()
            if 0 < positives < n:
                one = solve(gold[:, c] > 0)
                weight[c], bias[c] = one.coef_[0], one.intercept_[0]
            else:
                bias[c] = np.log((positives + 0.5) / (n - positives + 0.5))
        return Fitted(weight, bias)
    present = np.flatnonzero(gold.any(axis=0))
    if len(present) == 2:
        one = solve(gold.argmax(axis=1) == present[1])
        weight[present], bias[present] = np.outer((-0.5, 0.5), one.coef_[0]), np.array((-0.5, 0.5)) * one.intercept_[0]
    elif len(present) > 2:
        whole = solve(gold.argmax(axis=1))
        weight[present], bias[present] = whole.coef_, whole.intercept_
    bias[np.setdiff1d(np.arange(classes), present)] = bias.min() - ABSENT
    return Fitted(weight, bias)


def best_decay(features: Array, gold: Array, several: bool) -> float:
    """Return the weight decay of the grid with the least loss on held-out parts of the items; of equal ones the largest.

    Items take turns over the parts, class by class, so that the parts are alike and no chance is involved.
    """
    parts = min(FOLDS, len(features))
    if parts < 2:
        return GRID[-1]
    order = np.lexsort((np.arange(len(gold)), gold.argmax(axis=1)))
    part = np.empty(len(gold), np.int64)
    part[order] = np.arange(len(gold)) % parts
    losses = []
    for decay in GRID:
        loss = 0.0
        for k in range(parts):
            held = part == k
            found = regression(features[~held], gold[~held], decay, several)
            loss += float(loss_of(features[held] @ found.weight.T + found.bias, gold[held], several))
        losses.append(loss)
    return GRID[len(GRID) - 1 - int(np.argmin(losses[::-1]))]


def loss_of(scores: Array, gold: Array, several: bool) -> float:
    """Return the summed cross-entropy of scores, in nats."""
    if several:
        return float((np.logaddexp(0.0, scores) - gold * scores).sum())
    return float((np.logaddexp.reduce(scores, axis=1) - (scores * gold).sum(axis=1)).sum())
