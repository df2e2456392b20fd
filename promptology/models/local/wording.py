"""Texts with places for learned context: from "{context} a red circle." to tokens and slots."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from promptology.errors import UsageError

MARK = re.compile(r"\{context(?::(\d+))?(?:#(\d+))?\}")
"""Where context stands: all of it, or the next n vectors (`{context:n}`); `#r`: of row r, where each class has one."""


class Worded(NamedTuple):
    """One text as tokens: those of the context stand at `slots`; `row` of the context, -1 where there is one for all.

    `cut`: tokens of the text that did not fit.
    """

    ids: list[int]
    slots: list[int]
    row: int = -1
    cut: int = 0


def marked(text: str) -> bool:
    """Whether a text has a place for context."""
    return MARK.search(text) is not None


def unmarked(text: str) -> str:
    """Return a text, a class name say, in which nothing is taken for a place for context."""
    return text.replace("{context", "{ context")


def unplaced(text: str) -> str:
    """Return a text without its places for context."""
    return MARK.sub("", text)


def with_row(text: str, row: int) -> str:
    """Return a text whose context is that of a row."""
    return MARK.sub(lambda mark: f"{mark[0][:-1]}#{row}}}", text)


def worded(tokenizer: Any, text: str, length: int, positions: int) -> Worded:
    """Return the tokens of a text with `length` vectors of context in its marked places.

    What stands between the marks is tokenised by itself, and all is opened and closed as the tokenizer does; the text
    is cut at its end where it would be longer than `positions`, the context never. Raises UsageError where the marks
    do not take exactly `length` vectors.
    """
    opening, closing = around(tokenizer)
    pieces, counts, rows = _pieces(text)
    left = length - sum(count for count in counts if count is not None)
    if counts.count(None) > 1 or left < 0 or (left and None not in counts):
        raise UsageError(f"the wording {text[:80]!r} does not place {length} vectors of context")
    if len(rows) > 1:
        raise UsageError(f"the wording {text[:80]!r} takes its context from several rows")
    ids: list[int | None] = [*opening]
    for n, piece in enumerate(pieces):
        if piece:
            ids += tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]
        if n < len(counts):
            count = counts[n]
            ids += [None] * (left if count is None else count)
    over = max(0, len(ids) + len(closing) - positions)
    for _ in range(over):
        at = max((n for n in range(len(opening), len(ids)) if ids[n] is not None), default=-1)
        if at < 0:
            raise UsageError(f"{length} vectors of context leave no room: a text has {positions} positions")
        del ids[at]
    slots = [n for n, token in enumerate(ids) if token is None]
    filler = (*opening, 0)[0]  # never the end, which a text is read at
    found = [filler if token is None else token for token in (*ids, *closing)]
    return Worded(found, slots, rows.pop() if rows else -1, over)


def _pieces(text: str) -> tuple[list[str], list[int | None], set[int]]:
    """Return what stands between the marks, how many vectors each mark takes, and the rows that they name."""
    pieces, counts, rows, at = [], [], set(), 0
    for match in MARK.finditer(text):
        pieces.append(text[at : match.start()])
        counts.append(int(match[1]) if match[1] else None)
        if match[2]:
            rows.add(int(match[2]))
        at = match.end()
    return [*pieces, text[at:]], counts, rows


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens that open and close every text."""
    both = list(tokenizer("")["input_ids"])
    end = tokenizer.eos_token_id
    closes = bool(both) and both[-1] == end
    return (both[:-1], both[-1:]) if closes else (both, [])


def split_phrase(count: Callable[[str], int], phrase: str, tokens: int) -> tuple[str, str] | None:
    """Return the words of a phrase that make its first `tokens` tokens, and the words behind them.

    None where the phrase has fewer, or that many end inside a word. `count(text)`: tokens of a text.
    """
    words = phrase.split()
    for n in range(len(words) + 1):
        first = " ".join(words[:n])
        if (count(first) if first else 0) == tokens:
            return first, " ".join(words[n:])
    return None


def contexts(found: Sequence[Worded]) -> list[int] | None:
    """Return the row of the context that each text takes, None where one stands for all; UsageError for a mixture."""
    rows = [one.row for one in found]
    if len({row < 0 for row in rows}) > 1:
        raise UsageError("some texts name a row of the context and some do not")
    return None if not rows or rows[0] < 0 else rows
