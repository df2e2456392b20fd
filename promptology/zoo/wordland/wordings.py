"""Instructions: how each kind is asked for, in wordings that pre-training uses and in others that it never shows."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

HELD_OUT = "--"
"""Parts the wordings of a kind from the held-out ones."""


class Wordings(NamedTuple):
    """The instructions of a kind: those that pre-training uses, and those that it never shows."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]


def _read() -> dict[str, Wordings]:
    text = files("promptology.zoo.wordland").joinpath("lists", "wordings.txt").read_text(encoding="utf-8")
    found: dict[str, tuple[list[str], list[str]]] = {}
    seen: list[str] = []
    held_out: list[str] = []
    lines = seen
    for line in text.splitlines():
        if line.startswith("["):
            seen, held_out = [], []
            found[line.strip("[]")] = (seen, held_out)
            lines = seen
        elif line == HELD_OUT:
            lines = held_out
        elif line:
            lines.append(line)
    return {name: Wordings(tuple(a), tuple(b)) for name, (a, b) in found.items()}


WORDINGS: dict[str, Wordings] = _read()
"""Kind to its wordings."""
