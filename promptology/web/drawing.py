"""The cost curve of a session, laid out: words changed in each round, and their mean over the last rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from promptology.evidence import pictures
from promptology.evidence.pictures import Frame

WIDTH, LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 480.0, 50.0, 472.0, 10.0, 178.0, 226.0
"""Of the drawing, smaller than a report's: its letters can be read on a phone."""
WINDOW = 10
"""Rounds over which the running average goes."""
SINGLE = 150
"""Rounds up to which each has a mark of its own."""


class Curve(NamedTuple):
    """A drawing: axes, a mark for each round with what it says, the path of the running average, all of it in words."""

    frame: Frame
    marks: list[tuple[str, str]]
    path: str
    words: str


def averages(costs: Sequence[int]) -> list[float]:
    """Return the mean of each cost and those before it, `WINDOW` at most."""
    some = [costs[max(0, n - WINDOW + 1) : n + 1] for n in range(len(costs))]
    return [sum(window) / len(window) for window in some]


def curve(costs: Sequence[int]) -> Curve | None:
    """Lay out the costs of rounds in their order; None for fewer than two."""
    if len(costs) < 2:
        return None
    marked = pictures.ticks(0, max(*costs, 1), 5)
    # The axis ends at a mark above the highest cost.
    most = marked[-1] if marked[-1] >= max(costs) else marked[-1] + marked[1]
    step, height = (RIGHT - 8 - LEFT - 8) / (len(costs) - 1), BOTTOM - TOP - 6

    def at(n: int, value: float) -> tuple[float, float]:
        return LEFT + 8 + n * step, BOTTOM - height * value / most

    means = averages(costs)
    points = [at(n, mean) for n, mean in enumerate(means)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    marks = [
        (pictures.mark(0, *at(n, cost), 3.0), f"round {n + 1}: {words(cost)} changed") for n, cost in enumerate(costs)
    ]
    rounds = [int(t) for t in pictures.ticks(1, len(costs), 7) if t == round(t)]
    frame = Frame(
        [(at(n - 1, 0)[0], str(n)) for n in rounds],
        [(at(0, t)[1], f"{t:g}") for t in pictures.ticks(0, most, 6) if t == round(t)],
        "rounds",
        "words changed",
    )
    first = means[min(WINDOW, len(means)) - 1]
    text = f"{len(costs)} rounds. Words changed in the first {min(WINDOW, len(costs))}, on average: {first:.1f}; "
    text += f"in the last {min(WINDOW, len(costs))}: {means[-1]:.1f}; at most {max(costs)}."
    return Curve(frame, marks if len(costs) <= SINGLE else [], path, text)


def words(n: int) -> str:
    """Return a number of words."""
    return "1 word" if n == 1 else f"{n:,} words"
