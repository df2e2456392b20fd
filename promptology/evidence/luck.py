"""The winner's curse: how much of the best of many noisy scores is luck.

The best of many means is too high, for it is the best in part by its noise. An estimate of each candidate's true mean
given its score does not suffer from that, if it knows how true means are spread (Efron 2011, Tweedie's formula and
selection bias, JASA 106). The spread is estimated from all candidates, without assuming a shape: the nonparametric
maximum likelihood of Kiefer and Wolfowitz (1956), by the EM steps of Laird (1978). How the candidates came to be scored
on different numbers of items (racing, halving) does not matter to such an estimate, as long as scores decided it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.run.scored import Block, Scored

GRID = 101
"""True means that are thought possible, evenly between the worst and the best score."""
STEPS = 200
"""EM steps; further ones change the third digit."""
ROUNDS = 1000
"""Rounds at most in which candidates and blocks are told apart."""
EDGE = 1e-6
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The search's own best figure, of how many candidates, on how many items, and what is left of it without luck.

    `sealed`: mean score of what was found on the sealed test items, None where it was not measured.
    """

    candidates: int
    items: int
    best: float
    luck: float
    corrected: float
    sealed: float | None = None


def selection(scored: Scored, sealed: float | None = None) -> Selection | None:
    """Return how lucky a search's best candidate was; None where nothing was selected or the noise cannot be told.

    The best is the one with the best mean among those scored on at least half as many items as any.
    """
    blocks = list(scored.blocks.values())
    keys = list(dict.fromkeys(key for block in blocks for key in block.means))
    noise = _noise(blocks)
    if len(keys) < 2 or noise is None:
        return None
    place = {key: i for i, key in enumerate(keys)}
    who = np.array([place[key] for block in blocks for key in block.means])
    means = np.array([mean for block in blocks for mean in block.means.values()])
    sizes = np.array([float(block.items) for block in blocks for _ in block.means])
    where = np.array([g for g, block in enumerate(blocks) for _ in block.means])
    items = np.bincount(who, sizes)
    effects = _effects(who, where, means, sizes)
    winner = int(np.where(items >= items.max() / 2, effects, -np.inf).argmax())
    best = float(np.bincount(who, sizes * means)[winner] / items[winner])
    low, high = min(0.0, *(b.low for b in blocks)), max(1.0, *(b.high for b in blocks))
    shares = np.clip((effects + best - effects[winner] - low) / (high - low), 0.0, 1.0)
    true = posterior_mean(shares, items, noise / (high - low) ** 2, winner) * (high - low) + low
    luck = max(0.0, best - true)
    return Selection(len(keys), int(items[winner]), best, luck, best - luck, sealed)


def posterior_mean(scores: Array, items: NDArray[Any], noise: float, winner: int) -> float:
    """Return what the true mean of one candidate is expected to be, given the mean scores of all, each in 0 to 1.

    `noise`: variance of one item's score about its candidate's mean and its item's own difficulty; it scales the
    binomial likelihood of a mean (quasi-likelihood, Wedderburn 1974), so that good scores are the less noisy ones.
    """
    spread = float(np.mean(scores * (1 - scores)))
    if noise <= 0 or spread <= 0:
        return float(scores[winner])
    rows, which, counts = np.unique(np.stack([scores, items], axis=1), axis=0, return_inverse=True, return_counts=True)
    x, n = rows[:, :1], rows[:, 1:] * spread / noise
    possible = np.clip(np.linspace(scores.min(), scores.max(), GRID), EDGE, 1 - EDGE)
    fit = n * (x * np.log(possible) + (1 - x) * np.log1p(-possible))
    fit = np.exp(fit - fit.max(axis=1, keepdims=True))
    weights = np.full(GRID, 1 / GRID)
    for _ in range(STEPS):
        joint = fit * weights
        weights = (counts / joint.sum(axis=1)) @ joint / len(scores)
    after = fit[which.ravel()[winner]] * weights
    return float(after @ possible / after.sum())


def _noise(blocks: Sequence[Block]) -> float | None:
    """Return the variance of a score about the means of its candidate and its item, pooled over blocks.

    What all candidates find equally hard raises or lowers them together and is no luck of one of them.
    """
    total, freedom = 0.0, 0
    for b in blocks:
        k, n, means = len(b.means), b.items, np.array(list(b.means.values()))
        left = (
            b.squares - n * float(means @ means) - float(b.columns @ b.columns) / k + k * n * float(means.mean()) ** 2
        )
        free = (k - 1) * (n - 1) - b.filled
        if free > 0:
            total, freedom = total + max(left, 0.0), freedom + free
    return total / freedom if freedom else None


def _effects(who: NDArray[Any], where: NDArray[Any], means: Array, sizes: Array) -> Array:
    """Return each candidate's mean as if all had met the same blocks: the least-squares fit of candidate plus block."""
    blocks = np.zeros(int(where.max()) + 1)
    weight_who, weight_where = np.bincount(who, sizes), np.bincount(where, sizes)
    effects = np.bincount(who, sizes * means) / weight_who
    for _ in range(ROUNDS if len(blocks) > 1 else 0):
        blocks = np.bincount(where, sizes * (means - effects[who])) / weight_where
        moved = np.bincount(who, sizes * (means - blocks[where])) / weight_who
        done = float(np.abs(moved - effects).max()) < 1e-9
        effects = moved
        if done:
            break
    return effects
