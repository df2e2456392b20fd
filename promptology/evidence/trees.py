"""The tree of a lineage, laid out: every prompt in the column of its depth, a row for every leaf.

A parent stands at the height of the middle of its first and last child, as in Reingold and Tilford's tidy trees (1981);
with a row for each leaf no two subtrees share a row, so nothing has to be shifted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from promptology.evidence.lineages import Step, Story
from promptology.evidence.pictures import WIDTH, mark
from promptology.evidence.wording import fitting

LEFT, TOP, ROW, COLUMN = 26.0, 22.0, 26.0, 92.0
BESIDE = 270.0
"""Room to the right of the last column, for what is written there."""
CLEAR = 36.0
"""Distance to the mark above it from which on a text has room between the two."""
LETTER = 6.9
"""Width of a letter beside a mark, on average and rounded up."""
LIGHT, DARK = 12, 88
"""Shade of the lowest and the highest score, in per cent."""


class Place(NamedTuple):
    """Where a node stands: column by depth, row by the leaves above it."""

    depth: int
    row: float


class Room(NamedTuple):
    """Where a mark stands, and the room about it.

    `column`: the distance of the columns; `leaf`: nothing follows it; `tight`: another mark stands close above it.
    """

    x: float
    y: float
    column: float
    leaf: bool
    tight: bool


class Spot(NamedTuple):
    """A prompt in the drawing. `shade`: its score between the lowest and the highest, in per cent, None without one.

    `label`, `figure` and `gist`, what it changed, stand beside a leaf (`beside`), the first two above any other, where
    there is room; `words` say all of it.
    """

    number: int
    kind: str
    x: float
    y: float
    size: float
    mark: str
    shade: int | None
    label: str
    figure: str
    gist: str
    beside: bool
    text_x: float
    text_y: float
    words: str


class Twig(NamedTuple):
    """From a parent to a child. `main`: on the line to what was returned; `gap`: prompts between them are left out."""

    path: str
    main: bool
    gap: bool


class Tree(NamedTuple):
    """A lineage as a drawing; `low` and `high`: lowest and highest score, None where there are no scores."""

    spots: list[Spot]
    twigs: list[Twig]
    height: float
    low: float | None
    high: float | None
    words: str


def tidy(parents: Mapping[int, int | None]) -> dict[int, Place]:
    """Return the places of a tree's nodes, given the parent of each; children have higher numbers than their parent.

    Siblings stand in the order of their numbers. A node whose parent is not there is a root.
    """
    numbers = sorted(parents)
    children: dict[int | None, list[int]] = {}
    depth: dict[int, int] = {}
    for n in numbers:
        parent = parents[n] if parents[n] in depth else None
        depth[n] = 0 if parent is None else depth[parent] + 1
        children.setdefault(parent, []).append(n)
    rows: dict[int, float] = {}
    stack = children.get(None, [])[::-1]
    while stack:
        n = stack.pop()
        stack += children.get(n, [])[::-1]
        if n not in children:
            rows[n] = float(len(rows))
    for n in reversed(numbers):
        if n in children:
            rows[n] = (rows[children[n][0]] + rows[children[n][-1]]) / 2
    return {n: Place(depth[n], rows[n]) for n in numbers}


def tree(story: Story | None) -> Tree | None:
    """Lay out the prompts of a story; None where there is none."""
    if story is None:
        return None
    steps = {s.number: s for s in sorted([*story.line, *story.others], key=lambda s: s.number)}
    places = tidy({n: s.parent for n, s in steps.items()})
    column = min(COLUMN, (WIDTH - LEFT - BESIDE) / max(1, *(p.depth for p in places.values())))
    at = {n: (LEFT + column * p.depth, TOP + ROW * p.row) for n, p in places.items()}
    scores = [s.score for s in steps.values() if s.score is not None]
    low, high = (min(scores), max(scores)) if scores else (None, None)
    inner = {s.parent for s in steps.values()}
    line = {s.number for s in story.line}
    found = story.line[-1].number if story.line else None
    spots: list[Spot] = []
    above: dict[int, float] = {}
    for n in sorted(steps, key=lambda n: places[n].row):
        (x, y), depth = at[n], places[n].depth
        room = Room(x, y, column, n not in inner, y - above.get(depth, -ROW) < CLEAR)
        spots.append(_spot(steps[n], room, n == found, _share(steps[n].score, low, high)))
        above[depth] = y
    sizes = {s.number: s.size for s in spots}
    twigs = [
        Twig(_bend(at[s.parent], at[n], sizes[s.parent], sizes[n]), n in line and s.parent in line, s.gap > 0)
        for n, s in steps.items()
        if s.parent in at
    ]
    height = 2 * TOP + ROW * max(p.row for p in places.values())
    words = _words(story, max(p.depth for p in places.values()))
    return Tree(spots, sorted(twigs, key=lambda t: t.main), height, low, high, words)


def _spot(step: Step, room: Room, found: bool, share: float | None) -> Spot:
    """Return a prompt's mark with what is written beside it; `share`: its score between the lowest and the highest."""
    x, y, column, leaf, tight = room
    size = min(5.0 if share is None else 4.5 + 3.5 * share, max(3.0, 0.36 * column))
    shade = None if share is None else round(LIGHT + (DARK - LIGHT) * share)
    label, figure, gist = str(step.number), "" if step.score is None else f"{step.score:.2f}", ""
    place = (x + size + 7, y + 4) if leaf else (x + size + 3, y - 5) if tight else (x, y - size - 4)
    if leaf:
        used = LETTER * (len(label) + len(figure) + 4)
        gist = fitting(step.gist, int((WIDTH - place[0] - used) / LETTER))
    else:
        label, figure = _above(label, figure, column)
    shape = mark(3 if found else 0, x, y, size + 1.5 * found)
    kind, words = "found" if found else step.kind, told(step, found)
    return Spot(step.number, kind, x, y, size, shape, shade, label, figure, gist, leaf or tight, *place, words)


def _share(score: float | None, low: float | None, high: float | None) -> float | None:
    if score is None or low is None or high is None:
        return None
    return (score - low) / (high - low) if high > low else 0.5


def _above(label: str, figure: str, column: float) -> tuple[str, str]:
    """Return as much of number and score as has room above a mark in the midst of the tree."""
    if LETTER * (len(label) + len(figure) + 2) <= column:
        return label, figure
    return (label, "") if LETTER * (len(label) + 1) <= column else ("", "")


def named(number: int | None) -> str:
    """Return what a prompt is called."""
    return "the start" if number == 0 else f"candidate {number}"


def told(step: Step, found: bool) -> str:
    """Return what is said about a prompt in one line."""
    parts = [named(step.number)]
    parts += [f"score {step.score:.3f} on {step.items} items"] if step.score is not None else []
    parts += ["what was returned"] if found else ["the best so far at its time"] if step.kind == "kept" else []
    parts += [f"from {named(step.parent)}"] if step.parent is not None else []
    return ", ".join(parts)


def _words(story: Story, depth: int) -> str:
    """Return the drawing in words."""
    shown = len(story.line) + len(story.others)
    said = f"{shown:,} prompts of {story.tried:,}, at most {depth} changes from the start"
    if len(story.line) > 1:
        *way, found = [named(s.number) for s in story.line]
        said += f"; the line to what was returned: {', '.join(way)}, {found}"
    return said


def _bend(start: tuple[float, float], end: tuple[float, float], *sizes: float) -> str:
    """Return a curve that leaves and arrives level, from the edge of one mark to that of another."""
    (x0, y0), (x1, y1) = start, end
    x0, x1 = x0 + sizes[0], x1 - sizes[1]
    middle = (x0 + x1) / 2
    return f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
