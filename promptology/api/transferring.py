"""Prompts across tasks and models: evaluation on several named tasks, and the whole matrix."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptology.api.common import Progress, as_task, handles_of, open_all, open_meter, scored, settings_of, watched
from promptology.data.items import digest
from promptology.data.task import Task
from promptology.errors import AccessError, UsageError
from promptology.evidence.documents import model_entry
from promptology.evidence.fitting import Settings, ledger_of
from promptology.evidence.grids import Cell, Figure, column, format_grid, harmonic_mean, write
from promptology.evidence.measuring import part_of
from promptology.models.opening import model as open_model
from promptology.prompts.learned import Learned
from promptology.prompts.saving import load
from promptology.prompts.start import start_from
from promptology.run.budget import Budget
from promptology.run.handles import Handle
from promptology.run.store import Place, Store, using_store


@dataclass(frozen=True)
class Grid:
    """Scores of prompts on tasks and models. `cells[row][column]`; `document` is the same as plain JSON."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    figures: tuple[Figure, ...]
    document: dict[str, Any] = field(repr=False)

    def cell(self, row: str, column: str) -> Cell:
        """Return the cell of a row and a column by their names."""
        try:
            return self.cells[self.rows.index(row)][self.columns.index(column)]
        except ValueError:
            raise UsageError(
                f"no cell {row!r}, {column!r}: {', '.join(self.rows)} by {', '.join(self.columns)}"
            ) from None

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one flat row per cell, for a table or a DataFrame."""
        entries = zip(self.rows, self.document["cells"], strict=True)
        return [
            {"row": row, "column": name, **cell}
            for row, cells in entries
            for name, cell in zip(self.columns, cells, strict=True)
        ]

    def report(self, path: str | Path) -> Path:
        """Write the heat map, one self-contained HTML file."""
        write(self.document, Path(path))
        return Path(path)

    def __str__(self) -> str:
        return format_grid(self.document)


@dataclass(frozen=True)
class Evaluations(Grid):
    """One prompt on several named tasks."""

    @property
    def scores(self) -> dict[str, Cell]:
        """The cell of each task by its name."""
        return dict(zip(self.columns, self.cells[0], strict=True))

    @property
    def harmonic_mean(self) -> Figure:
        """The harmonic mean of the scores, or why it is undefined."""
        return self.figures[0]


def transfer(
    prompts: Mapping[str, Any] | Sequence[Any],
    tasks: Mapping[str, Any] | Sequence[Any],
    models: Mapping[str, Any] | Sequence[Any],
    *,
    split: str = "test",
    budget: Any = None,
    helpers: Mapping[str, Any] | None = None,
    store: Place = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Grid:
    """Measure every prompt on every task and model: a matrix of scores, each with its 95 % interval and n.

    `prompts`: something learned, the path of a prompt folder, a text, or None for the plain start; `tasks`: a Task or
    what `load_task` takes; `models`: what `model` takes; each as a mapping by name or a sequence, whose members name
    themselves. The budget, divided evenly among the columns, is over all of them; the prompts of a column are measured
    on the same items. A prompt that a model or a task cannot take is a cell without a score, with its reason. Classes
    are those of the task at hand. Raises UsageError where nothing can be measured, or a name stands twice.
    """
    rows = named(prompts, _learned, _name_of_prompt, "prompt")
    columns = named(tasks, lambda t: as_task(t, None, None), lambda t, _: str(t.name), "task")
    opened = named(models, open_model, lambda m, _: str(m.name), "model")
    both = len(columns) > 1 and len(opened) > 1
    several = "task and model" if both else "model" if len(opened) > 1 else "task"
    run_settings = settings_of(Budget({}) if budget is None else budget, **options)
    with using_store(store) as there:
        measured = _Measuring(there, run_settings, open_all(helpers), split, rows, columns, opened, progress)
        found = measured.run(both, len(opened) > 1)
        title = f"{len(rows)} prompt{'s' if len(rows) > 1 else ''} by {several}"
        document = measured.document("transfer", title, several, found, (), command)
    _refuse_nothing(found)
    cells = tuple(zip(*found.values(), strict=True))
    return Grid(tuple(rows), tuple(found), cells, (), document)


def evaluate_several(
    tasks: Mapping[str, Any],
    model: Any,
    prompt: str | Learned | None,
    *,
    system: str | None,
    split: str,
    budget: Any,
    store: Place,
    progress: Progress | None,
    helpers: Mapping[str, Any] | None,
    command: str,
    **options: Any,
) -> Evaluations:
    """Measure one prompt on several named tasks, each bound to its own classes; see `promptology.evaluate`."""
    columns = {str(name): as_task(task, None, None) for name, task in tasks.items()}
    if system is not None:
        columns = {name: task.with_prompt(None, system) for name, task in columns.items()}
    run_settings = settings_of(Budget({}) if budget is None else budget, **options)
    one = open_model(model)
    if isinstance(prompt, Learned) and run_settings.readout:
        raise UsageError(f"a saved prompt has its own readout ({prompt.readout.type}); leave the other one out")
    with using_store(store) as there:
        rows = {"prompt": prompt}
        measured = _Measuring(there, run_settings, open_all(helpers), split, rows, columns, {one.name: one}, progress)
        found = measured.run(False, False)
        mean = harmonic_mean(columns, {name: cells[0] for name, cells in found.items()})
        title = f"one prompt on {len(columns)} task{'s' if len(columns) > 1 else ''}"
        document = measured.document("evaluate-several", title, "task", found, (mean,), command)
    _refuse_nothing(found)
    return Evaluations(("prompt",), tuple(found), (tuple(c[0] for c in found.values()),), (mean,), document)


def named(
    given: Mapping[str, Any] | Sequence[Any], make: Callable[[Any], Any], name: Callable[[Any, Any], str], what: str
) -> dict[str, Any]:
    """Return what was given by name; members of a sequence name themselves. Raises UsageError for one name twice."""
    if isinstance(given, Mapping):
        found = {str(key): make(value) for key, value in given.items()}
    else:
        found = {}
        for source in [given] if isinstance(given, str | Path) or not isinstance(given, Sequence) else given:
            made = make(source)
            if (own := name(made, source)) in found:
                raise UsageError(f"two {what}s are named {own!r}; give each a name of its own")
            found[own] = made
    if not found:
        raise UsageError(f"give at least one {what}")
    return found


def _learned(source: Any) -> Learned | str | None:
    """Return a prompt: a folder is loaded, a text is a start of its own."""
    if isinstance(source, Path) or (isinstance(source, str) and is_folder(source)):
        return load(source)
    if source is None or isinstance(source, str | Learned):
        return source
    raise UsageError(f"a {type(source).__name__} is not a prompt; give something learned, a folder or a text")


def is_folder(text: str) -> bool:
    """Whether a text is the path of a folder."""
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # too long for a name, or with a character that no name has
        return False


def _name_of_prompt(made: Any, source: Any) -> str:
    if isinstance(source, Learned):
        return source.method or "by hand"
    if source is None:
        return "start"
    return str(source) if isinstance(source, Path) or is_folder(source) else source[:60]


def _refuse_nothing(found: Mapping[str, Sequence[Cell]]) -> None:
    cells = [cell for column in found.values() for cell in column]
    if not any(cell.score for cell in cells):
        raise UsageError(f"nothing could be measured: {cells[0].reason}")


class _Measuring:
    """What all cells share: store, settings, one meter, and models that are opened once and let go one by one."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        helpers: Mapping[str, Any],
        split: str,
        prompts: Mapping[str, Any],
        tasks: Mapping[str, Task],
        models: dict[str, Any],
        progress: Progress | None,
    ) -> None:
        self.store, self.settings, self.helpers, self.split = store, settings, helpers, split
        self.prompts, self.tasks, self.models, self.progress = prompts, tasks, models, progress
        self.entries = {name: model_entry(m) for name, m in models.items()}
        if settings.noise_floor or settings.max_prompt_tokens:
            raise UsageError("noise_floor and max_prompt_tokens are for one prompt on one task; leave them out")
        self.meter = open_meter(store, settings)
        self.items = {name: scored(task, split) for name, task in tasks.items()}
        self.openings = 0

    def run(self, both: bool, by_model: bool) -> dict[str, list[Cell]]:
        """Return the cells of each column; `both`: its name says task and model, `by_model`: the model alone."""
        found: dict[str, list[Cell]] = {}
        left = len(self.tasks) * len(self.models)
        with watched(self.progress) as shown:
            self.meter.on_progress = shown
            for model_name in list(self.models):
                model = self.models.pop(model_name)  # one that nobody else holds makes room for the next
                for task_name, task in self.tasks.items():
                    handles = handles_of(self.meter, self.settings, model, self.helpers, task.metric)
                    name = f"{task_name} · {model_name}" if both else model_name if by_model else task_name
                    with part_of(self.meter, 1 / left):
                        found[name] = self._column(task_name, task, handles)
                    left -= 1
        self.meter.check_missing()
        return found

    def _column(self, name: str, task: Task, handles: Mapping[str, Handle]) -> list[Cell]:
        made = [start_of(prompt, task, handles["model"], self.settings.readout) for prompt in self.prompts.values()]
        usable = [m for m in made if isinstance(m, Learned)]
        cells = iter(column(self.meter, usable, handles, task, self.items[name]))
        found = [next(cells) if isinstance(m, Learned) else Cell(None, None, m) for m in made]
        for learned, cell in zip(made, found, strict=True):
            if cell.score and self.split == "test" and isinstance(learned, Learned):
                run = f"evaluate-{digest(learned.to_json())}"
                self.openings = max(self.openings, self.store.open_test(task.items_fingerprint(), run))
        return found

    def document(
        self,
        kind: str,
        title: str,
        column_head: str,
        found: Mapping[str, Sequence[Cell]],
        figures: Sequence[Figure],
        command: str,
    ) -> dict[str, Any]:
        """Return the grid as plain JSON."""
        from promptology import __version__

        missing = sum(c.measured.missing for cells in found.values() for c in cells if c.measured)
        opened = (
            f"a test split was opened {self.openings} times: prompts chosen by its figures look better than they are"
        )
        return {
            "kind": kind,
            "title": title,
            "says": "Prompts on tasks and models" if kind == "transfer" else "One prompt on several tasks",
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": __version__,
            "row_head": "prompt",
            "column_head": column_head,
            "rows": list(self.prompts),
            "columns": list(found),
            "cells": [[cell.to_json() for cell in row] for row in zip(*found.values(), strict=True)],
            "figures": [figure.to_json() for figure in figures],
            "metric": ", ".join(dict.fromkeys(task.metric.name for task in self.tasks.values())),
            "split": self.split,
            "tasks": {name: task.name for name, task in self.tasks.items()},
            "models": self.entries,
            "simulated": any(entry["simulated"] for entry in self.entries.values()),
            "budget": str(self.settings.budget),
            "seed": self.settings.seed,
            "command": command,
            "charged": self.meter.charged.to_json(),
            "paid": self.meter.paid.to_json(),
            "ledger": ledger_of(self.meter),
            "notes": [
                *([f"{missing} answers are missing"] if missing else []),
                *([opened] if self.openings > 1 else []),
            ],
        }


def start_of(prompt: Any, task: Task, handle: Handle, readout: str) -> Learned | str:
    """Return a prompt for a task and a model: what was learned as it is, a text as a start; else why it cannot be."""
    if isinstance(prompt, Learned):
        return prompt
    try:
        return start_from(task.signature.with_prompt(prompt), handle.access, readout)
    except (AccessError, UsageError) as error:
        return " ".join(str(error).split())
