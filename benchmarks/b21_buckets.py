"""B21: rows of similar length in one batch, against random batches and against padding to the longest of all."""

from __future__ import annotations

from benchmarks.common import Session, run_side
from benchmarks.ratios import median, ratio
from benchmarks.soft import llama

TITLE = "an epoch of training by length buckets"
PEERS = ()
WAYS = ("longest of all", "longest of a batch", "buckets")
EQUAL = 1e-5


def run(session: Session) -> None:
    """Measure."""
    items = 64 if session.quick else 128
    spec = {"shape": llama(8000), "tokens": 20, "labels": 4, "batch": 8, "scale": 0.02, "items": items}
    first = run_side("ours", "lengths.values", spec)
    session.near("log p of each item's target", {way: first["values"][way] for way in WAYS}, EQUAL)
    found = session.interleave("epoch", WAYS, lambda way: run_side("ours", "lengths.epoch", {**spec, "way": way}))
    each = {way: [one["ms"] for one in runs] for way, runs in found.items()}
    for way in WAYS:
        session.figure(f"CPU per step, {way}", median(each[way]), "ms")
    for way in WAYS[:2]:
        session.figure(f"CPU per step, buckets ÷ {way}", ratio(each["buckets"], each[way]), "×")
    shares = ", ".join(f"{way} {found[way][0]['padding']:.0%}" for way in WAYS)
    session.notes.append(
        f"Llama 6 x 256, V = 8,000, prompt of 20, {items} items in batches of 8, lengths log-normal around 50 tokens "
        f"(spread 0.6, at most 200); share of padding: {shares}"
    )
