"""Training steps of soft prompts side by side: equal losses first, then processor time and memory of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.common import Bar, Session, run_side
from benchmarks.ratios import median, ratio

Case = dict[str, Any]
Bars = Mapping[str, tuple[Bar | None, Bar | None]]
SIZES = {"tokens": 20, "text": 64, "labels": 4, "batch": 8, "scale": 0.02}
EQUAL = 1e-5  # of losses over the first steps
STEPS = 20


def llama(vocab: int, family: str = "llama", layers: int = 6) -> dict[str, Any]:
    """Return a shape of 256 dimensions and 4 heads."""
    return {"family": family, "vocab": vocab, "width": 256, "layers": layers, "heads": 4}


def compare(session: Session, cases: Mapping[str, Case], bars: Bars, sides: tuple[str, str] = ("peft", "ours")) -> None:
    """Measure steps of all cases on both sides; `bars` are (time, memory), ours over theirs."""
    theirs, ours = sides
    spec = {"cases": {name: {**SIZES, **case} for name, case in cases.items()}, "warm": 1, "steps": STEPS}
    first = {side: run_side(side, "soft.losses", spec) for side in sides}
    for name in cases:
        session.near(f"losses, {name}", {side: one["losses"][name] for side, one in first.items()}, EQUAL)
    found = session.interleave("steps", sides, lambda side: run_side(side, "soft.steps", spec))
    for name in cases:
        each = {side: [one["ms"][name] for one in runs] for side, runs in found.items()}
        figures(session, name, sides, each, bars[name][0])
    for name in cases:
        held = {side: one["mb"][name] for side, one in first.items()}
        for side in sides:
            session.figure(f"extra peak memory, {name}, {side}", held[side], "MB")
        session.figure(f"extra peak memory, {name}, {ours} ÷ {theirs}", held[ours] / held[theirs], "×", bars[name][1])
    session.notes.append(shapes(spec["cases"]))
    session.notes.append(
        "time: processor time of a whole step with AdamW, one thread. Memory: what the kernel counts as resident at "
        f"most within a step above what was held before it, median of {STEPS - 2} steps, measured apart from the time"
    )


def figures(session: Session, name: str, sides: tuple[str, str], each: Mapping[str, Any], bar: Bar | None) -> None:
    """Record both sides' milliseconds of a step, and their ratio."""
    theirs, ours = sides
    for side in sides:
        session.figure(f"CPU per step, {name}, {side}", median(each[side]), "ms")
    session.figure(f"CPU per step, {name}, {ours} ÷ {theirs}", ratio(each[ours], each[theirs]), "×", bar)


def shapes(cases: Mapping[str, Case]) -> str:
    """Return what was trained on what, in one line."""
    said = []
    for name, case in cases.items():
        shape = case["shape"]
        said.append(
            f"{name}: {shape['family']} {shape['layers']} x {shape['width']}, V = {shape['vocab']:,}, batch "
            f"{case['batch']}, {case['text']} text tokens, {case['tokens']} prompt tokens, {case['labels']} labels"
        )
    return "; ".join(said)
