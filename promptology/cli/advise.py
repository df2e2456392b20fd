"""advise: which methods suit a model, a task and a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.options import Common, common
from promptology.cli.showing import columns, out, out_json, say

ADVISE = """Say which methods suit your model, data and budget, with the reason and the predicted cost of each.

It knows what the cards of the methods need, what they plan to spend, which claims were measured, and how many items a
difference takes; every line names where it comes from. No model is asked, unless with --measure.

Examples: promptology advise --task tickets --model minilm

promptology advise --task data.csv --text message --label queue --model openai:gpt-4o-mini --budget 300calls

promptology advise --task tickets --model minilm --measure --json"""


@app.command(help=ADVISE)
@common
def advise(
    shared: Common,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Score the plain prompt and, where it fits, a linear probe on at most 100 validation items.",
        ),
    ] = False,
) -> None:
    """Advise on methods."""
    from promptology import api

    shared.refuse_ray("advise")
    task, model = shared.load(), shared.open(shared.model)
    if shared.budget is None:
        say(f"note: no --budget given; using {api.default_budget(model)}")
    found = api.advise(
        task,
        model,
        helpers=shared.helpers(),
        prompt=shared.start(),
        system=shared.system,
        budget=shared.budget,
        measure=measure,
        **shared.options(),
    )
    out_json(found) if shared.json else _show(found)


def _show(found: Mapping[str, Any]) -> None:
    labelled = ", ".join(f"{n:,} {split}" for split, n in found["task"]["labelled"].items() if n) or "none"
    classes = len(found["task"]["classes"])
    out(f"task    {found['task']['name']}: labelled items: {labelled}" + (f"; {classes} classes" if classes else ""))
    out(f"model   {found['model']['name']}: {', '.join(found['model']['offers'])}")
    out(f"budget  {found['budget']}" + ("" if found["budget_given"] else " (default)") + "\n")
    for note in found["notes"]:
        _say(note, "")
    fitting = [m for m in found["methods"] if not m["lacks"]]
    out("")
    for line in columns(_rows(fitting)):
        out(line)
    out(f"\nin the order of: {found['order']}")
    for method in fitting:
        out(f"\n{method['method']}: {method['help']}")
        for note in method["why"]:
            _say(note, "  ")
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for method in found["methods"]:
        for note in method["lacks"]:
            reasons.setdefault(note["text"], []).append({"method": method["method"], **note})
    if reasons:
        out("\nnot here")
    for text, notes in reasons.items():
        names = ", ".join(note["method"] for note in notes)
        sources = notes[0]["source"] if len(notes) == 1 else f"their {notes[0]['source'].partition(' ')[0]}s"
        _say({"text": f"{names}: {text}", "source": sources}, "  ")


def _rows(fitting: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    from promptology.evidence.report import format_cost

    rows = [["", "method", "learns", "learning", "covered", "recorded claims"]]
    for n, method in enumerate(fitting, 1):
        cost = "not predicted" if method["learning"] is None else format_cost(method["learning"])
        rows.append([f"{n}", method["method"], method["learns"], cost, _covered(method), _claims(method)])
    return rows


def _say(note: Mapping[str, str], indent: str) -> None:
    out(f"{indent}- {note['text']}  [{note['source']}]")


def _covered(method: Mapping[str, Any]) -> str:
    share = method["affordable"]
    return "" if share is None else "all" if share >= 1 else f"{100 * share:.0f} %"


def _claims(method: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for claim in method["claims"]:
        counts[claim["verdict"]] = counts.get(claim["verdict"], 0) + 1
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) or "none"
