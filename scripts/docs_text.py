"""Markdown that the generated pages are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence

CODE = re.compile(r"(`[^`]+`)")


def prose(text: str) -> str:
    """Return plain text as Markdown that shows it as it is; backticks stay code, and papers become links."""
    parts = CODE.split(" ".join(text.split()))
    shown = "".join(part if part.startswith("`") else _plain(part) for part in parts)
    linked = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", shown)
    return re.sub(r"^(\d+)([.)] )", r"\1\\\2", linked)


def _plain(text: str) -> str:
    return re.sub(r"([\\*_\[\]>#])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are Markdown. A bar parts cells, except in code."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in CODE.split(text))


def fence(language: str, text: str) -> str:
    """Return text as a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"
