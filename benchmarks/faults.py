"""What the rough server does to a request: decided by its content and its attempt alone, so both sides meet the same.

Also what a perfect client would need for a set of items: the attempts and the seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

MOST = 50  # attempts after which an item counts as hopeless; no sensible setting comes near


@dataclass(frozen=True)
class Weather:
    """How a server behaves: seconds until an answer, and shares of requests that fail.

    `tail`: 0 for a fixed latency, else the exponent of a Pareto tail that begins at `latency`, cut at 20 times it.
    """

    latency: float = 0.05
    tail: float = 0.0
    limited: float = 0.0
    broken: float = 0.0
    hung: float = 0.0
    retry_after: float = 1.0
    seed: int = 0

    @property
    def failing(self) -> float:
        """Share of requests that get no answer."""
        return self.limited + self.broken + self.hung

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


class Fate(NamedTuple):
    """What becomes of one request: `kind` is answered, limited (429), broken (500) or hung."""

    kind: str
    latency: float


class Needed(NamedTuple):
    """What a set of items needs from a perfect client."""

    attempts: int
    seconds: float


def fate(weather: Weather, code: str, attempt: int) -> Fate:
    """Return what becomes of the n-th request for an item (the first attempt is 1)."""
    draw = hashlib.blake2b(f"{weather.seed}:{code}:{attempt}".encode(), digest_size=16).digest()
    u, v = (int.from_bytes(half, "big") / 2**64 for half in (draw[:8], draw[8:]))
    latency = weather.latency
    if weather.tail:
        latency *= min(20.0, max(1e-9, 1.0 - v) ** (-1.0 / weather.tail))
    for kind, share in (("limited", weather.limited), ("broken", weather.broken), ("hung", weather.hung)):
        if u < share:
            return Fate(kind, latency)
        u -= share
    return Fate("answered", latency)


def needed(weather: Weather, codes: Sequence[str], level: int, timeout: float) -> Needed:
    """Return the attempts, and the seconds at this many in flight, of a client that never waits longer than it must.

    A failed attempt takes its latency, a hung one the client's time-out, a 429 its Retry-After before the next one.
    No client can be faster than the work divided by the level, nor than the longest item.
    """
    attempts, work, longest = 0, 0.0, 0.0
    for code in codes:
        busy = waiting = 0.0
        for attempt in range(1, MOST + 1):
            kind, latency = fate(weather, code, attempt)
            attempts += 1
            busy += timeout if kind == "hung" else min(latency, timeout)
            if kind == "answered" and latency < timeout:
                break
            waiting += weather.retry_after if kind == "limited" else 0.0
        work += busy
        longest = max(longest, busy + waiting)
    return Needed(attempts, max(work / level, longest))
