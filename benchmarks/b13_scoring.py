"""B13: labels scored under many prompts that begin alike, against lm-eval's log-likelihood path and plain batches."""

from __future__ import annotations

from typing import Any

from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import median, ratio

TITLE = "scoring 64 candidates x 64 items x 4 labels, 80 % shared prefix"
PEERS = ("lm-eval",)
SIDES = ("lm-eval", "bare", "ours")
SHAPE = {"family": "llama", "vocab": 1000, "width": 256, "layers": 3, "heads": 4}
CANDIDATES, ITEMS, LABELS, SHARED, OWN = 64, 64, 4, 64, 16
TIMED = 8  # candidates per timed run: the time per prompt does not depend on their number
EQUAL = 1e-5
BAR = Bar("≥", 3.0)


def run(session: Session) -> None:
    """Measure; all candidates are scored once on every side, and the first few again and again for the time."""
    base = {"candidates": CANDIDATES, "items": ITEMS, "labels": LABELS, "shared": SHARED, "own": OWN}
    whole: dict[str, Any] = {
        "labels of one token": {**base, "label_tokens": 1},
        "labels of two tokens": {**base, "label_tokens": 2, "items": ITEMS // 8},
    }
    timed = {name: {**case, "candidates": TIMED} for name, case in whole.items()}
    spec = {"shape": SHAPE, "batch": 64, "cases": timed}
    asked = {**spec, "cases": timed if session.quick else whole, "keep": True}
    first = {side: run_side(side, "scoring.score", asked) for side in SIDES}
    for name in whole:
        session.near(f"log-probabilities, {name}", {side: one["scores"][name] for side, one in first.items()}, EQUAL)
    found = session.interleave("scoring", SIDES, lambda side: run_side(side, "scoring.score", spec))
    for name, case in whole.items():
        each = {side: [one["seconds"][name] for one in runs] for side, runs in found.items()}
        count = TIMED * case["items"]
        for side in SIDES:
            session.figure(f"CPU per prompt, {name}, {side}", median([1000 * s / count for s in each[side]]), "ms")
        for side in SIDES[:2]:
            session.figure(f"prompts per CPU second, {name}, ours ÷ {side}", ratio(each[side], each["ours"]), "×", BAR)
        alone, shared = tokens(case)
        session.notes.append(
            f"{name}: {CANDIDATES} candidates x {case['items']} items, {SHARED} of {SHARED + OWN} tokens shared: all "
            f"prompts are {alone:,} tokens, their prefix tree {shared:,}, {alone / shared:.1f} times fewer; timed on "
            f"{TIMED} candidates"
        )
    session.notes.append(
        f"Llama {SHAPE['layers']} x {SHAPE['width']}, V = {SHAPE['vocab']:,}, one thread, batches of 64 rows; bare: "
        "transformers, rows of equal lengths in batches, logits at the labels' places, one row for all one-token labels"
    )


def tokens(case: dict[str, Any]) -> tuple[int, int]:
    """Return the tokens of all prompts, and those left where each beginning is run once."""
    prompts = case["candidates"] * case["items"]
    return prompts * (SHARED + OWN), case["candidates"] * SHARED + prompts * OWN
