"""The instance-wise Pareto front: candidates that are the best on some item, and which of them to go on with.

A candidate that is good where all others fail is worth going on with, however low its mean (GEPA, arXiv:2507.19457,
algorithm 2). Scores have the shape (candidates, items), NaN where there is none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def best_on(values: Table) -> NDArray[np.bool_]:
    """Return where a candidate has the best score of all on an item, alone or with others; same shape."""
    filled = np.where(np.isnan(values), -np.inf, values)
    return np.asarray((filled == filled.max(axis=0, initial=-np.inf)) & ~np.isnan(values))


def front(values: Table) -> NDArray[np.bool_]:
    """Return where the candidates of the front are the best, same shape: the rows of all others are empty.

    From the lowest mean upwards (among equals the older first), a candidate leaves the front where on every item on
    which it is the best another that is still there is as good. Every item keeps one that is the best on it.
    """
    best = best_on(values)
    scored = ~np.isnan(values)
    means = np.nansum(values, axis=1) / np.maximum(scored.sum(axis=1), 1)
    holders = best.sum(axis=0)
    for candidate in np.argsort(means, kind="stable"):
        mine = best[candidate]
        if (holders[mine] > 1).all():
            holders = holders - mine
            best[candidate] = False
    return best


def frequencies(values: Table) -> NDArray[np.int64]:
    """Return on how many items each candidate of the front is the best, shape (candidates,); 0 for all others."""
    return np.asarray(front(values).sum(axis=1), np.int64)


def draw(values: Table, rng: np.random.Generator) -> int:
    """Return a candidate of the front, drawn in proportion to its frequency; the first where nothing was scored."""
    tickets = np.cumsum(frequencies(values))
    return int(np.searchsorted(tickets, rng.integers(tickets[-1]), side="right")) if tickets[-1] else 0
