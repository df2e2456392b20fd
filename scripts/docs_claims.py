"""What the page of a method says of its paper's claims: the announced effects, and what was measured last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs_text import prose, table

from promptology.claims.announced import entries
from promptology.claims.recording import recorded
from promptology.claims.wording import AGAINST, term_rows

INTRODUCTION = """What the paper announces was written down before any code, with arms, equal budgets and a rule, and is
measured here on small models."""


def sections(slug: str) -> list[str]:
    """Return the claims of a method as Markdown."""
    claims = [entry for entry in entries() if entry.method == slug]
    results = {result["id"]: result for result in recorded().get(slug, ())}
    if not claims:
        return ["No effect of this method is on the list of those that are measured again."]
    parts = [INTRODUCTION]
    for claim in claims:
        result = results.get(claim.id)
        verdict = result["verdict"] if result else "not measured yet"
        parts += [f"### {claim.id}: {verdict}", prose(claim.says)]
        if result:
            parts += measured(result)
        else:
            parts.append(f"To be measured: {prose(claim.metric)}. The rule: `{claim.rule}`.")
    return parts


def measured(result: Mapping[str, Any]) -> list[str]:
    """Return a recorded result: the terms of its rule with their figures, and how it was measured."""
    head, *rows = term_rows(result)
    placebo = {rule: AGAINST for rule, *_ in rows if rule.endswith(AGAINST)}
    shown = table(head, [(f"`{rule.removesuffix(AGAINST)}`{placebo.get(rule, '')}", *rest) for rule, *rest in rows])
    how = f"{result['seeds']} seeds; {result['date']}, commit {result['commit']}"
    return [shown, f"Measured: {prose(result['metric'])}; {how}. [Figures of all arms](../claims.md#{result['id']})"]
