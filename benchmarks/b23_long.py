"""B23: a search of 10,000 candidates on 50 items each, over an instant model: overhead a score, and memory."""

from __future__ import annotations

from typing import Any

from benchmarks.b05_overhead import spec_of
from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import median, ratio

TITLE = "10,000 candidates on 50 items, instant model"
PEERS = ()
LENGTHS = (1000, 10_000)
MOST = 0.3  # milliseconds of wall time a score
MORE = 100.0  # MB that 10,000 candidates may take beyond what 1,000 take
METHODS = ("random-search", "evoprompt")


def run(session: Session) -> None:
    """Measure."""
    session.repeats = min(session.repeats, 2)  # a run of 10,000 candidates takes a minute
    lengths = (100, 1000) if session.quick else LENGTHS
    for method in METHODS:
        found: dict[int, list[dict[str, Any]]] = {}
        for candidates in lengths:
            spec = {**spec_of(session, 0), "method": method, "candidates": candidates}
            found[candidates] = [run_side("ours", "candidates", spec) for _ in range(session.repeats)]
            session.runs[f"{method}, {candidates} candidates"] = found[candidates]
            for clock in ("wall", "cpu"):
                each = [1000 * one[clock] / one["scores"] for one in found[candidates]]
                bar = Bar("≤", MOST) if candidates == lengths[-1] and clock == "wall" else None
                session.figure(f"{method}: {clock} ms a score, {candidates} candidates", median(each), "ms", bar)
            peak = median([one["mb"] for one in found[candidates]])
            session.figure(f"{method}: peak memory, {candidates} candidates", peak, "MB")
        short, long = ([one["mb"] for one in found[n]] for n in lengths)
        more = median([b - a for a, b in zip(short, long, strict=True)])
        session.figure(f"{method}: memory of {lengths[1]} candidates − {lengths[0]}", more, "MB", Bar("≤", MORE))
        late = [[one["cpu"] / one["scores"] for one in found[n]] for n in lengths]
        session.figure(f"{method}: CPU a score, {lengths[1]} ÷ {lengths[0]} candidates", ratio(late[1], late[0]), "×")
    session.notes.append(
        "a durable run with everything that belongs to it (store, lineage, history, evidence); each candidate is one "
        "request to the optimizer and 50 scores. What grows with the calls is the 16 bytes by which a run knows each "
        "request again; prompts of the lineage, answers and scored candidates in memory are limited in number"
    )
