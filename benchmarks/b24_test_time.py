"""B24: one image under test-time prompt tuning (TPT), against the authors' steps with the text tower re-run in full."""

from __future__ import annotations

from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import median, ratio
from benchmarks.towers import EQUAL, LARGE, SMALL, Case, shape, tuned

TITLE = "an image under TPT, against the text tower re-run in full at each step"
PEERS = ()
SIDES = ("bare", "ours")
BASE: Case = {"kind": "tpt", "classes": 100, "batch": 64, "length": 4, "steps": 1}
CASES: dict[str, Case] = {
    "small towers": {**BASE, "shape": SMALL},
    "text of ViT-B/16": {**BASE, "shape": LARGE},
}


def run(session: Session) -> None:
    """Measure."""
    first = {side: run_side(side, "towers.answers", {"cases": CASES}) for side in SIDES}
    for name in CASES:
        session.near(f"cosines, {name}", {side: one["cosines"][name] for side, one in first.items()}, EQUAL)
    found = session.interleave("images", SIDES, lambda side: run_side(side, "towers.images", {"cases": CASES}))
    for name, case in CASES.items():
        taken = {side: [one["ms"][name] for one in found[side]] for side in SIDES}
        for side in SIDES:
            session.figure(f"CPU per image, {name}, {side}", median(taken[side]), "ms")
        session.figure(f"CPU per image, {name}, bare ÷ ours", ratio(taken["bare"], taken["ours"]), "×")
        said = tuned(case)
        session.figure(f"as many as tokens predict, {name}, bare ÷ ours", said, "×")
        share = ratio([one / said for one in taken["bare"]], taken["ours"])
        session.figure(f"measured ÷ predicted, {name}", share, "×", Bar("≥", 0.7))
    session.notes.append("; ".join(f"{name}: {shape(case)}, {case['steps']} step" for name, case in CASES.items()))
    session.notes.append(
        "time: processor time of one image, one thread: its 64 views (the batch) encoded once on both sides, a step of "
        "AdamW on the 6 that are kept, and the prediction. Bare: texts padded to all 77 positions, and every layer run "
        "on all of them. Predicted: multiplications of dense layers by tokens, the views forward, texts forward, "
        "backward and forward again"
    )
