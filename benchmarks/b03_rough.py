"""B3: a rough server (429 with Retry-After, 500, hung requests, heavy-tailed latency), against DSPy and promptolution.

Which request fails follows from its item and its attempt, so all sides meet the same faults. Every side gets the same
time-out; how often it tries again is its own default.
"""

from __future__ import annotations

from typing import Any

from benchmarks.calling import ask
from benchmarks.common import Bar, Run, Session, column, serving
from benchmarks.faults import Weather, needed
from benchmarks.items import Question, answer_of, questions
from benchmarks.ratios import median

TITLE = "a rough server: 5 % 429, 2 % 500, 1 % hung, heavy tail"
PEERS = ("dspy", "promptolution")
WEATHER = Weather(latency=0.05, tail=2.0, limited=0.05, broken=0.02, hung=0.01, retry_after=1.0)
LEVEL = 32
TIMEOUT = 2.0


def run(session: Session) -> None:
    """Measure."""
    asked = questions(200 if session.quick else 1200)
    ideal = needed(WEATHER, [q.code for q in asked], LEVEL, TIMEOUT)
    with serving() as server:
        calm = {side: ask(server, side, LEVEL, asked, Weather(latency=0.0)) for side in (*PEERS, "ours")}
        session.equal("answers on a calm server", {side: one["answers"] for side, one in calm.items()})

        def once(side: str) -> Run:
            return {**ask(server, side, LEVEL, asked, WEATHER, TIMEOUT), "side": side}

        found = session.interleave(f"{LEVEL} in flight", (*PEERS, "ours"), once)
    for side, runs in found.items():
        figures(session, side, [outcome(one, asked) for one in runs], ideal.seconds, side == "ours")
    session.notes.append(
        f"{len(asked)} questions, {LEVEL} in flight, time-out {TIMEOUT:g} s; the ideal is that of a client which never "
        f"waits longer than it must: {ideal.seconds:.1f} s, {ideal.attempts / len(asked):.3f} attempts per question"
    )
    for side in PEERS:
        broken = [one["failure"] for one in found[side] if one.get("failure")]
        if broken:
            session.notes.append(f"{side} ended {len(broken)} of {len(found[side])} runs with: {broken[0]}")


def outcome(one: Run, asked: list[Question]) -> dict[str, Any]:
    """Return what became of the questions: answered as the server answers, reported missing, or silently lost."""
    n = len(asked)
    right = sum(a == answer_of(q.code) for a, q in zip(one["answers"], asked, strict=True))
    told = 0 if one["side"] == "dspy" else one["missing"]  # DSPy scores an item that failed as wrong
    warm = 1  # the warming question is not counted among the needed calls
    return {
        "answered": right / n,
        "accounted": (right + told) / n,
        "attempts": (one["server"]["requests"] - warm) / n,
        "again": one["server"]["again"],
        "wall": one["wall"],
    }


def figures(session: Session, side: str, runs: list[dict[str, Any]], ideal: float, ours: bool) -> None:
    """Record one side's figures; the bars are ours to meet."""
    most = 1.1 / (1.0 - WEATHER.failing)
    bars = (Bar("≥", 1.0), Bar("≤", most), Bar("≤", 1.3)) if ours else (None, None, None)
    session.figure(f"answered, {side}", median(column(runs, "answered")))
    session.figure(f"answered or reported missing, {side}", median(column(runs, "accounted")), "", bars[0])
    session.figure(f"attempts per question, {side}", median(column(runs, "attempts")), "", bars[1])
    session.figure(f"wall ÷ ideal, {side}", median([w / ideal for w in column(runs, "wall")]), "×", bars[2])
    session.figure(f"asked again after an answer, {side}", max(column(runs, "again")), "requests")
