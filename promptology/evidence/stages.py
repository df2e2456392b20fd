"""Protocol `stages`: tasks learned one after another, and what each stage does to the tasks before and after it.

    theta_0 <- the start;  R[0, i] <- its score on task i
    for t = 1 .. T:
        theta_t <- the method, fitted on task t, with theta_1 .. theta_{t-1} as its sources
        R[t, i] <- the score of theta_t on the sealed test of task i, for every i

    average accuracy   = 1/T      sum over i      of R[T, i]
    backward transfer  = 1/(T-1)  sum over i < T  of R[T, i] - R[i, i]
    forward transfer   = 1/(T-1)  sum over i > 1  of R[i-1, i] - R[0, i]
    forgetting         = 1/(T-1)  sum over i < T  of max over t < T of R[t, i], less R[T, i]      (t from 1)

The first three are those of D. Lopez-Paz and M. Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS
2017, arXiv:1706.08840, with the start in the place of a random initialisation; the last is that of A. Chaudhry,
P. Dokania, T. Ajanthan, P. Torr, "Riemannian Walk for Incremental Learning", ECCV 2018, arXiv:1801.10112. A task's
items are the same for all stages; intervals resample them for each task, alike for all stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.grids import NO_BUDGET, Cell, Figure, bound, cell_of, draws_of, figure_of
from promptology.evidence.measuring import Measured, measure, part_of, shuffled
from promptology.evidence.statistics import RESAMPLES
from promptology.evidence.turns import Turns
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Method, Run

NAME = "stages"
Array = NDArray[np.float64]


class Staged(NamedTuple):
    """What a sequence of tasks gives.

    `learned`: after each stage; `cells[t][i]`: R[t, i], row 0 is the start; `learning`: cost of all fits; `ended`: how
    many of them the budget cut short.
    """

    learned: tuple[Learned, ...]
    cells: tuple[tuple[Cell, ...], ...]
    figures: tuple[Figure, ...]
    learning: Cost
    ended: int
    openings: int


def check_stages(tasks: Mapping[str, Task]) -> None:
    """Raise UsageError where tasks cannot be learned one after another and compared."""
    if len(tasks) < 2:
        raise UsageError(f"protocol {NAME} needs two tasks or more, got {len(tasks)}")
    for name, task in tasks.items():
        needed = getattr(task.metric, "labels", True)
        if not task.test or (needed and not task.labelled):
            raise UsageError(f"stage {name!r} has no labelled test items to score against; give --label")
        if not any(item.labelled or not needed for item in task.train):
            raise UsageError(f"stage {name!r} has no labelled training items to learn from; give --label")
    metrics = dict.fromkeys(task.metric.name for task in tasks.values())
    if len(metrics) > 1:
        raise UsageError(f"stages are scored by one metric, these have {', '.join(metrics)}; give --metric")


def stages(method: Method, run: Run, tasks: Mapping[str, Task], reserved: Mapping[str, float]) -> Staged:
    """Let a method learn tasks one after another, and score what it learned on all of them after every stage.

    In a stage `run.task` is its task, `run.tasks` it and those before, `run.sources` what was given and then what was
    learned before, in order. `reserved`: what evidence keeps of each limit of the budget, an equal part for each score.
    """
    check_stages(tasks)
    turns = Turns(run.meter, reserved, len(tasks))
    matrix = _Matrix(run, tasks, turns)
    matrix.add([run.part("start", task).start for task in tasks.values()])
    learned: list[Learned] = []
    for name, task in tasks.items():
        seen = {name: task, **dict(list(tasks.items())[: len(learned)])}
        part = run.part(f"stage {name}", task, sources=(*run.sources, *learned), tasks=seen)
        part.kept = learned[-1] if learned else None  # what stands where the budget ends before anything was kept
        learned.append(turns.learn(method, part))
        matrix.add([learned[-1]] * len(tasks))
        run.log("stage", stage=name, **matrix.last())
    cells = matrix.cells()
    figures = figures_of(list(tasks.values()), cells)
    return Staged(tuple(learned), cells, figures, turns.charged("learning"), turns.ended, matrix.openings)


class _Matrix:
    """The scores row by row, all of a task's on the same items: those that the start's share of the budget covered."""

    def __init__(self, run: Run, tasks: Mapping[str, Task], turns: Turns) -> None:
        self.run, self.tasks, self.turns = run, tasks, turns
        self.items: dict[str, Sequence[Item]] = {}
        self.openings = 0
        for name, task in tasks.items():
            self.openings = max(self.openings, run.meter.store.open_test(task.items_fingerprint(), run.meter.run))
            self.items[name] = shuffled(task.open_test(), task)
        self.rows: list[list[Measured | str]] = []
        self.left = (len(tasks) + 1) * len(tasks)

    def add(self, prompts: Sequence[Learned]) -> None:
        """Measure a row, one prompt for each task."""
        row: list[Measured | str] = []
        for learned, (name, task) in zip(prompts, self.tasks.items(), strict=True):
            with self.turns.evidence(), part_of(self.run.meter, 1 / self.left):
                row.append(self._measured(learned, task, self.items[name]))
            self.left -= 1
            if not self.rows and (isinstance(found := row[-1], Measured) or found == NO_BUDGET):
                self.items[name] = self.items[name][: found.asked if isinstance(found, Measured) else 0]
        self.rows.append(row)

    def _measured(self, learned: Learned, task: Task, items: Sequence[Item]) -> Measured | str:
        predictor = bound(learned, self.run.roles, task, self.run.meter, items)
        if isinstance(predictor, str):
            return predictor
        found = measure(self.run.meter, [predictor], items, referee(task.metric, self.run.roles, task.signature))
        return found[0] if found else NO_BUDGET

    def last(self) -> dict[str, float]:
        """Return the scores of the last row by task."""
        cells = [cell_of(task, m) for task, m in zip(self.tasks.values(), self.rows[-1], strict=True)]
        return {n: round(c.score.value, 6) for n, c in zip(self.tasks, cells, strict=True) if c.score}

    def cells(self) -> tuple[tuple[Cell, ...], ...]:
        """Return all scores, those of a task on the items that every row of it has an answer for."""
        columns = []
        for task, column in zip(self.tasks.values(), zip(*self.rows, strict=True), strict=True):
            sets = [{*m.ids} for m in column if isinstance(m, Measured)]
            common = set.intersection(*sets) if sets else set()
            columns.append([cell_of(task, m if isinstance(m, str) else m.only(common)) for m in column])
        return tuple(zip(*columns, strict=True))


def figures_of(tasks: Sequence[Task], cells: Sequence[Sequence[Cell]]) -> tuple[Figure, ...]:
    """Return average accuracy, backward and forward transfer and forgetting of a matrix, row 0 of it the start."""
    values = np.array([[c.score.value if c.score else np.nan for c in row] for row in cells])
    draws = np.full((RESAMPLES, *values.shape), np.nan)
    for i, task in enumerate(tasks):
        there = [(t, m) for t, row in enumerate(cells) if (m := row[i].measured) is not None]
        if there:
            rng = np.random.default_rng([int(task.items_fingerprint(), 16), 2])
            draws[:, [t for t, _ in there], i] = draws_of(task.metric, [m for _, m in there], rng)
    return tuple(
        figure_of(name, float(figure(values)), figure(draws))
        for name, figure in (
            ("average accuracy", average),
            ("backward transfer", backward),
            ("forward transfer", forward),
            ("forgetting", forgetting),
        )
    )


def average(r: Array) -> Array:
    """Return the mean score after the last stage; `r`: shape (..., stages + 1, stages), row 0 the start."""
    return np.asarray(r[..., -1, :].mean(-1))


def backward(r: Array) -> Array:
    """Return how much the last stage's scores lie above those right after each task was learned, but for the last."""
    own = np.diagonal(r[..., 1:, :], axis1=-2, axis2=-1)
    return np.asarray((r[..., -1, :-1] - own[..., :-1]).mean(-1))


def forward(r: Array) -> Array:
    """Return how much the scores just before a task was learned lie above the start's, but for the first."""
    before = np.diagonal(r[..., 1:-1, 1:], axis1=-2, axis2=-1)
    return np.asarray((before - r[..., 0, 1:]).mean(-1))


def forgetting(r: Array) -> Array:
    """Return how much the last stage's scores lie below the best of the stages before it, but for the last task."""
    return np.asarray((r[..., 1:-1, :-1].max(-2) - r[..., -1, :-1]).mean(-1))
