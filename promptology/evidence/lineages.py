"""A lineage in words: the line from the start to what was found, the other candidates, and what each changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from promptology.evidence.wording import cut

LONGEST = 20_000
"""Characters of a prompt up to which differences are looked for."""
ROOM, SHORTEST = 3000, 400
"""Characters of a text in a lineage, shared by the arms of a report, and how many there are at least."""


class Piece(NamedTuple):
    """A run of words in a diff: same, added or removed."""

    kind: str
    text: str


class Step(NamedTuple):
    """A prompt that was tried: `kind` is start, found, kept (the best so far at its time) or tried.

    `pieces`: the difference to its parent, None where the two have little in common; `why`: what its proposer was told;
    `gap`: prompts between the two that are not kept.
    """

    number: int
    parent: int | None
    kind: str
    score: float | None
    items: int
    kept: Mapping[str, Any] | None
    text: str
    pieces: list[Piece] | None
    why: str = ""
    gap: int = 0

    @property
    def gist(self) -> str:
        """The longest run of words that it adds to its parent, or else takes away; a prompt made anew as a whole."""
        for kind, sign in (("added", "+ "), ("removed", "− ")):
            if found := longest(self.pieces or (), kind):
                return sign + found
        return self.text if self.pieces is None else ""


class Story(NamedTuple):
    """The line from the start to what was found, and the other prompts by falling score, as far as they were kept."""

    line: list[Step]
    others: list[Step]
    tried: int


def diff(before: str, after: str) -> list[Piece]:
    """Return a word-level difference."""
    a, b = (re.findall(r"\s+|[^\s]+", t) for t in (before, after))
    pieces: list[Piece] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag in ("delete", "replace"):
            pieces.append(Piece("removed", "".join(a[i1:i2])))
        if tag in ("insert", "replace"):
            pieces.append(Piece("added", "".join(b[j1:j2])))
        if tag == "equal":
            pieces.append(Piece("same", "".join(a[i1:i2])))
    return pieces


def diff_of(before: str, after: str) -> list[Piece] | None:
    """Return the difference where it is worth showing: prompts of readable length that share words."""
    if max(len(before), len(after)) > LONGEST:
        return None
    pieces = diff(before, after)
    shared = sum(len(p.text) for p in pieces if p.kind == "same" and not p.text.isspace())
    return pieces if 4 * shared >= len(before) else None


def longest(pieces: Sequence[Piece], kind: str) -> str:
    """Return the longest run of words that a difference added, or removed; spaces between two such words join them."""
    runs = [""]
    for piece in pieces:
        if piece.kind == kind or (piece.kind == "same" and piece.text.isspace()):
            runs[-1] += piece.text
        elif piece.kind == "same":
            runs.append("")
    return max((run.strip() for run in runs), key=len)


def stories(lineages: Sequence[Mapping[str, Any] | None]) -> list[Story | None]:
    """Return the lineages of a report's arms; where there are several, texts are cut so that the page stays small."""
    there = sum(len((lineage or {}).get("nodes") or []) > 1 for lineage in lineages)
    return [story(lineage, max(SHORTEST, ROOM // there) if there > 1 else LONGEST) for lineage in lineages]


def story(lineage: Mapping[str, Any] | None, room: int = LONGEST) -> Story | None:
    """Return a document's lineage as steps; None where nothing but the start was tried.

    Longer than `room` are only the prompts on the line to what was found.
    """
    nodes = {n["number"]: n for n in (lineage or {}).get("nodes") or []}
    if not lineage or len(nodes) < 2:
        return None
    line: list[int] = []
    at = lineage.get("found")
    while at is not None and at in nodes and at not in line:
        line.insert(0, at)
        at = nodes[at]["parent"]
    found = lineage.get("found")
    steps = {n: _step(node, nodes, found, room, LONGEST if n in line else room) for n, node in nodes.items()}
    others = sorted(
        (s for n, s in steps.items() if n not in line),
        key=lambda s: (-(s.score if s.score is not None else -1.0), s.number),
    )
    return Story([steps[n] for n in line], others, int(lineage.get("count", len(nodes))))


def _step(
    node: Mapping[str, Any], nodes: Mapping[int, Mapping[str, Any]], found: int | None, room: int, longest: int
) -> Step:
    number, parent, text = node["number"], node["parent"], node["text"]
    kind = "kept" if node["kept"] is not None else "tried"
    kind = "start" if number == 0 else "found" if number == found else kind
    pieces = diff_of(nodes[parent]["text"], text) if parent in nodes and len(text) <= longest else None
    why, gap = cut(node.get("why", ""), room), node.get("gap", 0)
    return Step(number, parent, kind, node["score"], node["items"], node["kept"], cut(text, longest), pieces, why, gap)
