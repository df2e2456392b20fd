"""Which prompts begin alike, and is it worth running that beginning apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from promptology.models.local.batching import ROWS, plan

OVERHEAD = 32
"""Tokens that must be saved before a beginning is run apart: what one more forward pass costs."""
DEPTH = 64
"""Nested beginnings that are looked at; a longer chain is split where it stands."""


class Group(NamedTuple):
    """Prompts, by index, whose first `length` tokens are the same."""

    members: tuple[int, ...]
    length: int


def shared_beginnings(rows: Sequence[Sequence[int]]) -> list[Group]:
    """Return the groups that save most tokens when each group's beginning is run once; others stand in no group.

    A row keeps at least one token of its own. The rows are sorted, so that what begins alike stands together, and the
    nested beginnings are a tree; from its leaves up, a beginning is shared where that saves more than its parts do.
    """
    order = sorted(range(len(rows)), key=lambda n: tuple(rows[n]))
    common = [_common(rows[a], rows[b]) for a, b in pairwise(order)]
    groups, _ = _best(rows, order, common, 0)
    return groups


def _best(
    rows: Sequence[Sequence[int]], order: Sequence[int], common: Sequence[int], depth: int
) -> tuple[list[Group], int]:
    """Return the best groups of sorted rows and the tokens they save; `common[i]`: tokens that rows i, i + 1 share."""
    if len(order) < 2:
        return [], 0
    least = min(common)
    length = min(least, min(len(rows[n]) for n in order) - 1)
    whole = (len(order) - 1) * length - OVERHEAD
    groups: list[Group] = []
    saved = 0
    if depth < DEPTH:
        start = 0
        for at in [*(i + 1 for i, n in enumerate(common) if n == least), len(order)]:
            inner, more = _best(rows, order[start:at], common[start : at - 1], depth + 1)
            groups, saved, start = groups + inner, saved + more, at
    if length > 0 and whole > 0 and whole >= saved:
        return [Group(tuple(order), length)], whole
    return groups, saved


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    most = min(len(a), len(b))
    low = 0
    # Whole pieces are compared at the speed of C; the first that differs is looked at token by token.
    while low < most and a[low : low + 64] == b[low : low + 64]:
        low += 64
    while low < most and a[low] == b[low]:
        low += 1
    return min(low, most)


def in_groups(members: Iterable[int], lengths: Sequence[int], tokens: int, owner: Mapping[int, int]) -> list[list[int]]:
    """Return batches as `plan` does, with members of one group side by side, and those in no group apart."""
    members = list(members)
    grouped = sorted((n for n in members if n in owner), key=lambda n: (owner[n], -lengths[n]))
    batches: list[list[int]] = []
    longest = 0
    for n in grouped:
        longest = max(longest, lengths[n])
        # A beginning that a whole batch has is shown to all rows as it is; several are copied row by row.
        most = tokens // 2 if batches and owner[n] != owner[batches[-1][-1]] else tokens
        if batches and len(batches[-1]) < ROWS and longest * (len(batches[-1]) + 1) <= most:
            batches[-1].append(n)
        else:
            batches.append([n])
            longest = lengths[n]
    return [*plan((n for n in members if n not in owner), lengths, tokens), *batches]
