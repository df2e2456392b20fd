"""Grids of scores: prompts by tasks and models, stages by tasks; as a text table, and as one HTML page (a heat map).

A grid's document holds `rows`, `columns` (names), `cells` (row by row: value, low, high, n, or the reason why there is
none) and `figures` (name, value, low, high, or the reason). Names and reasons are text, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.data.scoring import Metric, resample
from promptology.data.task import Task
from promptology.errors import AccessError, ArtifactError, ModelError, UsageError
from promptology.evidence.documents import score_of
from promptology.evidence.measuring import Measured, measure
from promptology.evidence.pages import fill, write_page
from promptology.evidence.statistics import RESAMPLES, Interval, bootstrap_interval, over_resamples
from promptology.evidence.wording import figure, format_cost, span, visible, width
from promptology.predict import Predictor, bind
from promptology.predict.judging import Referee, referee
from promptology.prompts.learned import Learned
from promptology.run.handles import Handle
from promptology.run.meter import Meter

REFUSALS: tuple[type[Exception], ...] = (AccessError, ArtifactError, UsageError)
"""How a prompt says that it does not fit a model or a task."""
NO_BUDGET = "the budget does not cover it"
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One score, or the reason why there is none."""

    measured: Measured | None = field(repr=False)
    score: Interval | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the cell's entry in a document."""
        found = score_of(self.score, self.measured)
        return {**found, "reason": ""} if found else {"value": None, "n": 0, "reason": self.reason}


class Figure(NamedTuple):
    """A figure made of several scores: its value, interval (None where no resample differs), or why it is undefined."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the figure's entry in a document."""
        return self._asdict()


def bound(
    learned: Learned,
    handles: Mapping[str, Handle],
    task: Task,
    meter: Meter,
    items: Sequence[Item],
    refusals: tuple[type[Exception], ...] = REFUSALS,
) -> Predictor | str:
    """Return a prompt bound to a model and to the fields and classes of a task, or why this pair does not work.

    One item is predicted, which costs nothing when it is asked again: tensors of another width, a head without the
    task's classes or an unknown model name show only in use.
    """
    try:
        predictor = bind(learned, handles["model"], {r: h for r, h in handles.items() if r != "model"}, task.signature)
        judge = referee(task.metric, handles, task.signature)
        return predictor if measure(meter, [predictor], items[:1], judge) else NO_BUDGET
    except refusals as error:
        return " ".join(str(error).split())


def column(
    meter: Meter, prompts: Sequence[Learned], handles: Mapping[str, Handle], task: Task, items: Sequence[Item]
) -> list[Cell]:
    """Measure prompts on the same items, as many as the budget covers; one cell each."""
    # Where one model refuses for good, the others may not.
    made = [bound(learned, handles, task, meter, items, (*REFUSALS, ModelError)) for learned in prompts]
    usable = [predictor for predictor in made if not isinstance(predictor, str)]
    judge: Referee | None = referee(task.metric, handles, task.signature) if usable else None
    many = iter((measure(meter, usable, items, judge) if usable else None) or ())
    return [cell_of(task, p if isinstance(p, str) else next(many, NO_BUDGET)) for p in made]


def cell_of(task: Task, found: Measured | str) -> Cell:
    """Return the cell of what was measured, or of the reason why nothing was."""
    if isinstance(found, str):
        return Cell(None, None, found)
    if not found.n:
        return Cell(None, None, "every answer is missing")
    rng = np.random.default_rng(int(task.items_fingerprint(), 16))
    return Cell(found, bootstrap_interval(task.metric, found.outputs, found.targets, rng))


def draws_of(metric: Metric, found: Sequence[Measured], rng: np.random.Generator) -> Array:
    """Return the score of each prompt on resamples of the items that all of them share, shape (resamples, prompts)."""

    def figures(rows: NDArray[np.int64]) -> Array:
        return np.stack([resample(metric, m.outputs, m.targets, rows) for m in found], axis=1)

    return over_resamples(figures, found[0].n, rng, RESAMPLES)


def figure_of(name: str, value: float, draws: Array) -> Figure:
    """Return a figure with the percentile interval of its resamples."""
    if not math.isfinite(value):
        return Figure(name, None, reason="a score that it needs is not there")
    known = draws[~np.isnan(draws)]
    low, high = (float(q) for q in np.quantile(known, [0.025, 0.975])) if len(known) else (value, value)
    return Figure(name, float(value), low, high) if low < high else Figure(name, float(value))


def harmonic_mean(tasks: Mapping[str, Task], cells: Mapping[str, Cell]) -> Figure:
    """Return the harmonic mean of the scores of several tasks, of which each has items of its own.

    It is undefined where a score is missing or negative, or where tasks are scored by different metrics; a score of 0
    makes it 0, its limit.
    """
    name = "harmonic mean"
    metrics = dict.fromkeys(task.metric.name for task in tasks.values())
    if len(metrics) > 1:
        return Figure(name, None, reason=f"undefined: the tasks are scored by different metrics ({', '.join(metrics)})")
    parts: list[tuple[float, Array]] = []
    for task_name, cell in cells.items():
        if cell.score is None or cell.measured is None or not math.isfinite(cell.score.value):
            return Figure(name, None, reason=f"undefined: {task_name} has no score ({cell.reason or 'not a number'})")
        if cell.score.value < 0:
            return Figure(name, None, reason=f"undefined: the score of {task_name} is negative")
        task = tasks[task_name]
        rng = np.random.default_rng([int(task.items_fingerprint(), 16), 1])
        parts.append((cell.score.value, draws_of(task.metric, [cell.measured], rng)[:, 0]))
    value = float(harmonic(np.array([[value for value, _ in parts]]))[0])
    return figure_of(name, value, harmonic(np.stack([draws for _, draws in parts], axis=1)))


def harmonic(scores: Array) -> Array:
    """Return the harmonic mean of each row; not a number where a resample's score is negative."""
    with np.errstate(divide="ignore", invalid="ignore"):
        means = scores.shape[1] / (1.0 / scores).sum(axis=1)
    means[(scores == 0).any(axis=1)] = 0.0
    means[(scores < 0).any(axis=1)] = np.nan
    return np.asarray(means)


def format_grid(document: Mapping[str, Any]) -> str:
    """Return a grid as a text table, with its figures, reasons and notes."""
    reasons = list(dict.fromkeys(c["reason"] for row in document["cells"] for c in row if c["value"] is None))
    rows = [[_corner(document), *document["columns"]]]
    for name, cells in zip(document["rows"], document["cells"], strict=True):
        rows.append([name, *(_words(cell, reasons) for cell in cells)])
    cells = [[visible(c).replace("\n", " ") for c in row] for row in rows]
    widths = [max(width(row[i]) for row in cells) for i in range(len(rows[0]))]
    lines = ["  ".join(c + " " * (w - width(c)) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "-" * min(max(map(width, lines)), 160))
    lines += ["", *(f"[{n}] {reason}" for n, reason in enumerate(reasons, 1))]
    lines += [f"{entry['name']:<20} {figure_words(entry)}" for entry in document["figures"]]
    return "\n".join(visible(line) for line in [*lines, *footer(document)])


def _corner(document: Mapping[str, Any]) -> str:
    return f"{document['row_head']} \\ {document['column_head']}"


def _words(cell: Mapping[str, Any], reasons: Sequence[str]) -> str:
    if cell["value"] is None:
        return f"- [{reasons.index(cell['reason']) + 1}]"
    return f"{figure(cell)} ({span(cell)}) n {cell['n']}"


def figure_words(entry: Mapping[str, Any]) -> str:
    """Return the value of a figure with its interval, or why it is undefined."""
    if entry["value"] is None:
        return str(entry["reason"])
    return f"{figure(entry)}   95 % interval {span(entry)}" if span(entry) else figure(entry)


def footer(document: Mapping[str, Any]) -> list[str]:
    """Return what stands under a grid."""
    return [
        f"{document['metric']}; 95 % bootstrap intervals over items; {format_cost(document['charged'])}; budget "
        f"{document['budget']}; seed {document['seed']}",
        *document["notes"],
    ]


def render(document: Mapping[str, Any]) -> str:
    """Return a grid as one HTML page without any reference to the network; colour repeats what the figures say."""
    values = [cell["value"] for row in document["cells"] for cell in row if cell["value"] is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return fill(
        "grid.html.j2",
        title=document["title"],
        sections=[("grid", "Scores"), *([("figures", "Figures")] if document["figures"] else []), ("how", "Measured")],
        doc=document,
        corner=_corner(document),
        shades={value: round(8 + 92 * (value - low) / (high - low)) if high > low else 50 for value in values},
        ends=(low, high),
        figures=[(entry["name"], figure_words(entry)) for entry in document["figures"]],
        footer=footer(document),
    )


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write the page, whole or not at all; raises UsageError where it cannot be written."""
    write_page(render(document), path)
