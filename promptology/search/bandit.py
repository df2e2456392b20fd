"""Selection by a bandit: candidates are arms, and each pull scores the most promising ones on a few items more.

The upper confidence bounds of ProTeGi (arXiv:2305.03495, algorithm 4). `bounds.ucb_race` looks for the best candidate
and stops by itself; this spends a fixed number of pulls and returns all candidates in order, as a beam needs them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.errors import UsageError
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.race import Race
from promptology.search.scoring import score

Vector = NDArray[np.float64]


class Arms:
    """What is known of each arm: the sum of its scores, and on how many items it was asked and answered."""

    def __init__(self, count: int) -> None:
        self.sums, self.answered, self.asked = np.zeros(count), np.zeros(count), np.zeros(count)

    def update(self, chosen: Sequence[int], values: Vector) -> None:
        """Add scores of the chosen arms, shape (chosen, items), NaN where an answer is missing."""
        arms = list(chosen)
        self.sums[arms] += np.nansum(values, axis=1)
        self.answered[arms] += (~np.isnan(values)).sum(axis=1)
        self.asked[arms] += values.shape[1]

    @property
    def means(self) -> Vector:
        """Mean score per arm, NaN where no answer came."""
        return np.where(self.answered > 0, self.sums / np.maximum(self.answered, 1), np.nan)

    def bounds(self, pull: int, c: float) -> Vector:
        """Return mean + c * sqrt(ln(pull) / items) per arm; pulls count from 1.

        An arm that was never asked stands above all others, one that never answered below.
        """
        known = self.means + c * np.sqrt(np.log(pull) / np.maximum(self.answered, 1))
        return np.where(self.asked == 0, np.inf, np.where(self.answered > 0, known, -np.inf))

    def choose(self, count: int, pull: int, c: float, order: Sequence[int]) -> list[int]:
        """Return the arms with the highest bounds; among equals the one that stands first in `order`."""
        bounds = self.bounds(pull, c)
        return sorted(order, key=lambda arm: -bounds[arm])[:count]


def ucb_rank(
    run: Run,
    candidates: Sequence[Learned],
    items: Sequence[Item],
    *,
    pulls: int = 8,
    arms: int = 8,
    block: int = 32,
    c: float = 1.0,
    name: str = "",
) -> Race:
    """Return candidates from the best mean score to the worst, after pulls * arms * block scores at most.

    Each pull scores the `arms` candidates with the highest bounds on the same `block` of items: the next in a random
    order, which begins anew where it is used up. Scores that were asked for before cost nothing again. Ties keep the
    order of submission; who was never scored comes last. `name` tells the random choices of several calls apart.
    """
    if min(len(candidates), len(items), pulls, arms, block) < 1:
        raise UsageError("a bandit needs a candidate, an item, and at least 1 pull, arm and item a block")
    rng = run.rng(f"bandit {name}")
    known, order = Arms(len(candidates)), [int(i) for i in rng.permutation(len(candidates))]
    shuffled: list[int] = []
    for pull in range(1, pulls + 1):
        if len(shuffled) < min(block, len(items)):
            shuffled = [int(i) for i in rng.permutation(len(items))]
        shown, shuffled = shuffled[:block], shuffled[block:]
        chosen = known.choose(arms, pull, c, order)
        known.update(chosen, score(run, [candidates[i] for i in chosen], [items[i] for i in shown]).values)
    means = known.means
    ranked = [int(i) for i in np.argsort(-np.where(np.isnan(means), -np.inf, means), kind="stable")]
    evaluations = int(known.asked.sum())
    run.log("bandit", candidates=len(candidates), evaluations=evaluations, best=float(means[ranked[0]]))
    return Race([candidates[i] for i in ranked], [float(means[i]) for i in ranked], evaluations)
