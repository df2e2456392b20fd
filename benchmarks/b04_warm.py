"""B4: B1's evaluation again in a new process on a warm durable cache, against DSPy's disk cache.

The server answers nothing during the timed runs, and its counters show that nothing was asked.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.calling import TIMEOUT
from benchmarks.common import Bar, Run, Server, Session, as_spec, column, run_side, serving
from benchmarks.environments import BenchError
from benchmarks.faults import Weather
from benchmarks.items import questions
from benchmarks.ratios import bootstrap, median, ratio

TITLE = "the same evaluation again, warm durable cache, new process"
PEERS = ("dspy",)
LEVELS = {"dspy, 1 thread": 1, "dspy, 8 threads": 8, "dspy, 32 threads": 32, "ours": 32}


def run(session: Session) -> None:
    """Measure."""
    asked = questions(200 if session.quick else 600)
    spec = as_spec(asked, questions(1, seed=99))
    with serving() as server, tempfile.TemporaryDirectory(prefix="bench-") as made:

        def once(label: str) -> Run:
            side = label.split(",")[0]
            given = {**spec, "url": server.url, "level": LEVELS[label], "timeout": TIMEOUT}
            return run_side(side, "calls", given, home=Path(made) / side)

        server.become(Weather(latency=0.0))
        cold = {label: once(label) for label in LEVELS}
        session.equal("answers", {side: one["answers"] for side, one in cold.items()})
        server.become(Weather(broken=1.0, latency=0.0))
        found = session.interleave("warm", tuple(LEVELS), once)
        check(session, server, cold, found)
    n = len(asked)
    ours = column(found["ours"], "wall")
    for label in LEVELS:
        session.figure(f"items/s, {label}", bootstrap(lambda s: n / s, column(found[label], "wall")), "/s")
    for label in LEVELS:
        if label != "ours":
            theirs = column(found[label], "wall")
            session.figure(f"items/s, ours ÷ {label}", ratio(theirs, ours), "×", Bar("≥", 10.0))
    for side in LEVELS:
        session.figure(f"CPU per item, {side}", median([1000 * c / n for c in column(found[side], "cpu")]), "ms")
    session.notes.append(f"{n} items; imports, set-up and one warming item are outside the measured time")


def check(session: Session, server: Server, cold: dict[str, Run], found: dict[str, list[Run]]) -> None:
    """Check that the warm runs gave the cold answers and asked nothing."""
    for side, runs in found.items():
        for one in runs:
            session.equal(f"warm and cold answers, {side}", {"cold": cold[side]["answers"], "warm": one["answers"]})
    if asked := server.stats()["requests"]:
        raise BenchError(f"{session.name}: {asked} requests were sent although everything was cached")
