"""Protocols of generalisation: few shots, new classes, other data, other domains; one run for each lesson."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptology.api.common import Progress, as_task, default_budget, open_all, settings_of, watched
from promptology.api.learning import labels_of
from promptology.api.running import parse_seeds
from promptology.api.transferring import Grid
from promptology.data.items import digest
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.documents import model_entry, task_entry, write_document
from promptology.evidence.fitting import Observer, Settings, begun
from promptology.evidence.generalising import SHOTS, Examined, Lesson, Plan, examine, figures_of, plan_lessons, pooled
from promptology.evidence.grids import Cell
from promptology.evidence.turns import check_alive
from promptology.methods.registry import create
from promptology.models.opening import model as open_model
from promptology.prompts.saving import save
from promptology.run.cost import ZERO, Cost
from promptology.run.engine import status_of
from promptology.run.store import Place, home

START = "(start)"
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Generalisation(Grid):
    """Methods by classes, shots or tasks, each cell the mean over seeds; `folder` holds the document."""

    folder: Path


@dataclass(frozen=True)
class _Sat:
    """A lesson that was learned by a method and examined, and what it cost."""

    label: str
    lesson: Lesson
    examined: Examined
    run: str
    folder: Path
    charged: Cost
    paid: Cost
    notes: tuple[str, ...]


def protocol(
    name: str,
    task: Any,
    model: Any,
    methods: Sequence[Any],
    *,
    on: Mapping[str, Any] | None = None,
    shots: int | Sequence[int] | None = None,
    seeds: int | str | Sequence[int] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    store: Place = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Generalisation:
    """Measure how far what methods learn carries: "base-to-novel", "few-shot", "cross-dataset" or "domain-shift".

    See `promptology.evidence.generalising` for what each learns and tests. `on`: further tasks by name; `shots`: items
    a class, 16 or, of few-shot, 1, 2, 4, 8 and 16; 0: all; `seeds`: how many from 1 on, or which; they draw the shots
    and seed the learning (default 1, 2, 3). Every method, seed and number of shots is a run with a budget of its own,
    and the same call after a crash continues. Other arguments as in `compare`. Raises PromptologyError.
    """
    if not methods:
        raise UsageError("a protocol needs at least one method")
    known = _seeds(seeds)
    many = (
        list(SHOTS if name == "few-shot" else (16,)) if shots is None else [shots] if isinstance(shots, int) else shots
    )
    first = as_task(task, prompt, system)
    others = {label: as_task(one, prompt, system) for label, one in (on or {}).items()}
    plan = plan_lessons(name, first, others, many, known)
    model, helpers = open_model(model), open_all(helpers)
    chosen = [create(m, (settings or {}).get(m if isinstance(m, str) else type(m).card.slug)) for m in methods]
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    if run_settings.noise_floor:
        raise UsageError("noise_floor is for one prompt on one task; leave it out")
    say: Observer = observe or (lambda event, values: None)
    jobs = [(label, m, x) for label, m in zip(labels_of(chosen), chosen, strict=True) for x in plan.lessons]
    sat: list[_Sat] = []
    with watched(progress) as shown:
        for label, one, lesson in jobs:
            say("arm", {"number": len(sat) + 1, "total": len(jobs), "method": label, "seed": lesson.seed})
            given = {"store": store, "observe": observe, "progress": shown}
            sat.append(_sit(label, plan, lesson, model, one, helpers, run_settings, **given))
    rows = _rows(plan, sat)
    cells = tuple(tuple(pooled(plan.exams[c], row[c]) for c in plan.exams) for row in rows.values())
    figures = figures_of(plan, rows)
    doc = _document(plan, first, model, sat, rows, cells, run_settings, command, known)
    doc["figures"] = [figure.to_json() for figure in figures]
    folder = write_document(doc, home() / "runs" / f"{name}-{digest([one.run for one in sat])}")
    return Generalisation(tuple(rows), tuple(plan.exams), cells, figures, doc, folder)


def _seeds(seeds: Any) -> list[int]:
    """Return which seeds are run: those of the papers, so many from 1 on, or those that are named."""
    if seeds is None:
        return list(SEEDS)
    counted = isinstance(seeds, int) or (isinstance(seeds, str) and "," not in seeds)
    return [seed + 1 for seed in parse_seeds(seeds)] if counted else parse_seeds(seeds)


def _sit(
    label: str,
    plan: Plan,
    lesson: Lesson,
    model: Any,
    method: Any,
    helpers: Mapping[str, Any],
    settings: Settings,
    **how: Any,
) -> _Sat:
    """Learn one lesson and take its exams, as a run of its own."""
    card, exams = type(method).card, {name: plan.exams[name] for name in lesson.columns}
    mine = {r: m for r, m in helpers.items() if r in (*card.needs, *card.optional, "judge")}
    own = replace(settings, seed=lesson.seed)
    reserved = {resource: limit * own.budget.evidence_share for resource, limit in own.budget.limits.items()}
    more = {"protocol": plan.name, "exams": [[name, task.fingerprint()] for name, task in exams.items()]}
    with begun(lesson.task, model, card, method, mine, own, more=more, **how) as at:
        with status_of(at.meter):
            found = examine(method, at.run, exams, reserved)
            check_alive(card, at.run, at.meter, found.learned)
            at.meter.check_missing()
        save(found.learned, at.folder / "prompt")
        scores = {name: cell.to_json() for name, cell in found.found.items()}
        at.meter.store.set_status(
            at.meter.run, "done", {"evidence": _words(plan, scores), "charged": at.meter.charged.to_json()}
        )
        at.meter.states.sweep()
        known = {*plan.exams[lesson.columns[0]].notes}
        notes = [*at.run.warnings, *(note for note in lesson.task.notes if note not in known)]
        notes += [f"{at.meter.missing} answers are missing"] * bool(at.meter.missing)
        notes += ["the budget ended it before its end"] * bool(found.ended)
        return _Sat(label, lesson, found, at.meter.run, at.folder, at.meter.charged, at.meter.paid, tuple(notes))


def _words(plan: Plan, scores: Mapping[str, Mapping[str, Any]]) -> str:
    shown = [f"{name} {c['value']:.3f}" if c["value"] is not None else f"{name} -" for name, c in scores.items()]
    return f"{plan.name}: {', '.join(shown)}"


def _rows(plan: Plan, sat: Sequence[_Sat]) -> dict[str, dict[str, list[Cell]]]:
    """Return by row and column the cells of all seeds; the start's are those beside the first method."""
    rows: dict[str, dict[str, list[Cell]]] = {}
    for one in sat:
        both = {one.label: one.examined.found, **({START: one.examined.start} if one.label == sat[0].label else {})}
        for row, cells in both.items():
            found = rows.setdefault(row, {name: [] for name in plan.exams})
            for name, cell in cells.items():
                found[name].append(cell)
    return {START: rows.pop(START), **rows}


def _document(
    plan: Plan,
    task: Task,
    model: Any,
    sat: Sequence[_Sat],
    rows: Mapping[str, Any],
    cells: Sequence[Sequence[Cell]],
    settings: Settings,
    command: str,
    seeds: Sequence[int],
) -> dict[str, Any]:
    from promptology import __version__

    charged, paid = ZERO, ZERO
    for one in sat:
        charged, paid = charged.plus(one.charged), paid.plus(one.paid)
    notes = dict.fromkeys(f"{one.label}, seed {one.lesson.seed}: {note}" for one in sat for note in one.notes)
    openings = max(one.examined.openings for one in sat)
    runs = [
        {"method": one.label, "seed": one.lesson.seed, "columns": [*one.lesson.columns], "run": one.run} for one in sat
    ]
    fits = (
        f"{len(runs)} fit{'s, each' if len(runs) > 1 else ''} with its own budget; seeds {', '.join(map(str, seeds))}"
    )
    return {
        "kind": plan.name,
        "title": f"{task.name}: {plan.name}",
        "says": {"few-shot": "Few shots a class"}.get(plan.name, "Learned here, tested there"),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "row_head": "method",
        "column_head": {"base-to-novel": "classes", "few-shot": "shots"}.get(plan.name, "task"),
        "rows": list(rows),
        "columns": list(plan.exams),
        "cells": [[cell.to_json() for cell in row] for row in cells],
        "metric": ", ".join(dict.fromkeys(one.metric.name for one in plan.exams.values())),
        "protocol": plan.name,
        "tasks": {name: task_entry(one, openings) for name, one in plan.exams.items()},
        "model": model_entry(model),
        "simulated": bool(getattr(model, "simulated", False)),
        "runs": runs,
        "budget": str(settings.budget),
        "seed": seeds[0],
        "seeds": list(seeds),
        "command": command,
        "charged": charged.to_json(),
        "paid": paid.to_json(),
        "notes": [fits, *notes],
    }
