"""Schedules of the learning rate, as factors of the rate that a group asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from promptology.errors import UsageError

SCHEDULES = ("linear", "constant", "cosine", "exponential", "one-cycle")
LAST = 0.01
"""What the exponential schedule falls to by the last step (PTEC, arXiv:2309.12075: gamma = 0.01^(1/(updates - 1)))."""
RISE, FIRST, FINAL = 0.3, 1 / 25, 1 / 25 / 1e4
"""One-cycle (Smith and Topin, arXiv:1708.07120): share of the steps that rise, and the factors at both ends."""


Schedule = str | Callable[[int, int], float]
"""A name of SCHEDULES, or a function of the step (from 0) and their number; its repr tells it from others."""


@dataclass(frozen=True)
class CosineEpochs:
    """Steps of one epoch at one rate: the first at a factor of its own, the next down a cosine that never ends at 0.

    The schedule of CLIP's prompts (code of arXiv:2109.01134): epoch e has 0.5 (1 + cos(pi (e - 1) / epochs)), e >= 1.
    """

    epoch: int
    epochs: float
    first: float

    def __call__(self, k: int, total: int) -> float:
        """Return the factor of step `k`."""
        e = k // self.epoch
        return self.first if e == 0 else 0.5 * (1 + math.cos(math.pi * (e - 1) / self.epochs))


def check_schedule(schedule: Schedule, warmup: float) -> None:
    """Raise UsageError for an unknown schedule, or a warm-up that cannot be."""
    if callable(schedule):
        if warmup:
            raise UsageError("a schedule of its own warms up by itself; leave warmup at 0")
        return
    if schedule not in SCHEDULES:
        raise UsageError(f"unknown schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
    if warmup < 0:
        raise UsageError(f"warmup {warmup} is below 0")
    if warmup and schedule == "one-cycle":
        raise UsageError(f"schedule one-cycle warms up over its first {RISE:.0%} of steps; leave warmup at 0")


def factor(schedule: Schedule, k: int, total: int, warmup: int = 0) -> float:
    """Return the factor of step `k` (from 0) of `total`: (k + 1) / warmup while warming up, then from 1 downwards.

    No step has the rate 0: a linear or cosine schedule would reach it one step after the last.
    """
    if callable(schedule):
        return schedule(k, total)
    if schedule == "one-cycle":
        return _one_cycle(k, total)
    if k < warmup:
        return (k + 1) / warmup
    left, at = max(1, total - warmup), k - warmup
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return max(0.0, 1.0 - at / left)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, at / left)))
    return float(LAST ** (at / max(1, left - 1)))


def _one_cycle(k: int, total: int) -> float:
    """Rise from FIRST to 1 over RISE of the steps, then fall to FINAL at the last one, both along a cosine."""
    peak, last = RISE * total - 1.0, total - 1.0
    if k <= peak:
        return _between(FIRST, 1.0, k / peak if peak > 0 else 1.0)
    return _between(1.0, FINAL, (k - peak) / (last - peak) if last > peak else 1.0)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * min(1.0, share)))
