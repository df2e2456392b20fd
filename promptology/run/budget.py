"""Budgets: any mix of limits over everything a run does, learning and evidence alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from promptology.errors import UsageError
from promptology.run.cost import Cost

UNITS = {
    "call": ("calls", 1.0),
    "calls": ("calls", 1.0),
    "usd": ("usd", 1.0),
    "cent": ("usd", 0.01),
    "cents": ("usd", 0.01),
    "tok": ("tokens", 1.0),
    "token": ("tokens", 1.0),
    "tokens": ("tokens", 1.0),
    "pass": ("passes", 1.0),
    "passes": ("passes", 1.0),
    "s": ("seconds", 1.0),
    "m": ("seconds", 60.0),
    "min": ("seconds", 60.0),
    "h": ("seconds", 3600.0),
}
SCALES = {"": 1.0, "k": 1e3, "m": 1e6}
EXAMPLE = "300calls,2usd,500ktok,20000passes,10m"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-z]+)")


@dataclass(frozen=True)
class Budget:
    """Limits by resource: calls, usd, tokens, passes, seconds. An empty budget has no limit."""

    limits: Mapping[str, float]
    evidence_share: float = 0.4

    @classmethod
    def parse(cls, text: str | int | Budget | None, evidence_share: float = 0.4) -> Budget:
        """Read "300calls,2usd,500ktok,20000passes,10m" (any mix); a bare number counts calls.

        Raises UsageError naming the part that is not understood.
        """
        if isinstance(text, Budget):
            return text
        if not 0.0 <= evidence_share < 1.0:
            raise UsageError(f"evidence share {evidence_share} is outside 0 to 1")
        limits: dict[str, float] = {}
        for part in [] if text is None else str(text).split(","):
            resource, value = _limit(part.strip().lower())
            if resource in limits:
                raise UsageError(f"budget {text!r} limits {resource} twice")
            limits[resource] = value
        return cls(limits, evidence_share)

    def covers(self, cost: Cost, held_back: Mapping[str, float] | None = None) -> bool:
        """Whether this total cost stays inside every limit but the clock, less what is held back."""
        held_back = held_back or {}
        for resource, limit in self.limits.items():
            if resource == "seconds":
                continue
            # A cent-sized tolerance would be a hole; 1e-9 only absorbs rounding of sums of prices.
            if getattr(cost, resource) > limit - held_back.get(resource, 0.0) + 1e-9:
                return False
        return True

    def room(self, resource: str, cost: Cost) -> float:
        """Return what is left of a resource; infinite where it has no limit."""
        return self.limits.get(resource, float("inf")) - float(getattr(cost, resource))

    def __str__(self) -> str:
        if not self.limits:
            return "no limit"
        return ",".join(_amount(resource, value) for resource, value in self.limits.items())


def _limit(part: str) -> tuple[str, float]:
    if re.fullmatch(r"[0-9]+", part):
        return "calls", float(part)
    match = _PART.fullmatch(part)
    if match:
        number, unit = float(match[1]), match[2]
        for prefix in ("", "k", "m"):
            resource = UNITS.get(unit[len(prefix) :]) if unit.startswith(prefix) else None
            # "m" alone is minutes, and k or m scales counts only: "5ms" is not five million seconds.
            if resource and (not prefix or resource[0] in ("tokens", "calls", "passes")):
                value = number * SCALES[prefix] * resource[1]
                if resource[0] in ("calls", "passes", "tokens") and value != int(value):
                    raise UsageError(f"budget {part!r}: {resource[0]} are counted whole")
                return resource[0], value
    raise UsageError(f"budget {part!r} is not understood; write limits such as {EXAMPLE}")


def _amount(resource: str, value: float) -> str:
    if resource == "seconds":
        return f"{value / 60:g}m" if value >= 60 else f"{value:g}s"
    if resource == "usd":
        return f"{value:g}usd"
    return f"{int(value)}{'tok' if resource == 'tokens' else resource}"
