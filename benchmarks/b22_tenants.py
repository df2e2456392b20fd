"""B22: requests of 32 learned prompts mixed in one batch, against one prompt for all of them."""

from __future__ import annotations

from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import median, ratio
from benchmarks.soft import llama

TITLE = "32 learned prompts mixed, against one for all requests"
PEERS = ()
WAYS = ("one prompt", "32 prompts", "32 prompts, one after the other")
BAR = 0.8


def run(session: Session) -> None:
    """Measure."""
    requests = 64 if session.quick else 256
    spec = {"shape": llama(8000), "tokens": 20, "text": 48, "answer": 8, "prompts": 32, "requests": requests}
    first = {way: run_side("ours", "tenants.answers", {**spec, "way": way}) for way in WAYS[1:]}
    session.equal("answers of 8 tokens", {way: one["texts"] for way, one in first.items()})
    found = session.interleave("answers", WAYS, lambda way: run_side("ours", "tenants.answers", {**spec, "way": way}))
    each = {way: [one["cpu"] for one in runs] for way, runs in found.items()}
    for way in WAYS:
        session.figure(f"CPU per request, {way}", median([1000 * s / requests for s in each[way]]), "ms")
    session.figure("throughput, 32 prompts ÷ one prompt", ratio(each[WAYS[0]], each[WAYS[1]]), "×", Bar("≥", BAR))
    session.figure("throughput, 32 prompts mixed ÷ one after the other", ratio(each[WAYS[2]], each[WAYS[1]]), "×")
    session.notes.append(
        f"Llama 6 x 256, V = 8,000, one thread; {requests} requests of 48 tokens, prompts of 20, answers of 8 tokens"
    )
