"""Thresholds of class scores, set on validation items, for tasks where several classes may apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.predict import bind
from promptology.prompts.learned import Learned
from promptology.run.engine import Run


def scores_of(run: Run, learned: Learned, items: Sequence[Item]) -> NDArray[np.float32]:
    """Return the class scores of a prompt on items, float32, shape (items, classes)."""
    found = bind(learned, run.model()).predict(items).scores
    assert found is not None
    return found


def best_thresholds(scores: NDArray[Any], gold: NDArray[Any]) -> NDArray[np.float32]:
    """Return per class the threshold with the best F1, float32, shape (classes,); of equal ones the nearest to 0.

    `scores`, `gold` (0 or 1): shape (items, classes). Thresholds lie half way between two scores; 0 is one of them. A
    class that no item has keeps 0.
    """
    found = np.zeros(scores.shape[1], np.float32)
    for c in range(scores.shape[1]):
        real = gold[:, c] > 0.5
        if not real.any():
            continue
        ordered = np.unique(scores[:, c].astype(np.float64))
        middles = (ordered[1:] + ordered[:-1]) / 2
        candidates = np.array(sorted((0.0, ordered[0] - 1.0, *middles), key=abs))
        said = scores[:, c][None] > candidates[:, None]
        f1 = 2 * (said & real).sum(axis=1) / (said.sum(axis=1) + real.sum())
        found[c] = candidates[int(f1.argmax())]
    return found
