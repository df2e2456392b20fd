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
LEVELS = {"dspy": 8, "ours": 32}  # theirs at its fastest of 1, 8 and 32; ours is the same at any


def run(session: Session) -> None:
    """Measure."""
    asked = questions(200 if session.quick else 600)
    spec = as_spec(asked, questions(1, seed=99))
    with serving() as server, tempfile.TemporaryDirectory(prefix="bench-") as made:
        homes = {side: Path(made) / side for side in LEVELS}

        def once(side: str) -> Run:
            given = {**spec, "url": server.url, "level": LEVELS[side], "timeout": TIMEOUT}
            return run_side(side, "calls", given, home=homes[side])

        server.become(Weather(latency=0.0))
        cold = {side: once(side) for side in LEVELS}
        session.equal("answers", {side: one["answers"] for side, one in cold.items()})
        server.become(Weather(broken=1.0, latency=0.0))
        found = session.interleave("warm", {side: (lambda side=side: once(side)) for side in LEVELS})
        check(session, server, cold, found)
    n = len(asked)
    ours, theirs = (column(found[side], "wall") for side in ("ours", "dspy"))
    session.figure("items/s, dspy", bootstrap(lambda s: n / s, theirs), "/s")
    session.figure("items/s, ours", bootstrap(lambda s: n / s, ours), "/s")
    session.figure("items/s, ours ÷ dspy", ratio(theirs, ours), "×", Bar("≥", 10.0))
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
