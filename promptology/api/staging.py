"""Learning several tasks one after another, and what that does to each of them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptology.api.common import Progress, as_task, default_budget, open_all, settings_of, watched
from promptology.api.transferring import Grid
from promptology.data.items import digest
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.documents import model_entry, task_entry, write_document
from promptology.evidence.fitting import Begun, Observer, Settings, begun, ledger_of
from promptology.evidence.grids import Figure
from promptology.evidence.stages import NAME, Staged, check_stages, stages
from promptology.evidence.turns import check_alive
from promptology.methods.registry import create
from promptology.models.opening import model as open_model
from promptology.prompts.learned import Learned
from promptology.prompts.saving import save
from promptology.run.engine import status_of
from promptology.run.store import Place

START = "(start)"


@dataclass(frozen=True)
class Stages(Grid):
    """Tasks learned one after another: R[t, i] as cells, row 0 the start; `learned` after each stage."""

    learned: tuple[Learned, ...]
    run: str
    folder: Path

    def figure(self, name: str) -> Figure:
        """Return average accuracy, backward transfer, forward transfer or forgetting."""
        found = next((figure for figure in self.figures if figure.name == name), None)
        if found is None:
            raise UsageError(f"no figure {name!r}; there are {', '.join(f.name for f in self.figures)}")
        return found

    def save(self, folder: str | Path) -> Path:
        """Write the prompt folder of what was learned after the last stage."""
        return save(self.learned[-1], folder)


def fit_stages(
    tasks: Mapping[str, Any],
    model: Any,
    method: Any = "spo",
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    settings: Mapping[str, Any] | None = None,
    sources: Sequence[Learned] = (),
    out: str | Path | None = None,
    store: Place = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Stages:
    """Let a method learn named tasks in their order, and score every task after every stage, as GEM does.

    The matrix R[t, i] and, made of it, average accuracy, backward and forward transfer and forgetting, each with a 95 %
    interval (`promptology.evidence.stages`). `tasks`: two or more with labelled test items and one metric. One budget
    over all stages and scores; other arguments as in `fit`. The same call after a crash continues. Raises
    PromptologyError with one clear line.
    """
    named = {str(name): as_task(task, prompt, system) for name, task in tasks.items()}
    check_stages(named)
    model, helpers = open_model(model), open_all(helpers)
    chosen = create(method, settings)
    card = type(chosen).card
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    if run_settings.noise_floor:
        raise UsageError("noise_floor is for one prompt on one task; leave it out")
    share = run_settings.budget.evidence_share
    reserved = {resource: limit * share for resource, limit in run_settings.budget.limits.items()}
    if "calls" in reserved:
        most = (len(named) + 1) * sum(len(t.test) * (1 + len(t.metric.needs)) for t in named.values())
        reserved["calls"] = min(int(reserved["calls"]), most)
    first = next(iter(named.values()))
    given = (first, model, card, chosen, helpers, run_settings)
    how: dict[str, Any] = {"store": store, "sources": sources, "observe": observe, "more": _spec(named)}
    with watched(progress) as shown, begun(*given, **how, progress=shown) as at:
        with status_of(at.meter):
            found = stages(chosen, at.run, named, reserved)
            check_alive(card, at.run, at.meter, found.learned[-1])
            at.meter.check_missing()
        doc = _document(named, model, card.slug, found, at, run_settings, command)
        for n, learned in enumerate(found.learned, 1):
            save(learned, at.folder / ("prompt" if n == len(named) else f"stage-{n}"))
        write_document(doc, at.folder)
        summary = {"evidence": doc["summary"], "charged": at.meter.charged.to_json()}
        at.meter.store.set_status(at.meter.run, "done", summary)
        at.meter.states.sweep()
    rows = (START, *named)
    result = Stages(rows, tuple(named), found.cells, found.figures, doc, found.learned, at.meter.run, at.folder)
    if out is not None:
        result.save(out)
    return result


def _spec(tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Return what makes a run of stages this run, beside what makes any run."""
    prints = [[name, task.fingerprint()] for name, task in tasks.items()]
    metric = next(iter(tasks.values())).metric.name
    whole = {"name": ", ".join(tasks), "fingerprint": digest(prints), "metric": metric}
    return {"task": whole, "protocol": NAME, "stages": prints}


def _document(
    tasks: Mapping[str, Task],
    model: Any,
    method: str,
    found: Staged,
    at: Begun,
    settings: Settings,
    command: str,
) -> dict[str, Any]:
    from promptology import __version__

    run, meter = at.run, at.meter
    metric = next(iter(tasks.values())).metric.name
    first, *_ = found.figures
    summary = f"{metric}: {first.name} {first.value:.3f}" if first.value is not None else f"{metric}: {first.reason}"
    missing = [f"{meter.missing} answers are missing"] if meter.missing else []
    short = [f"the budget ended {found.ended} of {len(tasks)} fits before their end"] if found.ended else []
    return {
        "kind": NAME,
        "title": f"{', '.join(tasks)}: {method}, one after another",
        "says": "Tasks learned one after another",
        "summary": f"{summary} over {len(tasks)} tasks",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "row_head": "after stage",
        "column_head": "task",
        "rows": [START, *tasks],
        "columns": list(tasks),
        "cells": [[cell.to_json() for cell in row] for row in found.cells],
        "figures": [figure.to_json() for figure in found.figures],
        "metric": metric,
        "protocol": NAME,
        "method": method,
        "run": meter.run,
        "tasks": {name: task_entry(task, found.openings) for name, task in tasks.items()},
        "model": model_entry(model),
        "simulated": bool(getattr(model, "simulated", False)),
        "prompts": {name: p.as_text() for name, p in zip(tasks, found.learned, strict=True)},
        "budget": str(settings.budget),
        "seed": settings.seed,
        "command": command,
        "charged": meter.charged.to_json(),
        "paid": meter.paid.to_json(),
        "learning": found.learning.to_json(),
        "ledger": ledger_of(meter),
        "history": run.history,
        "notes": [*run.warnings, *short, *missing],
    }
