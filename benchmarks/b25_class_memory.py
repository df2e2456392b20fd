"""B25: peak memory of a step of CoOp against the number of classes, in the authors' formulation and in ours."""

from __future__ import annotations

from typing import Any

from benchmarks.common import Session, run_side
from benchmarks.towers import EQUAL, SMALL, shape

TITLE = "memory of a step of CoOp against the number of classes"
PEERS = ()
COUNTS = (10, 30, 100, 300, 1000)
LIMIT = 32e6
"""Bytes that the states of texts may take where classes are run in batches; what is set by default is for GPUs."""
WAYS: dict[str, tuple[str, float]] = {
    "authors' formulation": ("bare", 0.0),
    "ours, all at once": ("ours", 1e15),
    f"ours, batches of {LIMIT / 1e6:.0f} MB": ("ours", LIMIT),
}
"""Side and, of ours, bytes for the states of texts."""


def run(session: Session) -> None:
    """Measure, once a way: memory hardly differs between runs."""
    session.repeats = 1
    counts = COUNTS[:3] if session.quick else COUNTS
    found = {way: _measured(*of, counts) for way, of in WAYS.items()}
    for n in counts:
        losses = {way: one["losses"][str(n)] for way, one in found.items()}
        session.near(f"losses, {n} classes", losses, EQUAL)
        for way in WAYS:
            session.figure(f"extra peak memory, {n} classes, {way}", found[way]["mb"][str(n)], "MB")
    series = {way: [(n, max(found[way]["mb"][str(n)], 0.1)) for n in counts] for way in WAYS}
    session.plot("Peak memory of a CoOp step above what stood before it", "classes", "MB", series)
    session.notes.append(
        f"{shape(_case(counts[-1], 0.0))}, and with fewer classes; cached views; peak of resident memory as in B10, "
        "median of two steps in one process. Bare is the authors' formulation: texts padded to all positions. Batches: "
        "classes are run in batches whose states take so much, and each is run again for its gradient"
    )


def _case(classes: int, memory: float) -> dict[str, Any]:
    case = {"shape": SMALL, "kind": "coop", "classes": classes, "batch": 32, "length": 4, "views": "cached"}
    return {**case, "memory": memory} if memory else case


def _measured(side: str, memory: float, counts: tuple[int, ...]) -> dict[str, Any]:
    """Return losses and peak memory in MB by the number of classes."""
    cases = {str(n): _case(n, memory) for n in counts}
    return run_side(side, "towers.losses", {"cases": cases, "steps": 4})
