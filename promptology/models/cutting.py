"""Limits of an answer, for models that do not keep them by themselves."""

from __future__ import annotations

from collections.abc import Sequence

TOKEN = 4
"""Characters that count as a token where there is no tokenizer."""


def cut(text: str, stop: Sequence[str], max_tokens: int | None) -> tuple[str, bool]:
    """Return a text up to the first stop mark and the number of tokens allowed; whether the latter cut it."""
    for mark in stop:
        if mark:
            text = text.split(mark, 1)[0]
    if max_tokens is None or len(text) <= TOKEN * max_tokens:
        return text, False
    return text[: TOKEN * max_tokens], True
