"""B5: what a search costs beside its model, by length: our durable run against gepa's `optimize` with its run folder.

The model is instant on both sides and says the same: whether variant v is right on item i is one bit of a checksum of
both names. 50 items to learn from and 50 to select on.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.common import Bar, Run, Session, column, run_side
from benchmarks.items import CLASSES, answer_of, questions
from benchmarks.ratios import bootstrap, median, ratio

TITLE = "overhead of a durable search, instant model"
PEERS = ("gepa",)
LENGTHS = (2000, 6000, 12000)
FLAT = 1.2  # cost of a late call over that of an early one, at most
BAR = 1 / 3


def spec_of(session: Session, calls: int, failing: float = 0.0) -> dict[str, Any]:
    """Return what a driver needs to search for this many calls."""
    rows = [q._replace(label=answer_of(q.code))._asdict() for q in questions(150, seed=5)]
    splits = {"train": rows[:50], "validation": rows[50:100], "test": rows[100:]}
    return {**splits, "classes": list(CLASSES), "calls": calls, "method": session.method, "failing": failing}


MOST = 1 / 3  # milliseconds of ours per call


def run(session: Session) -> None:
    """Measure."""
    lengths = LENGTHS[:2] if session.quick else LENGTHS
    short = {side: run_side(side, "search", spec_of(session, 500)) for side in ("gepa", "ours")}
    session.equal("score of the start on 50 items", {side: [one["start"]] for side, one in short.items()})
    found: dict[int, dict[str, list[Run]]] = {}
    for calls in lengths:
        once = partial(run_side, do="search", spec=spec_of(session, calls))
        found[calls] = session.interleave(f"{calls} calls", ("gepa", "ours"), once)
        bar = Bar("≤", BAR) if calls == LENGTHS[-1] else None
        for clock, name in (("wall", ""), ("cpu", "CPU ")):
            each = {side: [1000 * one[clock] / one["calls"] for one in runs] for side, runs in found[calls].items()}
            for side, values in each.items():
                most = Bar("≤", MOST) if bar and side == "ours" else None
                session.figure(f"{name}ms per call at {calls}, {side}", median(values), "ms", most)
            session.figure(f"{name}ms per call at {calls}, ours ÷ gepa", ratio(each["ours"], each["gepa"]), "×", bar)
    if len(lengths) == 3:
        for side in ("gepa", "ours"):
            growth(session, side, found)
    session.notes.append(f"our method: {session.method}; the whole of fit is measured, its evidence included")


def growth(session: Session, side: str, found: dict[int, dict[str, list[Run]]]) -> None:
    """Record what the calls of the second half cost over those from 2k to 6k: 1 where history does not matter.

    In processor time, as for any work that waits for nobody; the same in wall time stands beside it.
    """
    short, middle, long = (found[calls][side] for calls in LENGTHS)
    counts = [runs[0]["calls"] for runs in (short, middle, long)]

    def late_over_early(a: float, b: float, c: float) -> float:
        early = (b - a) / (counts[1] - counts[0])
        return (c - b) / (counts[2] - counts[1]) / early if early > 0 else float("inf")

    for clock, name in (("cpu", "CPU"), ("wall", "wall")):
        what = f"{name} of a call from 6k to 12k over one from 2k to 6k, {side}"
        bar = Bar("≤", FLAT) if side == "ours" and clock == "cpu" else None
        session.figure(
            what, bootstrap(late_over_early, *(column(runs, clock) for runs in (short, middle, long))), "×", bar
        )
