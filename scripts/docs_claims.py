"""What the page of a method says of its paper's claims: the announced effects, and what was measured last."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping
from typing import Any

from docs_text import prose, table

INTRODUCTION = """What the paper announces was written down before any code, with arms, equal budgets and a rule, and is
measured here on small models."""
PAGE = "../claims.md"


@functools.cache
def announced() -> dict[str, list[dict[str, Any]]]:
    """Return the announced effects by method, as their files have them."""
    found: dict[str, list[dict[str, Any]]] = {}
    folder = importlib.resources.files("promptology.claims") / "announced"
    for path in sorted((p for p in folder.iterdir() if p.name.endswith(".toml")), key=lambda p: p.name):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["claim"]:
            found.setdefault(entry["method"], []).append(entry)
    return found


@functools.cache
def recorded() -> dict[str, dict[str, Any]]:
    """Return the last recorded results by id; none where nothing records them."""
    try:
        from promptology.claims import recording
    except ImportError:
        return {}
    return {result["id"]: result for results in recording.recorded().values() for result in results}


def sections(slug: str, linked: bool) -> list[str]:
    """Return the claims of a method as Markdown. `linked`: whether there is a page with the figures of all arms."""
    claims = announced().get(slug, [])
    if not claims:
        return ["No effect of this method is on the list of those that are measured again."]
    parts = [INTRODUCTION]
    for claim in claims:
        result = recorded().get(claim["id"])
        verdict = result["verdict"] if result else "not measured yet"
        parts += [f"### {claim['id']}: {verdict}", prose(claim["says"])]
        if result:
            parts += measured(result)
            if linked:
                parts[-1] += f" [Figures of all arms]({PAGE}#{claim['id']})"
        else:
            parts.append(f"To be measured: {prose(claim['metric'])}. The rule: `{claim['rule']}`.")
    return parts


def measured(result: Mapping[str, Any]) -> list[str]:
    """Return a recorded result: the terms of its rule with their figures, and how it was measured."""
    from promptology.claims.wording import term_rows

    head, *rows = term_rows(result)
    shown = table(head, [(f"`{rule}`", figure, holds) for rule, figure, holds in rows])
    when = f"{result['date']}, commit {result['commit']}"
    return [shown, f"Measured: {prose(result['metric'])}; {result['seeds']} seeds; {when}."]
