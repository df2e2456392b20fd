"""Wording: costs, figures and texts as tables and pages show them. Control characters are made visible everywhere."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any


def format_cost(cost: Mapping[str, Any] | None) -> str:
    """Return a cost in words, zeros left out; "~" marks estimated tokens."""
    if not cost:
        return "0"
    parts: list[str] = []
    tokens = cost.get("tokens", 0) or cost.get("tokens_in", 0) + cost.get("tokens_out", 0)
    if calls := cost.get("calls"):
        parts.append(f"{calls:,} call{'s' if calls != 1 else ''}")
    if tokens:
        parts.append(f"{'~' if cost.get('estimated') else ''}{short(tokens)} tokens")
    if usd := cost.get("usd"):
        parts.append(f"${usd:.2f}" if usd >= 0.01 else f"${usd:.2g}")
    if passes := cost.get("passes"):
        parts.append(f"{passes:,} pass{'es' if passes != 1 else ''}")
    if (seconds := cost.get("seconds", 0)) >= 0.05:
        parts.append(f"{seconds:.1f} s")
    return " · ".join(parts) or "0"


def short(n: float) -> str:
    """Return a count in few characters."""
    return f"{n:,.0f}" if n < 10_000 else f"{n / 1e3:,.0f}k" if n < 10_000_000 else f"{n / 1e6:,.1f}M"


def visible(text: Any) -> str:
    """Return a text whose control and direction characters are shown as escapes."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else f"\\u{ord(c):04x}"
        for c in str(text)
    )


def cut(text: str, most: int = 400) -> str:
    """Return a text of bounded length."""
    return text if len(text) <= most else f"{text[:most].rstrip()} …"


def figure(score: Mapping[str, Any] | None) -> str:
    """Return the value of a score entry."""
    return f"{score['value']:.3f}" if score and score.get("value") is not None else "-"


def span(score: Mapping[str, Any] | None) -> str:
    """Return the interval of a score entry."""
    if not score or score.get("low") is None:
        return ""
    return f"{score['low']:.3f} to {score['high']:.3f}"


def format_p(p: float | None) -> str:
    """Return a p value."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def fitting(text: str, columns: int) -> str:
    """Return a text on one line that takes no more than so many columns."""
    line = visible(" ".join(text[: 2 * columns + 200].split())) if columns > 0 else ""
    if width(line) <= columns:
        return line
    found, used = "", 2
    for c in line:
        used += width(c)
        if used > columns:
            break
        found += c
    return f"{found.rstrip()} …" if found.strip() else ""
