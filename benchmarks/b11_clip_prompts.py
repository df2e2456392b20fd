"""B11: a training step of CoOp and of MaPLe, against the authors' formulation on the same CLIP."""

from __future__ import annotations

from benchmarks.common import Bar, Session
from benchmarks.towers import LARGE, SMALL, Case, compare

TITLE = "steps of CoOp and MaPLe, against the authors' formulation"
PEERS = ()
SIDES = ("bare", "ours")


def run(session: Session) -> None:
    """Measure."""
    cases: dict[str, Case] = {}
    bars: dict[str, tuple[Bar | None, Bar | None]] = {}
    for classes in (10, 100) if session.quick else (10, 100, 1000):
        for views in ("cached", "fresh"):
            name = f"CoOp, {classes} classes, {views} views"
            base = {"shape": SMALL, "kind": "coop", "classes": classes, "batch": 32, "length": 4}
            cases[name] = {**base, "views": views, "steps": 1 if classes == 1000 else 3}
            bars[name] = (Bar("≥", 10.0) if views == "cached" else None, None)
    cases["MaPLe"] = {"shape": SMALL, "kind": "maple", "classes": 100, "batch": 4, "length": 2, "depth": 3, "steps": 3}
    bars["MaPLe"] = (Bar("≥", 3.0), None)
    for length in () if session.quick else (4, 16):
        name = f"text of ViT-B/16, M = {length}"
        base = {"shape": LARGE, "kind": "coop", "classes": 100, "batch": 4, "length": length}
        cases[name] = {**base, "views": "cached", "steps": 1}
        bars[name] = (Bar("≥", 10.0), None)
    compare(session, cases, bars)
