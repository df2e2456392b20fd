"""B10: a training step of prompt tuning on a Llama, with a small and a large vocabulary, against peft."""

from __future__ import annotations

from typing import Any

from benchmarks.common import Bar, Session
from benchmarks.soft import Case, compare, llama

TITLE = "prompt tuning step, Llama 6 x 256, against peft"
PEERS = ("peft",)
MEMORY = 0.55


def run(session: Session) -> None:
    """Measure."""
    cases: dict[str, Case] = {
        "V = 8,000": {"shape": llama(8000), "kind": "prompt", "steps": 4},
        "V = 128,000": {"shape": llama(128_000), "kind": "prompt", "steps": 1},
    }
    if session.quick:
        cases.pop("V = 128,000")
    bars: dict[str, Any] = {"V = 8,000": (Bar("≤", 0.8), Bar("≤", MEMORY))}
    bars["V = 128,000"] = (Bar("≤", 0.5), Bar("≤", MEMORY))
    compare(session, cases, bars)
