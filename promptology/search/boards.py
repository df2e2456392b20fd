"""Scores that add up: candidates that are scored on a few items at a time, all in the same order of items."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from promptology.data.items import Item
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.ranking import Scored, best
from promptology.search.scoring import score

K = TypeVar("K", bound=Hashable)


class Board(Generic[K]):
    """What is known of candidates, each under a key of its own."""

    def __init__(self, run: Run, prompts: Mapping[K, Learned], items: Sequence[Item]) -> None:
        self.run, self.prompts, self.items = run, prompts, items
        self.scores: dict[K, list[float]] = {}
        """Item scores of those that were tried, in the order of the items; NaN: no answer came."""

    def more(self, key: K, count: int) -> float:
        """Score a candidate on its next items, at most so many; return their mean, NaN where no answer came."""
        before = self.scores.setdefault(key, [])
        items = self.items[len(before) : len(before) + count]
        scores = score(self.run, [self.prompts[key]], items)
        before += [float(v) for v in scores.values[0]]
        return float(scores.means[0])

    def complete(self, key: K) -> bool:
        """Whether a candidate was scored on all items."""
        return len(self.scores.get(key, ())) == len(self.items)

    def mean(self, key: K) -> float:
        """Return its mean over all items so far; minus infinity without any answer."""
        came = [v for v in self.scores[key] if not math.isnan(v)]
        return math.fsum(came) / len(came) if came else -math.inf

    def promising(self) -> K | None:
        """Return the best that was tried and not yet scored on all items; of equals, the first."""
        return max((c for c in self.scores if not self.complete(c)), key=self.mean, default=None)

    def full(self, count: int) -> list[Scored]:
        """Return the best of those that were scored on all items, at most so many."""
        return best([Scored(self.prompts[c], self.mean(c)) for c in self.scores if self.complete(c)], count)
