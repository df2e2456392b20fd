"""B1 and B2 in one: the same questions to the same server, from a peer and from us, at several levels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.common import Bar, Run, Server, Session, as_spec, column, run_side, serving
from benchmarks.faults import Weather
from benchmarks.items import Question, accuracy, questions
from benchmarks.ratios import bootstrap, median, ratio

LATENCY = 0.05
TIMEOUT = 30.0


def side_by_side(session: Session, peer: str, bars: Mapping[int, float], cpu_bar: float | None) -> None:
    """Measure calls per second of a peer and of us with cold caches, level by level."""
    asked = questions(200 if session.quick else 600)
    with serving() as server:
        same_answers(session, server, peer, asked)
        for level, bar in bars.items():
            once = partial(ask, server, level=level, asked=asked, weather=Weather(latency=LATENCY))
            found = session.interleave(f"{level} in flight", (peer, "ours"), once)
            report(session, peer, level, len(asked), found, bar, cpu_bar)
    session.notes.append(f"{len(asked)} questions, {LATENCY * 1000:g} ms latency; the ideal is level / latency")


def ask(
    server: Server, side: str, level: int, asked: list[Question], weather: Weather, timeout: float = TIMEOUT
) -> Run:
    """Run one side once and add what the server counted."""
    warm = questions(1, seed=99)
    server.become(weather)
    spec = {**as_spec(asked, warm), "url": server.url, "level": level, "timeout": timeout}
    return {**run_side(side, "calls", spec), "server": server.stats()}


def same_answers(session: Session, server: Server, peer: str, asked: list[Question]) -> None:
    """Check, before any timing, that both sides get the same answers and the same score."""
    runs = {side: ask(server, side, 8, asked, Weather(latency=0.0)) for side in (peer, "ours")}
    session.equal("answers", {side: run["answers"] for side, run in runs.items()})
    expected = accuracy(runs["ours"]["answers"], asked)
    session.equal("scores to 4 digits", {side: [round(run["score"], 4)] for side, run in runs.items()})
    session.equal("scores to 4 digits", {"ours": [round(runs["ours"]["score"], 4)], "by hand": [round(expected, 4)]})


def report(
    session: Session,
    peer: str,
    level: int,
    n: int,
    found: Mapping[str, list[Run]],
    bar: float,
    cpu_bar: float | None,
) -> None:
    """Record the figures of one level."""
    for run in [*found[peer], *found["ours"]]:
        session.equal(
            f"requests at {level}, one to warm up with", {"needed": [n + 1], "sent": [run["server"]["requests"]]}
        )
        session.equal(f"answers at {level}", {"first run": found["ours"][0]["answers"], "every run": run["answers"]})
    ours, theirs = (column(found[side], "wall") for side in ("ours", peer))
    session.figure(f"calls/s at {level}, {peer}", bootstrap(lambda s: n / s, theirs), "/s")
    session.figure(f"calls/s at {level}, ours", bootstrap(lambda s: n / s, ours), "/s")
    session.figure(f"calls/s at {level}, ours ÷ {peer}", ratio(theirs, ours), "×", Bar("≥", bar))
    most = bootstrap(lambda s: level / LATENCY * s / n, theirs)
    session.figure(f"calls/s at {level}, level / latency ÷ {peer}", most, "×")
    if most.value < bar:
        session.notes.append(
            f"at {level} in flight the bar lies beyond what any client can do: {level} / {LATENCY:g} s are "
            f"{level / LATENCY:,.0f} calls/s, {most.value:.2f} × of {peer}'s on this machine"
        )
    else:
        session.notes.append(
            f"at {level} in flight the bar asks for {bar / most.value:.0%} of level / latency; "
            "B0 shows how much of it a bare client reaches"
        )
    for side in (peer, "ours"):
        cpu = median([1000 * s / n for s in column(found[side], "cpu")])
        wanted = Bar("≤", cpu_bar) if cpu_bar and side == "ours" else None
        session.figure(f"CPU per call at {level}, {side}", cpu, "ms", wanted)
