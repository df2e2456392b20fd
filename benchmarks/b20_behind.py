"""B20: a prompt behind the input, on keys and values of the input that are computed once, against one before it."""

from __future__ import annotations

from benchmarks.common import Session
from benchmarks.ratios import ratio
from benchmarks.soft import Case, compare, llama

TITLE = "prompt behind an input whose keys and values are kept"
PEERS = ()
SIDES = ("bare", "ours")


def run(session: Session) -> None:
    """Measure; the plain side runs the whole row at every step."""
    cases: dict[str, Case] = {}
    for text in (64, 256):
        base = {"shape": llama(8000), "text": text, "steps": 4 if text == 64 else 2, "distinct": 1}
        cases[f"before, {text} tokens"] = {**base, "kind": "prompt"}
        cases[f"behind, {text} tokens"] = {**base, "kind": "behind"}
    if session.quick:
        cases = {name: case for name, case in cases.items() if "256" not in name}
    taken = compare(session, cases, dict.fromkeys(cases, (None, None)), SIDES)
    for text in (64, 256):
        behind, before = (taken["ms"].get(f"ours, {place}, {text} tokens") for place in ("behind", "before"))
        if behind and before:
            session.figure(f"CPU per step, {text} tokens, behind ÷ before, ours", ratio(behind, before), "×")
    session.notes.append(
        "the prompt stands between the text and its last token; steps repeat the items: an item's first pass, which "
        "computes its keys and values, is outside the measured time"
    )
