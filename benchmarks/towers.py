"""Training steps of prompts of CLIP side by side: equal losses first, then processor time and memory of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import median, ratio

Case = dict[str, Any]
SIDES = ("bare", "ours")
EQUAL = 1e-4  # of losses over the first steps
SMALL = {"text": (128, 4, 4), "vision": (192, 6, 6), "px": 64, "patch": 8, "positions": 77, "vocab": 1000}
"""The shape that steps were first measured on."""
LARGE = {"text": (512, 12, 8), "vision": (64, 1, 1), "px": 32, "patch": 16, "positions": 77, "vocab": 1000}
"""The text tower of ViT-B/16 beside a negligible image tower."""


def compare(session: Session, cases: Mapping[str, Case], bars: Mapping[str, tuple[Bar | None, Bar | None]]) -> None:
    """Measure steps of all cases; `bars` are (time of theirs over ours, memory of ours over theirs)."""
    first = {side: run_side(side, "towers.losses", {"cases": cases, "steps": 4}) for side in SIDES}
    for name in cases:
        session.near(f"losses, {name}", {side: one["losses"][name] for side, one in first.items()}, EQUAL)
    spec = {"cases": cases, "warm": 1}
    found = session.interleave("steps", SIDES, lambda side: run_side(side, "towers.steps", spec))
    for name, case in cases.items():
        taken = {side: [one["ms"][name] for one in found[side]] for side in SIDES}
        for side in SIDES:
            session.figure(f"CPU per step, {name}, {side}", median(taken[side]), "ms")
        time, memory = bars[name]
        measured = ratio(taken["bare"], taken["ours"])
        session.figure(f"CPU per step, {name}, bare ÷ ours", measured, "×", time)
        said = predicted(case)
        session.figure(f"as many as tokens predict, {name}, bare ÷ ours", said, "×")
        if case.get("views") == "fresh":
            share = ratio([one / said for one in taken["bare"]], taken["ours"])
            session.figure(f"measured ÷ predicted, {name}", share, "×", Bar("≥", 0.7))
        held = {side: first[side]["mb"][name] for side in SIDES}
        for side in SIDES:
            session.figure(f"extra peak memory, {name}, {side}", held[side], "MB")
        session.figure(f"extra peak memory, {name}, ours ÷ bare", held["ours"] / held["bare"], "×", memory)
    session.notes.append("; ".join(f"{name}: {shape(case)}" for name, case in cases.items()))
    session.notes.append(
        "time: processor time of a whole step with AdamW, one thread; names of 1 to 3 tokens, a stop behind them. "
        "Bare is the authors' formulation: whole towers at every step, texts padded to all positions; CoCoOp one image "
        "after the other. Predicted: multiplications of dense layers by tokens, the image tower forward, and what is "
        "learned through forward and backward. Memory as in B10"
    )


def shape(case: Case) -> str:
    """Return what a case trains on what."""
    of = case["shape"]
    deep = f", {case['depth']} layers deep" if "depth" in case else ""
    return (
        f"text {of['text'][1]} x {of['text'][0]} at {of['positions']} positions, images {of['vision'][1]} x "
        f"{of['vision'][0]} at {of['px']} px in patches of {of['patch']}, {case['classes']} classes, batch "
        f"{case['batch']}, context of {case['length']}{deep}"
    )


def predicted(case: Case) -> float:
    """Return theirs over ours, reckoned from the tokens that both sides run."""
    of, batch, classes, length = case["shape"], case["batch"], case["classes"], case["length"]
    patches = (of["px"] // of["patch"]) ** 2 + 1
    image = batch * patches * of["vision"][1] * of["vision"][0] ** 2
    token = of["text"][1] * of["text"][0] ** 2
    times = batch if case["kind"] == "cocoop" else 1
    # A name has 2 tokens on average and 3 at most; the rest of a batch is padded to that: name, stop and end.
    theirs, ours = times * classes * of["positions"], times * ((1 + length) + classes * 5)
    if case["kind"] == "maple":
        return (2 * image + 2 * theirs * token) / (2 * image + 2 * ours * token)
    kept = 0 if case.get("views") == "cached" else image
    return (image + 2 * theirs * token) / (kept + 2 * ours * token)


def tuned(case: Case) -> float:
    """Return theirs over ours for one image under TPT, reckoned from tokens: views once, texts three times a step."""
    of, classes, steps = case["shape"], case["classes"], case["steps"]
    image = case["batch"] * ((of["px"] // of["patch"]) ** 2 + 1) * of["vision"][1] * of["vision"][0] ** 2
    token = of["text"][1] * of["text"][0] ** 2
    theirs, ours = classes * of["positions"], 1 + case["length"] + classes * 5
    return (image + (2 * steps + 1) * theirs * token) / (image + (2 * steps + 1) * ours * token)
