"""Protocol `prequential`: predict, commit, open the label, learn, go on.

    cut the stream into blocks B_1 .. B_K;  theta_1 <- the start
    for k = 1 .. K:
        predict every item of B_k with theta_k and with the start;  commit the predictions to the store
        open the labels of B_k
        theta_{k+1} <- the method, fitted on B_1 .. B_k

The score over all predictions is the evidence: each was made before its label could have been seen, so that every
labelled item serves for learning and for evidence. A. P. Dawid, "Present position and potential developments: some
personal views: statistical theory: the prequential approach", Journal of the Royal Statistical Society A 147, 1984;
block by block as in J. Gama, R. Sebastiao, P. P. Rodrigues, "On evaluating stream learning algorithms", Machine
Learning 90, 2013. Interval and test take the items for independent draws; a stream that drifts is described by its
curve, not by one figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from promptology.data.items import SEALED, Item
from promptology.data.scoring import Metric, figures_of
from promptology.data.task import Task
from promptology.errors import BudgetEnded, SealedSplitError, UsageError
from promptology.evidence.measuring import Measured, check_grades, measured, part_of, predict_covered, primary
from promptology.evidence.protocols import NOT_MEASURED, Evidence
from promptology.evidence.statistics import bootstrap_interval, paired, sample_size_hint, verdict
from promptology.evidence.turns import Turns
from promptology.predict import Predictions, bind, joined
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Method, Run
from promptology.run.meter import Meter
from promptology.run.work import commit

ORDERS = ("seed", "file")
NAME = "prequential"


class Stream:
    """Items whose label opens only after the prediction of it is durable in the store.

    The core of every protocol in which a learner meets its items one after the other: ask for `closed` items, `commit`
    what was predicted for them, then `open` them. One item at a time or many, in any order.
    """

    def __init__(self, meter: Meter, items: Sequence[Item]) -> None:
        self._meter = meter
        self._items = {item.id: item for item in items}
        self._committed: set[str] = set()
        self.closed: tuple[Item, ...] = tuple(item.with_target(SEALED) if item.labelled else item for item in items)

    def __len__(self) -> int:
        return len(self._items)

    def commit(self, predictions: Mapping[str, Any]) -> None:
        """Write predictions (JSON-like, by item id) to the store, durable when this returns; each item once.

        Raises UsageError for an unknown item, one that has its prediction already, or a meter outside a run; StoreError
        where the store cannot keep them, and then their labels stay closed.
        """
        for id in predictions:
            if id not in self._items:
                raise UsageError(f"item {id!r} is not in this stream")
            if id in self._committed:
                raise UsageError(f"item {id!r} has its prediction already: a committed prediction stays")
        if predictions:
            commit(self._meter, f"the prediction of {_names(predictions)}", dict(predictions))
            self._committed.update(predictions)

    def open(self, ids: Sequence[str]) -> list[Item]:
        """Return items with their labels; raises SealedSplitError where a prediction is not durable yet."""
        for id in ids:
            if id not in self._committed:
                raise SealedSplitError(f"the label of item {id!r} is sealed: its prediction is not in the store yet")
        return [self._items[id] for id in ids]


def _names(predictions: Mapping[str, Any]) -> str:
    first, *rest = predictions
    return f"item {first!r}" + (f" and {len(rest)} more" if rest else "")


class Streamed(NamedTuple):
    """What a stream gives: what was learned from all of it, the evidence, the cost of all fits.

    `ended`: how many fits the budget cut short.
    """

    learned: Learned
    evidence: Evidence
    learning: Cost
    ended: int


def check_stream(task: Task, blocks: int, order: str) -> list[Item]:
    """Return the items of a task's stream, in the order of the file; raises UsageError where there is none to make."""
    if order not in ORDERS:
        raise UsageError(f"unknown order {order!r} of a stream; there are {' and '.join(ORDERS)}")
    if blocks < 2:
        raise UsageError(
            f"blocks is {blocks}; a stream needs at least 2, for the first is predicted before anything is learned"
        )
    needed = getattr(task.metric, "labels", True)
    items = [item for item in task.train if item.labelled or not needed]
    if len(items) < 2:
        found = "none" if not items else "one"
        raise UsageError(
            f"protocol {NAME} streams the labelled training items, and task {task.name!r} has {found}; "
            "give --label, or a file with more rows"
        )
    return items


def prequential(
    method: Method, run: Run, meter: Meter, reserved: Mapping[str, float], blocks: int = 10, order: str = "seed"
) -> Streamed:
    """Send a task's training items through a method as a stream.

    `reserved`: what evidence keeps of each limit of the budget; where that does not cover the start and what was
    learned on every item, the stream is cut short. `order`: "seed" shuffles by the run's seed, "file" keeps the task's
    order. For each fit the items seen so far are split into training and validation as a task's own are; a method finds
    what it learned last among its `sources`. Raises UsageError as `check_stream` does.
    """
    items = check_stream(run.task, blocks, order)
    if order == "seed":
        items = [items[i] for i in run.rng("stream").permutation(len(items))]
    turns = Turns(meter, reserved, blocks)
    course = _Course(run, meter, items, turns)
    covered = course.predict_start()
    cuts = [len(part) for part in np.array_split(np.arange(covered), min(blocks, covered))] if covered else []
    turns.fits = max(1, len(cuts))
    for n in cuts:
        if not course.block(n):
            break
        course.learn(method)
    notes = []
    if course.at < len(items):
        notes.append(f"{course.at} of {len(items)} items of the stream: what the budget covered")
    if 0 < len(cuts) < blocks:
        notes.append(f"{len(cuts)} blocks, of one item each")
    return Streamed(course.learned, course.evidence(notes), turns.charged("learning"), turns.ended)


class _Course:
    """Where a stream stands: what was learned, what was predicted, whose labels are open."""

    def __init__(self, run: Run, meter: Meter, items: Sequence[Item], turns: Turns) -> None:
        self.run, self.meter, self.turns = run, meter, turns
        self.stream = Stream(meter, items)
        self.judge = referee(run.task.metric, run.roles, run.task.signature)
        self.learned = run.start
        self.start = Predictions([], [], [])
        self.items: list[Item] = []
        self.parts: list[tuple[Predictions, Predictions]] = []
        self.curve: list[dict[str, Any]] = []
        self.unchanged = True

    @property
    def at(self) -> int:
        """Items whose labels are open."""
        return len(self.items)

    def predict_start(self) -> int:
        """Predict with the start, which no label will change; return how many items half of the evidence covers."""
        with self.turns.evidence(), part_of(self.meter, 0.5):
            self.start = self._predicted(self.run.start, self.stream.closed)
        return len(self.start.outputs)

    def _predicted(self, learned: Learned, items: Sequence[Item]) -> Predictions:
        predictor = bind(learned, self.run.model(), dict(self.run.roles))
        many = predict_covered(self.meter, [predictor], items, self.judge, grade=False)
        return many[0] if many else Predictions([], [], [])

    def block(self, n: int) -> bool:
        """Predict the next n items, commit, open their labels; false where the budget does not cover all of them."""
        closed = self.stream.closed[self.at : self.at + n]
        start = found = _cut(self.start, self.at, self.at + n)
        with self.turns.evidence():
            if not self.learned.same_as(self.run.start):
                self.unchanged = False
                found = self._predicted(self.learned, closed)
                closed = closed[: len(found.outputs)]
                start = _cut(start, 0, len(closed))
            said = {item.id: [_said(start, i), _said(found, i)] for i, item in enumerate(closed)}
            self.stream.commit(said)
            opened = self.stream.open([*said])
            if self.judge and opened:
                try:
                    start, found = self.judge.judge([start, found], opened)
                except BudgetEnded:
                    return False
                check_grades([[start, found]], len(opened), self.meter.limits.missing)
        if opened:
            self._enter(opened, start, found)
        return len(opened) == n

    def _enter(self, opened: list[Item], start: Predictions, found: Predictions) -> None:
        seen = self.at
        self.items += opened
        self.parts.append((start, found))
        metric = self.run.task.metric
        before, after = measured(start, opened), measured(found, opened)
        entry = {
            "block": len(self.curve) + 1,
            "seen": seen,
            "n": after.n,
            "score": _score(metric, after),
            "start": _score(metric, before),
        }
        self.curve.append(entry)
        self.run.log("block", **{k: v for k, v in entry.items() if v is not None})

    def learn(self, method: Method) -> None:
        """Fit the method on every item whose label is open."""
        task = self.run.task
        seen = Task(
            self.items,
            test=(),
            unlabeled=task.unlabeled,
            signature=task.signature,
            metric=task.metric,
            name=task.name,
            split_seed=task.split_seed,
        )
        earlier = () if self.learned is self.run.start else (self.learned,)
        part = self.run.part(f"block {len(self.curve)}", seen, sources=(*self.run.sources, *earlier))
        part.kept = self.learned  # what stands where the budget ends before the method has kept anything
        self.learned = self.turns.learn(method, part)

    def evidence(self, notes: Sequence[str]) -> Evidence:
        """Return the evidence of the whole stream."""
        task, metric = self.run.task, self.run.task.metric
        name = next(iter(metric.aggregate([], [])))
        if not self.items:
            return Evidence(NAME, name, NOT_MEASURED)
        # In the order of the task: streams of other seeds pair with this one.
        place = {item.id: n for n, item in enumerate(task.train)}
        start, found = (_sorted(measured(joined(side), self.items), place) for side in zip(*self.parts, strict=True))
        common = {*start.ids} & {*found.ids}
        start, found = start.only(common), found.only(common)
        rng = np.random.default_rng(int(task.items_fingerprint(), 16) ^ self.run.seed)
        pair = paired(metric, found.outputs, start.outputs, found.targets, rng)
        disagreement = (pair.better + pair.worse) / max(pair.n, 1)
        if unread := start.ungraded + found.ungraded:
            notes = [*notes, f"{unread} grades of the judge could not be read: those items are missing"]
        same = self.unchanged
        return Evidence(
            NAME,
            name,
            "start" if same else verdict(pair, pair.p),
            found.n,
            bootstrap_interval(metric, start.outputs, start.targets, rng),
            bootstrap_interval(metric, found.outputs, found.targets, rng),
            pair,
            start,
            found,
            figures_of(metric, found.outputs, found.targets),
            sample_size_hint(found.n, disagreement) if disagreement and getattr(metric, "share", True) else "",
            notes=tuple(notes),
            curve=tuple(self.curve),
        )


def _score(metric: Metric, m: Measured) -> float | None:
    value = primary(metric, m.outputs, m.targets) if m.n else math.nan
    return float(value) if math.isfinite(value) else None


def _cut(predictions: Predictions, first: int, last: int) -> Predictions:
    """Return the predictions of some of the items."""
    outputs = predictions.outputs[first:last]
    cost = predictions.cost.each(len(predictions.outputs)).scaled(len(outputs))
    return Predictions(outputs, predictions.missing[first:last], predictions.raw[first:last], cost)


def _said(predictions: Predictions, i: int) -> Any:
    return None if predictions.missing[i] else [predictions.outputs[i]]


def _sorted(m: Measured, place: Mapping[str, int]) -> Measured:
    order = sorted(range(m.n), key=lambda i: place[m.ids[i]])
    outputs, targets = [m.outputs[i] for i in order], [m.targets[i] for i in order]
    return replace(m, outputs=outputs, targets=targets, ids=[m.ids[i] for i in order])
