"""Measuring prompts: as many items as the budget covers, the same for every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from promptology.data.items import Item
from promptology.data.metrics import Metric
from promptology.data.task import Task
from promptology.errors import BudgetEnded
from promptology.predict import Predictions, Predictor, predict_many
from promptology.run.cost import ZERO, Cost
from promptology.run.meter import Meter


@dataclass(frozen=True)
class Measured:
    """One prompt on labelled items: targets and outputs of the items that were answered, and what it cost."""

    outputs: list[Any]
    targets: list[Any]
    ids: list[str]
    missing: int
    parse_rate: float
    per_prediction: Cost
    raw: dict[str, str | None] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Items answered."""
        return len(self.ids)

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
        )


def measured(predictions: Predictions, items: Sequence[Item]) -> Measured:
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
    )


def primary(metric: Metric, outputs: Sequence[Any], targets: Sequence[Any]) -> float:
    """Return the primary figure of a metric."""
    return next(iter(metric.aggregate(outputs, targets).values()))


def shuffled(items: Sequence[Item], task: Task) -> list[Item]:
    """Return items in the one random order of this task, so that subsets of different runs are nested and pair."""
    rng = np.random.default_rng(int(task.items_fingerprint(), 16))
    return [items[i] for i in rng.permutation(len(items))]


def affordable(meter: Meter, predictors: Sequence[Predictor], items: Sequence[Item], share: float = 1.0) -> int:
    """Return how many of the first items every predictor can be asked about within a share of what is left."""
    if not meter.budget.limits:
        return len(items)

    def fits(n: int) -> bool:
        worst = ZERO
        for p in predictors:
            worst = worst.plus(p.handle.worst(p.requests(items[:n]), p.texts(items[:n])))
        scaled = worst.scaled(1 / share)
        return meter.budget.covers(meter.charged.plus(scaled), meter.held_back)

    low, high = 0, len(items)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def measure(meter: Meter, predictors: Sequence[Predictor], items: Sequence[Item], n: int) -> list[Measured] | None:
    """Measure predictors on the first n items; None where the budget (its clock) ends first."""
    if n == 0:
        return None
    try:
        return [measured(p, items[:n]) for p in predict_many(predictors, items[:n])]
    except BudgetEnded:
        return None
