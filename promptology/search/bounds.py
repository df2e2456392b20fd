"""Racing by upper confidence bounds: always go on with the candidate that could still be the best.

The idea is LUCB (Kalyanakrishnan et al. 2012); for prompts, UCB-E (arXiv:2407.06172). Ours: what candidates and items
add to a score is told apart by least squares, so that candidates scored on different numbers of items compare, and
bounds close as items run out (Serfling 1974).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.errors import UsageError
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.race import Finish, Race, Scorer, Table, race_of, scorer_of
from promptology.search.scoring import Scores

Vector = NDArray[np.float64]


def ucb_race(
    run: Run, candidates: Sequence[Learned], items: Sequence[Item], *, block: int = 10, alpha: float = 0.2
) -> Race:
    """Score the most promising candidate on its next block of items until no other could be better on all of them.

    Aims at the candidate that scoring all on all items would choose, and misses it with a probability of about `alpha`
    at most: bounds are one-sided at alpha / ((K - 1) * looks), by the normal distribution, which is exact only in the
    limit of many items; scores lie between 0 and 1. A candidate that falls back is left, not dropped: it may be taken
    up again. Survivors are those that were scored on every item. Missing answers: what others answered stands in for
    them; see also `Race`.
    """

    def looked(best: int) -> None:
        run.keep(candidates[best])

    end = climb(scorer_of(run, candidates, items, "racing items"), len(candidates), len(items), block, alpha, looked)
    found = race_of(candidates, end)
    run.log("race", candidates=len(candidates), evaluations=end.evaluations, best=found.means[0])
    return found


def climb(
    scorer: Scorer,
    candidates: int,
    items: int,
    block: int = 10,
    alpha: float = 0.2,
    looked: Callable[[int], None] = lambda best: None,
) -> Finish:
    """Race candidates whose scores `scorer` returns; see `ucb_race`."""
    if min(candidates, items, block) < 1 or not 0 < alpha < 1:
        raise UsageError("a race needs a candidate, an item, a block of at least 1 item and an alpha between 0 and 1")
    from scipy.special import ndtri

    z = float(-ndtri(alpha / (max(1, candidates - 1) * math.ceil(items / block))))
    values = np.full((candidates, items), np.nan)
    used = np.zeros(candidates, int)
    everyone = list(range(candidates))
    asked, columns = everyone, range(min(block, items))
    while True:
        values[np.ix_(asked, columns)] = scorer(asked, columns)
        used[asked] = columns.stop
        fit = bounds(values, z)
        looked(int(np.argmax(fit.lower)))
        done = used == items
        to_beat = fit.upper[done].max() if done.any() else -np.inf
        most = int(np.argmax(np.where(done, -np.inf, fit.upper)))
        if done[most] or not fit.upper[most] > to_beat:
            break
        asked, columns = [most], range(used[most], min(items, used[most] + block))
    # Without any answer there is nothing to go on with, and nobody to prefer.
    complete = [i for i in everyone if done[i]] or everyone
    order = [complete[i] for i in Scores(values[complete]).order]
    return Finish(order, values, int(used.sum()))


class Bounds(NamedTuple):
    """Bounds of each candidate's mean over all items, up to one shift for all; minus infinity without answers."""

    lower: Vector
    upper: Vector


def bounds(values: Table, z: float) -> Bounds:
    """Return mean - and + z standard errors, from scores of shape (candidates, items), NaN where there is none.

    The variance of what candidate and item leave unexplained is pooled, and begins as if one more score had been missed
    by a whole point: scores that are all right so far do not make it zero. On n of N items the squared error is that
    variance times 1 / n - 1 / N, and K / (K - 1), since what the items add is itself estimated from K candidates.
    """
    seen = ~np.isnan(values)
    effects, difficulty = additive(values)
    left = np.where(seen, values - effects[:, None] - difficulty, 0.0)
    count, items = values.shape
    freedom = max(1, int(seen.sum()) - count - int(seen.any(axis=0).sum()) + 1)
    variance = (1.0 + float((left**2).sum())) / freedom * count / max(1, count - 1)
    n = seen.sum(axis=1)
    error = z * np.sqrt(variance * (1.0 / np.maximum(n, 1) - 1.0 / items))
    answered = n > 0
    return Bounds(np.where(answered, effects - error, -np.inf), np.where(answered, effects + error, -np.inf))


def additive(values: Table) -> tuple[Vector, Vector]:
    """Return what candidates and items add to the scores, by least squares over those that are there.

    Where every candidate has every score, effects are their means less the mean of all.
    """
    seen = ~np.isnan(values)
    scores, weights = np.where(seen, values, 0.0), seen.astype(float)
    counts = np.maximum(weights.sum(axis=0), 1.0)
    shares = weights / counts
    # The normal equations with the items eliminated; they leave one shift open, which the pseudo-inverse sets to zero.
    # By eigenvalues: the singular value decomposition of lstsq now and then finds no end on a matrix like this.
    matrix = np.diag(weights.sum(axis=1)) - weights @ shares.T
    inverse = np.linalg.pinv(matrix, rcond=len(matrix) * np.finfo(float).eps, hermitian=True)
    effects = inverse @ (scores.sum(axis=1) - shares @ scores.sum(axis=0))
    return effects, (scores.sum(axis=0) - effects @ weights) / counts
