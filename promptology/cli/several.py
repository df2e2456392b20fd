"""Several named tasks on the command line: `evaluate --also` and `fit --protocol stages`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from promptology.cli.options import Common, command_line, named, origin
from promptology.cli.showing import Watcher, out, out_json, say
from promptology.errors import UsageError


def more_tasks(shared: Common, task: Any, specs: Sequence[str], option: str) -> dict[str, Any]:
    """Return the task and further ones by name; columns and metric are the same for all.

    Files of --test and --unlabeled are the first's. Raises UsageError for one name twice.
    """
    found = {str(task.name): task}
    for name, spec in named(specs, option, must=True):
        if name in found:
            raise UsageError(f"{option}: a task is named {name!r} already, choose another name")
        found[name] = replace(shared, task=spec, test=None, unlabeled=None).load()
    return found


def evaluate_several(shared: Common, tasks: dict[str, Any], model: Any, prompt: Any, split: str) -> None:
    """Measure one prompt on several tasks."""
    from promptology import api

    watcher = Watcher()
    try:
        result = api.evaluate(
            tasks,
            model,
            prompt,
            system=shared.system,
            split=split,
            budget=shared.budget,
            progress=watcher.progress,
            helpers=shared.helpers(),
            command=command_line(sys.argv[1:]),
            **shared.options(),
        )
    finally:
        watcher.close()
    out_json(result.document) if shared.json else out(str(result))


def fit_stages(shared: Common, tasks: dict[str, Any], model: Any, method: str, more: dict[str, Any]) -> None:
    """Learn tasks one after another."""
    from promptology import api

    watcher = Watcher()
    argv, nonce = sys.argv[1:], nonce_of(shared)
    say_budget(shared, model)
    try:
        result = api.fit_stages(
            tasks,
            model,
            method,
            helpers=shared.helpers(),
            prompt=shared.start(),
            system=shared.system,
            budget=shared.budget,
            observe=watcher.observe,
            progress=watcher.progress,
            command=command_line(argv),
            origin=origin(argv, nonce),
            **more,
            **{**shared.options(), "nonce": nonce},
        )
    finally:
        watcher.close()
    report = result.report(result.folder / "report.html")
    folder = more["out"] or result.folder / "prompt"
    if shared.json:
        return out_json({**result.document, "prompt_folder": str(folder), "report": str(report)})
    out(str(result))
    out(f"\nprompt  {folder}\nreport  {report}")


def nonce_of(shared: Common) -> str:
    """Return what makes a run with the cache off a new run."""
    from promptology.evidence.fitting import new_nonce

    return "" if shared.cache == "on" else shared.nonce or new_nonce()


def say_budget(shared: Common, model: Any) -> None:
    """Say which budget is used where none was given, and whether the model is simulated."""
    from promptology.api import default_budget

    if shared.budget is None:
        say(f"note: no --budget given; using {default_budget(model)}")
    if getattr(model, "simulated", False):
        say("note: the model is simulated")
