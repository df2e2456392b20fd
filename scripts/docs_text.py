"""Markdown that the generated pages are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence


def prose(text: str) -> str:
    """Return plain text as Markdown that shows it as it is; backticks stay code, and papers become links."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    shown = "".join(part if part.startswith("`") else re.sub(r"([\\*_\[\]<>#])", r"\\\1", part) for part in parts)
    linked = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", shown)
    return re.sub(r"^(\d+)([.)] )", r"\1\\\2", linked)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fence(language: str, text: str) -> str:
    """Return text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"
