"""B12: a training step of CoCoOp, whose texts are read anew for every image, against the authors' loop over images."""

from __future__ import annotations

from benchmarks.common import Bar, Session
from benchmarks.towers import SMALL, Case, compare

TITLE = "a step of CoCoOp, against the authors' loop over images"
PEERS = ()
SIDES = ("bare", "ours")


def run(session: Session) -> None:
    """Measure."""
    base: Case = {"shape": SMALL, "kind": "cocoop", "classes": 50, "batch": 8, "length": 4, "steps": 1}
    cases: dict[str, Case] = {"cached views": {**base, "views": "cached"}, "fresh views": {**base, "views": "fresh"}}
    compare(session, cases, dict.fromkeys(cases, (Bar("≥", 5.0), Bar("≤", 0.3))))
