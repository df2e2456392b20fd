"""Logistic regression on features: what a probe fits, and what a small teacher is made of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError

GRID = (0.001, 0.01, 0.1, 1.0)
FOLDS = 5
ABSENT = 10.0
"""By how much the score of a class without a training item lies below the others' biases."""
Array = NDArray[np.float64]


class Fitted(NamedTuple):
    """A linear map: `weight` (classes, width) and `bias` (classes,)."""

    weight: Array
    bias: Array


def probe(vectors: Array, gold: Array, several: bool, decay: float = 0.0) -> tuple[Fitted, float]:
    """Return the regression of classes on vectors as they are, and its weight decay.

    Each dimension is scaled to mean 0 and variance 1 for the fit, and the scaling folded into what is returned.
    `decay`: 0 chooses it (`best_decay`). Raises UsageError where scikit-learn is missing.
    """
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    spread[spread < 1e-12] = 1.0
    scaled = (vectors - mean) / spread
    _solver(1.0)  # says what is missing before threads are looked at
    with one_thread():
        decay = decay or best_decay(scaled, gold, several)
        found = regression(scaled, gold, decay, several)
    weight = found.weight / spread
    return Fitted(weight, found.bias - weight @ mean), decay


def _solver(penalty: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise UsageError(
            'a linear probe needs scikit-learn; install it with pip install "promptology[local]"'
        ) from None
    return LogisticRegression(C=1.0 / penalty, max_iter=1000, tol=1e-6)


@contextmanager
def one_thread() -> Iterator[None]:
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
    """Return the decay of the grid with the least loss on held-out parts of the items; of equal ones the largest.

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
