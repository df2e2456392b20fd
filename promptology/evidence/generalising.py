"""Protocols of how far a prompt that was learned from a few items a class carries: to classes, data and drawing styles.

    base-to-novel   learn on K items a class of the first half of the classes; test on the first half among its names,
                    and on the second half among its own; H = 2 b n / (b + n) of the two means over seeds
    few-shot        learn on K = 1, 2, 4, 8, 16 items a class of all classes; test on all
    cross-dataset   learn on K items a class of one task; test on others, each among its own classes
    domain-shift    the same, to tasks of the same classes whose images look otherwise

Of K. Zhou et al., "Learning to prompt for vision-language models" (arXiv:2109.01134) and "Conditional prompt learning
for vision-language models" (CVPR 2022, arXiv:2203.05557). Shots are drawn on all classes first and cut to the first
half afterwards. Scored is what a method returns, never a choice on validation; figures are means over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.shots import check_classes, draw_shots, halves
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.grids import Cell, Figure, column, draws_of, figure_of, harmonic
from promptology.evidence.measuring import Measured, part_of, primary, shuffled
from promptology.evidence.seeds import pooled_score
from promptology.evidence.turns import Turns
from promptology.prompts.learned import Learned
from promptology.run.engine import Method, Run

NAMES = ("base-to-novel", "few-shot", "cross-dataset", "domain-shift")
SHOTS = (1, 2, 4, 8, 16)
Array = NDArray[np.float64]


class Lesson(NamedTuple):
    """What is learned from with one seed, and the columns that are then tested."""

    seed: int
    task: Task
    columns: tuple[str, ...]


class Plan(NamedTuple):
    """All lessons of a protocol; `exams`: the task of each column, in their order."""

    name: str
    lessons: tuple[Lesson, ...]
    exams: Mapping[str, Task]


def plan_lessons(name: str, task: Task, others: Mapping[str, Task], shots: Sequence[int], seeds: Sequence[int]) -> Plan:
    """Return the lessons and exams of a protocol.

    `others`: of base-to-novel nothing, or one task with the new classes; of few-shot nothing; else what is tested
    beside the task. `shots`: one number, of few-shot several; 0 takes all training items. Raises UsageError where the
    tasks do not fit the protocol.
    """
    _check(name, task, others, shots)
    if name == "few-shot":
        lessons = [Lesson(s, draw_shots(task, k, s), (_shots(k),)) for s in seeds for k in shots]
        return Plan(name, tuple(lessons), {_shots(k): task for k in shots})
    (k,) = shots
    if name != "base-to-novel":
        exams = {task.name: task, **others}
        return Plan(name, tuple(Lesson(s, draw_shots(task, k, s), tuple(exams)) for s in seeds), exams)
    if others:
        (new,) = others.values()
        exams, drawn = {"base": task, "new": new}, [draw_shots(task, k, s) for s in seeds]
    else:
        exams = dict(zip(("base", "new"), halves(task), strict=True))
        drawn = [halves(draw_shots(task, k, s))[0] for s in seeds]
    return Plan(name, tuple(Lesson(s, t, ("base", "new")) for s, t in zip(seeds, drawn, strict=True)), exams)


def _shots(k: int) -> str:
    return f"{k} shot{'s' if k != 1 else ''}" if k else "all items"


def _check(name: str, task: Task, others: Mapping[str, Task], shots: Sequence[int]) -> None:
    if name not in NAMES:
        raise UsageError(f"unknown protocol {name!r}; there are {', '.join(NAMES)}")
    if len({*shots}) < len(shots) or not shots or (len(shots) > 1 and name != "few-shot"):
        raise UsageError(
            f"protocol {name} takes {'different numbers' if name == 'few-shot' else 'one number'} of shots"
        )
    most = {"few-shot": 0, "base-to-novel": 1}.get(name)
    if most is not None and len(others) > most:
        what = "one task of new classes" if most else "no further task"
        raise UsageError(f"protocol {name} takes {what} beside --task")
    if most is None and not others:
        raise UsageError(f"protocol {name} needs tasks to test on: --on NAME=SPEC")
    for label, one in {"--task": task, **others}.items():
        check_classes(one)
        if not one.labelled:
            raise UsageError(f"{label}: task {one.name!r} has no labelled test items to score against")
    if name == "domain-shift":
        for label, one in others.items():
            if extra := [c for c in one.signature.class_names if c not in task.signature.class_names]:
                raise UsageError(f"{label}: class {extra[0]!r} is none of {task.name!r}; cross-dataset tests others")


class Examined(NamedTuple):
    """What one lesson gave: what was learned, and by column the start's score and its own."""

    learned: Learned
    start: Mapping[str, Cell]
    found: Mapping[str, Cell]
    openings: int
    ended: int


def examine(method: Method, run: Run, exams: Mapping[str, Task], reserved: Mapping[str, float]) -> Examined:
    """Let a method learn from the run's task, and measure the start and what was learned on every exam's sealed test.

    `reserved`: what evidence keeps of each limit of the budget, an equal part for each exam.
    """
    turns = Turns(run.meter, reserved, 1)
    learned = turns.learn(method, run)
    start, found, openings = {}, {}, 0
    for n, (name, task) in enumerate(exams.items()):
        openings = max(openings, run.meter.store.open_test(task.items_fingerprint(), run.meter.run))
        items = shuffled(task.open_test(), task)
        with turns.evidence(), part_of(run.meter, 1 / (len(exams) - n)):
            prompts = [run.part(f"exam {name}", task).start, learned]
            start[name], found[name] = column(run.meter, prompts, run.roles, task, items)
    return Examined(learned, start, found, openings, turns.ended)


def pooled(task: Task, cells: Sequence[Cell]) -> Cell:
    """Return the cell of one row and column over its seeds: the mean, or the first reason why one has none."""
    lacking = next((c for c in cells if c.measured is None), None)
    if lacking is not None:
        return lacking
    measured = [c.measured for c in cells if c.measured]
    rng = np.random.default_rng([int(task.items_fingerprint(), 16), 3])
    return Cell(measured[0], pooled_score(measured, task.metric, rng))


def figures_of(plan: Plan, rows: Mapping[str, Mapping[str, Sequence[Cell]]]) -> tuple[Figure, ...]:
    """Return what a protocol sums up of each row: the harmonic mean of base and new, or the mean over the other tasks.

    `rows`: by row and column the cells of all seeds. Intervals resample the items of each test, for all seeds alike.
    """
    if plan.name == "few-shot":
        return ()
    columns = [*plan.exams] if plan.name == "base-to-novel" else [*plan.exams][1:]
    title = "harmonic mean" if plan.name == "base-to-novel" else "mean over the others"
    figure: Callable[[Array], Array] = harmonic if plan.name == "base-to-novel" else lambda a: a.mean(axis=1)
    metrics = dict.fromkeys(plan.exams[name].metric.name for name in columns)
    if len(metrics) > 1:
        return (Figure(title, None, reason=f"undefined: different metrics ({', '.join(metrics)})"),)
    return tuple(_figure(f"{title}, {row}", plan, columns, cells, figure) for row, cells in rows.items())


def _figure(
    name: str,
    plan: Plan,
    columns: Sequence[str],
    cells: Mapping[str, Sequence[Cell]],
    figure: Callable[[Array], Array],
) -> Figure:
    values, draws = [], []
    for key in columns:
        task = plan.exams[key]
        measured = [c.measured for c in cells[key] if c.measured]
        if len(measured) < len(cells[key]):
            reason = next(c.reason for c in cells[key] if not c.measured)
            return Figure(name, None, reason=f"undefined: {key} has no score ({reason})")
        shared = _shared(measured)
        rng = np.random.default_rng([int(task.items_fingerprint(), 16), 4])
        values.append(float(np.mean([primary(task.metric, m.outputs, m.targets) for m in shared])))
        draws.append(draws_of(task.metric, shared, rng).mean(axis=1))
    return figure_of(name, float(figure(np.array([values]))[0]), figure(np.stack(draws, axis=1)))


def _shared(measured: Sequence[Measured]) -> list[Measured]:
    ids = set.intersection(*({*m.ids} for m in measured))
    return [m.only(ids) for m in measured]
