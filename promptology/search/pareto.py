"""The instance-wise Pareto front: candidates that are the best on some item, and which of them to go on with.

A candidate that is good where all others fail is worth going on with, however low its mean (GEPA, arXiv:2507.19457,
algorithm 2). Scores have the shape (candidates, items), NaN where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptology.prompts.learned import Learned
from promptology.search.scoring import Scores

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


@dataclass
class Population:
    """Prompts, the numbers of those that each was made from, and their scores, shape (members, items)."""

    members: list[Learned]
    parents: list[tuple[int, ...]]
    scores: Table
    merged: set[tuple[int, int]] = field(default_factory=set)

    def add(self, prompt: Learned, parents: tuple[int, ...], row: Table) -> None:
        """Take a prompt up; its parents are members."""
        self.members.append(prompt)
        self.parents.append(parents)
        self.scores = np.vstack([self.scores, row])

    def best(self, count: int = 1) -> list[Learned]:
        """Return the members with the best means; among equals the oldest first."""
        return [self.members[i] for i in Scores(self.scores).order[:count]]

    def ancestors(self, member: int) -> set[int]:
        """Return the numbers of all that a member stems from."""
        found, left = set[int](), list(self.parents[member])
        while left:
            if (parent := left.pop()) not in found:
                found.add(parent)
                left += self.parents[parent]
        return found

    def pairs(self) -> list[tuple[int, int, int]]:
        """Return pairs of the front with their nearest common ancestor, where a merge could gain something.

        Neither stems from the other, both are at least as good as the ancestor, and they were not merged before.
        """
        members = [int(i) for i in np.flatnonzero(frequencies(self.scores))]
        above, means = {i: self.ancestors(i) for i in members}, Scores(self.scores).means
        found: list[tuple[int, int, int]] = []
        for i in members:
            for j in [j for j in members if j > i and (i, j) not in self.merged and i not in above[j]]:
                ancestor = max(above[i] & above[j])
                if min(means[i], means[j]) >= means[ancestor]:
                    found.append((i, j, ancestor))
        return found


def contested(one: Table, two: Table, count: int, rng: np.random.Generator) -> list[int]:
    """Return items that tell a merge from its parents: in turn one where the one is better, the other, and neither.

    `one`, `two`: scores of the parents, shape (items,); items without a score of both are left out.
    """
    order = rng.permutation(len(one))
    groups = [[int(i) for i in order if np.sign(one[i] - two[i]) == sign] for sign in (1, -1, 0)]
    ranked = sorted((place, n, i) for n, group in enumerate(groups) for place, i in enumerate(group))
    return [i for _, _, i in ranked[:count]]
