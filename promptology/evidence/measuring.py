"""Measuring prompts: as many items as the budget covers, the same for every prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from promptology.data.items import Item
from promptology.data.scoring import Metric
from promptology.data.task import Task
from promptology.errors import BudgetEnded, TooManyMissing
from promptology.predict import Predictions, Predictor, joined, predict_many
from promptology.predict.images import confidences
from promptology.predict.judging import Referee
from promptology.run.cost import ZERO, Cost
from promptology.run.meter import Meter

SMALLEST = 0.05
"""A further round of measuring must add this share of the items measured so far, or it is not worth its barrier."""


@dataclass(frozen=True)
class Measured:
    """One prompt on items: targets and outputs of those that were answered, and what it cost.

    `ungraded`: items among the missing whose answer a judge did not grade readably. `confidence`: the probability of
    each output, empty where a readout gives none.
    """

    outputs: list[Any]
    targets: list[Any]
    ids: list[str]
    missing: int
    parse_rate: float
    per_prediction: Cost
    raw: dict[str, str | None] = field(default_factory=dict)
    ungraded: int = 0
    confidence: list[float] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Items answered."""
        return len(self.ids)

    @property
    def asked(self) -> int:
        """Items asked about, missing ones included."""
        return len(self.ids) + self.missing

    def only(self, ids: set[str]) -> Measured:
        """Return the part on these items, for pairing."""
        keep = [i for i, id in enumerate(self.ids) if id in ids]
        return Measured(
            [self.outputs[i] for i in keep],
            [self.targets[i] for i in keep],
            [self.ids[i] for i in keep],
            self.missing,
            self.parse_rate,
            self.per_prediction,
            self.raw,
            self.ungraded,
            [self.confidence[i] for i in keep] if self.confidence else [],
        )


def measured(predictions: Predictions, items: Sequence[Item], confidence: Sequence[float] = ()) -> Measured:
    """Pair predictions with labels, leaving out what is missing."""
    came = [i for i, gone in enumerate(predictions.missing) if not gone]
    return Measured(
        [predictions.outputs[i] for i in came],
        [items[i].target for i in came],
        [items[i].id for i in came],
        len(items) - len(came),
        predictions.parse_rate,
        predictions.cost.each(len(came)),
        {item.id: raw for item, raw in zip(items, predictions.raw, strict=True)},
        predictions.ungraded,
        [confidence[i] for i in came] if confidence else [],
    )


def primary(metric: Metric, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
    """Return the primary figure of a metric."""
    return next(iter(metric.aggregate(outputs, targets).values()))


def shuffled(items: Sequence[Item], task: Task) -> list[Item]:
    """Return items in the one random order of this task, so that subsets of different runs are nested and pair."""
    rng = np.random.default_rng(int(task.items_fingerprint(), 16))
    return [items[i] for i in rng.permutation(len(items))]


def affordable(
    meter: Meter, predictors: Sequence[Predictor], items: Sequence[Item], judge: Referee | None = None
) -> int:
    """Return how many of the first items every predictor can be asked about within what is left, at the worst case.

    Where calls of this run failed and were made again, as much is kept for retries. `judge`: who grades the answers
    afterwards, which costs too.
    """
    if not meter.budget.limits:
        return len(items)
    if any(p.handle.called for p in predictors):
        # Vectors that are asked for together take fewer calls than each by itself.
        def over(n: int) -> bool:
            return not _covered(meter, predictors, [items[: n + 1]], judge)

        return bisect_left(range(len(items)), True, key=over)
    return _covered(meter, predictors, [[item] for item in items], judge)


def _covered(
    meter: Meter, predictors: Sequence[Predictor], parts: Sequence[Sequence[Item]], judge: Referee | None
) -> int:
    """Return how many of the first parts fit into what is left, each asked about by itself."""
    total = ZERO
    known: dict[int, set[Any]] = {id(p.handle): set() for p in predictors}
    for n, some in enumerate(parts):
        for p in predictors:
            total = total.plus(p.most(some, known[id(p.handle)]))
        if judge:
            for item in some:
                total = total.plus(judge.worst(predictors, item))
        if not meter.covers(total.scaled(meter.tries)):
            return n
    return len(parts)


@contextmanager
def part_of(meter: Meter, share: float) -> Iterator[None]:
    """Hold back all but a share of what is left of every limit but the clock."""
    before = meter.held_back
    rest = {r: (1 - share) * meter.room(r) for r in meter.budget.limits if r != "seconds"}
    meter.held_back = {**before, **{r: before.get(r, 0.0) + value for r, value in rest.items()}}
    try:
        yield
    finally:
        meter.held_back = before


def measure(
    meter: Meter, predictors: Sequence[Predictor], items: Sequence[Item], judge: Referee | None = None
) -> list[Measured] | None:
    """Measure predictors on as many of the first items as the budget covers; None where it covers none.

    What fits at the worst case is asked and settled, then what fits in the rest: answers are shorter than they might
    have been, so a limit of tokens or money covers several times the items that its worst case does. Before a limit of
    calls is used up, half of it shows how often a call fails here, so that room for retries is kept. Raises
    TooManyMissing where more of a judge's grades are unreadable than the run tolerates.
    """
    many = predict_covered(meter, predictors, items, judge)
    if not many:
        return None
    return [
        measured(found, items[: len(found.outputs)], confidences(predictor.learned, found))
        for predictor, found in zip(predictors, many, strict=True)
    ]


def predict_covered(
    meter: Meter,
    predictors: Sequence[Predictor],
    items: Sequence[Item],
    judge: Referee | None = None,
    grade: bool = True,
) -> list[Predictions] | None:
    """Return the predictions that `measure` measures; `grade=False` leaves the grading, room for it is kept."""
    parts: list[list[Predictions]] = []
    done = 0
    while done < len(items):
        n = affordable(meter, predictors, items[done:], judge)
        if n == 0 or n < done * SMALLEST:
            break
        if not done and meter.answered < n < len(items):
            n = -(-n // 2)
        some = items[done : done + n]
        try:
            many = predict_many(predictors, some)
            parts.append(judge.judge(many, some) if judge and grade else many)
        except BudgetEnded:
            break
        done += n
        check_grades(parts, done, meter.limits.missing)
    return [joined([part[k] for part in parts]) for k in range(len(predictors))] if done else None


def check_grades(parts: Sequence[Sequence[Predictions]], items: int, tolerated: float) -> None:
    """Raise TooManyMissing where more grades of so many items are unreadable than is tolerated."""
    unread, asked = sum(p.ungraded for part in parts for p in part), items * len(parts[0])
    if unread > tolerated * asked:
        raise TooManyMissing(
            f"{unread} of {asked} grades of the judge cannot be read: it must end with a whole number from 1 to 5 "
            "between <grade> and </grade>; try another --judge"
        )
