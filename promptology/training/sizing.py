"""How many steps a training makes: what was asked for, or fewer, where passes or the clock do not cover that many."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from promptology.run.meter import Meter

T = TypeVar("T")
TICKS = 100
"""Rows that a training leaves in the store, about; at each the clock is looked at."""
LOOK = 0.05
"""Share of the time left that is spent before the clock sizes a training; four times as much to see an evaluation."""
SPARE = 0.05
"""Share of the time left that a training sized by the clock leaves, for slower steps and for what comes after it."""


@dataclass
class Sizing:
    """The number of steps, which only ever falls, and what steps and evaluations were seen to cost.

    A figure of the clock is not replayed: it is decided once and stands in a row of the run.
    """

    meter: Meter
    total: int
    every: int
    evaluated: bool
    by_clock: bool = field(init=False)
    sized: bool = False
    passes: int = 0
    _steps: int = 0
    _seconds: float = 0.0
    _evaluations: int = 0
    _evaluating: float = 0.0
    _first: bool = True
    _began: float = field(default_factory=time.monotonic)
    _room: float = field(init=False)

    def __post_init__(self) -> None:
        self.by_clock = "seconds" in self.meter.budget.limits
        self._room = self.meter.room("seconds")

    def until(self, k: int) -> int:
        """Return the step before which the tick that starts at step `k` ends; evaluations end ticks too."""
        # Before the clock has sized it nobody knows how long a hundredth is: ticks grow with what was done.
        length = max(1, k // 2) if self.by_clock and not self.sized else max(1, self.total // TICKS)
        end = min(k + length, self.total)
        return min(end, (k // self.every + 1) * self.every) if self.evaluated and self.every else end

    def evaluations(self, k: int, total: int) -> int:
        """Return how many evaluations come after step `k` of `total`."""
        if not self.evaluated or total <= k:
            return 0
        return -(-total // self.every) - k // self.every if self.every else 1

    def by_passes(self, k: int, per_step: int, per_evaluation: int) -> None:
        """Cut the total to what the passes left cover, from step `k` on."""
        self._cut(k, self.meter.room("passes"), per_step, per_evaluation)

    def _cut(self, k: int, room: float, per_step: float, per_evaluation: float) -> None:
        def cost(total: int) -> float:
            return (total - k) * per_step + self.evaluations(k, total) * per_evaluation

        if math.isfinite(room) and cost(self.total) > room:
            self.total = k + max(0, bisect_right(range(k, self.total + 1), room, key=cost) - 1)

    def took(self, seconds: float) -> None:
        """Note how long a step took; the first one of a process warms everything up and does not count."""
        if self._first:
            self._first = False
            return
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds

    def evaluation_took(self, seconds: float) -> None:
        """Note how long an evaluation took."""
        self._evaluations, self._evaluating = self._evaluations + 1, self._evaluating + seconds

    def at_tick(self, k: int, note: str | None) -> str:
        """Size by the clock at the end of a tick, if it is time; return the note of the tick's row.

        `note`: of the row that an earlier process left, None where there was none; what it says holds.
        """
        if not self.by_clock or self.sized:
            return note or ""
        if note is not None:
            if note:
                self.total, self.sized = int(note), True
            return note
        spent = time.monotonic() - self._began
        waits = self.evaluated and self.every and not self._evaluations and spent < 4 * LOOK * self._room
        if self._steps < 2 or spent < LOOK * self._room or waits:
            return ""
        per_evaluation = self._evaluating / self._evaluations if self._evaluations else 0.0
        self._cut(k, (1 - SPARE) * self.meter.room("seconds"), self._seconds / self._steps, per_evaluation)
        self.sized = True
        return str(self.total)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what work returns, and the seconds it took."""
    began = time.monotonic()
    return work(), time.monotonic() - began
