"""methods: the catalogue."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.showing import out, out_json

METHODS = """List the methods with what each needs, or show one with its settings.

Examples: promptology methods

promptology methods promptagent"""

SAYS = {
    "search": "Text by search: the prompt stays readable.",
    "soft": "Vectors and heads: the prompt is numbers, and the model stays frozen.",
    "weights": "Weights: reference arms that move them.",
    "vision": "Images and text.",
    "people": "With people: edits, choices and answers are the signal.",
    "generation": "For image and video models.",
    "strategies": "Prompting strategies.",
}
"""Families in the order of the list."""
FAMILY = list(SAYS)


@app.command(help=METHODS)
def methods(
    name: Annotated[str | None, typer.Argument(metavar="METHOD", help="Show this one with its settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List methods."""
    from promptology.methods.registry import card_of, catalogue

    cards = [card_of(name)] if name else list(catalogue().values())
    entries = [_entry(card) for card in cards]
    if as_json:
        return out_json({"methods": entries})
    if name:
        return _show(entries[0])
    family = ""
    for e in sorted(entries, key=lambda e: FAMILY.index(e["family"])):
        if e["family"] != family:
            out(("\n" if family else "") + SAYS[e["family"]])
            family = e["family"]
        needs = "; ".join(f"{role} {' or '.join(access)}" for role, access in e["needs"].items())
        labels = "labels" if e["labels"] else "no labels"
        out(f"{e['method']:<17}{e['help']}")
        out(f"{'':<17}learns {e['learns']}; needs {needs}; {labels}" + (f"; {e['paper']}" if e["paper"] else ""))


def _entry(card: Any) -> dict[str, Any]:
    from promptology.methods.registry import setting_help

    return {
        "method": card.slug,
        "family": card.family,
        "help": card.help,
        "paper": card.paper,
        "learns": card.learns,
        "needs": {role: list(access) for role, access in card.needs.items()},
        "optional": {role: list(access) for role, access in card.optional.items()},
        "labels": card.labels,
        "kinds": list(card.kinds),
        "outputs": list(card.outputs),
        "settings": [
            {"name": f.name, "default": f.default, "help": setting_help(card.cls, f.name)} for f in card.settings
        ],
    }


def _show(e: dict[str, Any]) -> None:
    out(f"{e['method']}: {e['help']}")
    out("; ".join([f"learns {e['learns']}", "needs labels" if e["labels"] else "needs no labels", *_limits(e)]))
    for role, access in e["needs"].items():
        out(f"role {role}: {' or '.join(access)}" + ("" if role == "model" else f" (--{role})"))
    for role, access in e["optional"].items():
        out(f"role {role}, if you like: {' or '.join(access)} (--{role})")
    given = [(f"--set {s['name']}={_on_one_line(s['default'])}", s["help"]) for s in e["settings"]]
    width = max((len(text) for text, _ in given), default=0)
    for text, meaning in given:
        out(f"  {text:<{width}}  {meaning}")


def _limits(e: dict[str, Any]) -> list[str]:
    """Return for which models and tasks a method is, where not for all, and its paper."""
    found = [f"for {', '.join(e['kinds'])} language models"] if e["kinds"] else []
    found += [f"for tasks whose output is {' or '.join(e['outputs'])}"] if e["outputs"] else []
    return found + ([e["paper"]] if e["paper"] else [])


def _on_one_line(value: Any) -> str:
    """Return a default as it may be written in a shell."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and not value.isprintable() else str(value)
