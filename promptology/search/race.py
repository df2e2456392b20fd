"""What races over candidates share: how they ask for scores, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.scoring import Scores, score

Table = NDArray[np.float64]
Scorer = Callable[[list[int], range], Table]
"""Returns the scores of candidates on a range of items, shape (candidates, items), NaN where an answer is missing."""


class Race(NamedTuple):
    """Survivors from best to worst, their mean scores (NaN: no answer came), and the candidate-item scores spent.

    Means are taken over the items that every survivor answered, where there are any; a candidate without any answer
    comes last; ties keep the order of submission.
    """

    survivors: list[Learned]
    means: list[float]
    evaluations: int

    @property
    def best(self) -> Learned:
        """The first of the survivors."""
        return self.survivors[0]


class Finish(NamedTuple):
    """A finished race: survivors from best to worst, the table of scores (NaN: not scored or missing), scores spent."""

    survivors: list[int]
    values: Table
    evaluations: int


def scorer_of(run: Run, candidates: Sequence[Learned], items: Sequence[Item], name: str) -> Scorer:
    """Return what scores candidates of a run on items in a random order, named so that races do not share it."""
    order = run.rng(name).permutation(len(items))

    def scorer(alive: list[int], columns: range) -> Table:
        return score(run, [candidates[i] for i in alive], [items[order[c]] for c in columns]).values

    return scorer


def race_of(candidates: Sequence[Learned], end: Finish) -> Race:
    """Return a finished race in terms of its candidates."""
    means = Scores(end.values[end.survivors]).means
    return Race([candidates[i] for i in end.survivors], [float(m) for m in means], end.evaluations)
