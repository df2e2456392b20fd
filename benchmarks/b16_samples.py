"""B16: 1,000 samples through an instant in-process model with a durable log, against inspect_ai's mock model.

Ours is a whole `fit` of the method `manual`: every answer and every event in the store, evidence, the result document.
Reading the log: inspect_ai reads its log file whole; ours reads the run's row, its events and all its answers.
"""

from __future__ import annotations

from functools import partial

from benchmarks.common import Bar, Session, as_spec, column, run_side
from benchmarks.items import accuracy, questions
from benchmarks.ratios import bootstrap, median, ratio

TITLE = "1,000 samples, instant model, durable log"
PEERS = ("inspect-ai",)


def run(session: Session) -> None:
    """Measure."""
    asked = questions(200 if session.quick else 1000)
    n = len(asked)
    spec = as_spec(asked, questions(2, seed=99))
    once = partial(run_side, do="samples", spec=spec)
    sides = ("inspect-ai", "ours")
    first = {side: once(side) for side in sides}
    session.equal("answers", {side: one["answers"] for side, one in first.items()})
    session.equal("answers read back", {side: one["read"] for side, one in first.items()})
    session.equal("scores to 4 digits", {side: [round(one["score"], 4)] for side, one in first.items()})
    expected = round(accuracy(first["ours"]["answers"], asked), 4)
    session.equal("scores to 4 digits", {"ours": [round(first["ours"]["score"], 4)], "by hand": [expected]})
    found = session.interleave(f"{n} samples", sides, once)
    ours, theirs = (column(found[side], "wall") for side in ("ours", "inspect-ai"))
    session.figure("samples/s, inspect-ai", bootstrap(lambda s: n / s, theirs), "/s")
    session.figure("samples/s, ours", bootstrap(lambda s: n / s, ours), "/s")
    session.figure("samples/s, ours ÷ inspect-ai", ratio(theirs, ours), "×", Bar("≥", 10.0))
    ours, theirs = (column(found[side], "reading") for side in ("ours", "inspect-ai"))
    for side, seconds in (("inspect-ai", theirs), ("ours", ours)):
        session.figure(f"reading the log, {side}", median([1000 * s for s in seconds]), "ms")
    session.figure("reading the log, inspect-ai ÷ ours", ratio(theirs, ours), "×", Bar("≥", 20.0))
    session.notes.append("their log also keeps messages, events and usage per sample; ours keeps answers and costs")
