"""A progress line with rate and remaining budget; silent where nobody watches."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from promptology.run.meter import Meter

EVERY = 0.1
"""Seconds between two drawings."""
WIDTH = 110
"""Characters of the line at most."""


class Bar:
    """One line on a terminal: phase, steps, calls or passes so far, rate, what is left of the budget."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.label = "learning"
        self._step = ""
        self._drawn = 0.0
        self._count = 0
        self._began = time.monotonic()
        self._shown = False

    def step(self, label: str, done: int, total: int | None) -> None:
        """Note a step of the method's loop."""
        self._step = f"{label} {done}/{total}" if total else f"{label} {done}"

    def advance(self, meter: Meter, role: str, n: int) -> None:
        """Count n answers in a role and draw, at most ten times a second."""
        self._count += n
        now = time.monotonic()
        if not self.live or now - self._drawn < EVERY:
            return
        self._drawn = now
        rate = self._count / max(now - self._began, 1e-9)
        unit = "calls" if meter.charged.calls else "passes"
        left = [
            f"{_figure(meter.room(resource))} {resource} left"
            for resource in meter.budget.limits
            if math.isfinite(meter.room(resource))
        ]
        done = f"{getattr(meter.charged, unit):,} {unit}"
        parts = [meter.phase, self._step, done, f"{rate:,.0f}/s", *left]
        self.show("  ".join(p for p in parts if p))

    def tally(self, done: int, total: int, going: int) -> None:
        """Draw how many of several runs have ended."""
        filled = round(24 * done / max(total, 1))
        self.show(f"[{'#' * filled}{'.' * (24 - filled)}] {done} of {total} runs, {going} going")

    def show(self, text: str) -> None:
        """Draw a line of another's making."""
        if not self.live:
            return
        self.stream.write("\r\x1b[2K" + text[:WIDTH])
        self.stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self.stream.write("\r\x1b[2K")
            self.stream.flush()
            self._shown = False


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.2f}"
