"""What something cost: calls, tokens, money, passes through a local model, seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

USD_DIGITS = 12
"""Money is kept in whole millionths of a millionth of a dollar, so that a sum is the same in any order."""


class Cost(NamedTuple):
    """A vector of costs. A pass is one item once through a local model; `estimated`: some tokens were not reported."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    passes: int = 0
    seconds: float = 0.0
    estimated: bool = False

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.tokens_in + self.tokens_out

    def plus(self, other: Cost) -> Cost:
        """Return the sum of two costs."""
        return Cost(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            round(self.usd + other.usd, USD_DIGITS),
            self.passes + other.passes,
            self.seconds + other.seconds,
            self.estimated or other.estimated,
        )

    def minus(self, other: Cost) -> Cost:
        """Return the difference, for the cost of a phase between two readings."""
        return Cost(
            self.calls - other.calls,
            self.tokens_in - other.tokens_in,
            self.tokens_out - other.tokens_out,
            round(self.usd - other.usd, USD_DIGITS),
            self.passes - other.passes,
            self.seconds - other.seconds,
            self.estimated,
        )

    def each(self, n: int) -> Cost:
        """Return the cost per item of n items, rounded up to whole calls, tokens and passes."""
        if n <= 0:
            return Cost()
        calls, tokens_in, tokens_out, passes = (
            -(-value // n) for value in (self.calls, self.tokens_in, self.tokens_out, self.passes)
        )
        return Cost(calls, tokens_in, tokens_out, self.usd / n, passes, self.seconds / n, self.estimated)

    def scaled(self, factor: float) -> Cost:
        """Return the cost times a factor, counts rounded up."""
        calls, tokens_in, tokens_out, passes = (
            math.ceil(value * factor) for value in (self.calls, self.tokens_in, self.tokens_out, self.passes)
        )
        return Cost(calls, tokens_in, tokens_out, self.usd * factor, passes, self.seconds * factor, self.estimated)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with every component."""
        return self._asdict()

    def pack(self) -> str:
        """Compact JSON for a row of the store; written by hand, for it stands on the path of every call."""
        calls, tokens_in, tokens_out, usd, passes, seconds, estimated = self
        return f"[{calls},{tokens_in},{tokens_out},{usd!r},{passes},{seconds!r},{int(estimated)}]"

    @classmethod
    def unpack(cls, text: str) -> Cost:
        """Read back what `pack` wrote."""
        calls, tokens_in, tokens_out, usd, passes, seconds, estimated = json.loads(text)
        return cls(calls, tokens_in, tokens_out, usd, passes, seconds, bool(estimated))

    @classmethod
    def from_json(cls, doc: Mapping[str, Any]) -> Cost:
        """Read back what `to_json` wrote."""
        return cls(**doc)


ZERO = Cost()


class Price(NamedTuple):
    """US dollars per million tokens, in and out."""

    tokens_in: float
    tokens_out: float

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """Return the price of these tokens in US dollars."""
        return round((tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6, USD_DIGITS)
