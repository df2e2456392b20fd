"""Pseudo-labels: what a teacher says of texts without labels, and which of it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.training.regression import probe

Rows = NDArray[np.float64]


def teach(vectors: NDArray[Any], said: Sequence[str], others: NDArray[Any], names: Sequence[str]) -> Rows:
    """Return a small teacher's class probabilities of `others`, shape (len(others), classes).

    It is a logistic regression on labelled `vectors` whose classes are `said`. A class without a labelled text gets
    nearly none.
    """
    gold = np.array([[name == one for name in names] for one in said], np.float64)
    found, _ = probe(vectors.astype(np.float64), gold, several=False)
    return softmax(others.astype(np.float64) @ found.weight.T + found.bias)


def softmax(scores: NDArray[Any]) -> Rows:
    """Return the probabilities of each row of scores, float64."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Rows = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def agreed(q: Rows, intended: Sequence[int], confidence: float) -> NDArray[np.bool_]:
    """Return which rows have their intended class as their likeliest one, with `confidence` at least, bool (n,)."""
    rows = np.arange(len(q))
    return np.asarray((q.argmax(axis=1) == np.asarray(intended)) & (q[rows, intended] >= confidence))
