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


def compare(
    session: Session, cases: Mapping[str, Case], bars: Bars, sides: tuple[str, str] = ("peft", "ours")
) -> dict[str, dict[str, list[float]]]:
    """Measure steps of all cases on both sides; `bars` are (time, memory), ours over theirs.

    Returns figures by what ("ms", "forward" or "mb"), then by "SIDE, CASE".
    """
    ours = sides[1]
    spec = {"cases": {name: {**SIZES, **case} for name, case in cases.items()}, "warm": 1, "steps": STEPS}
    first = {side: run_side(side, "soft.losses", spec) for side in sides}
    for name in cases:
        session.near(f"losses, {name}", {side: one["losses"][name] for side, one in first.items()}, EQUAL)
    found = session.interleave("steps", sides, lambda side: run_side(side, "soft.steps", spec))
    taken: dict[str, dict[str, list[float]]] = {"ms": {}, "forward": {}, "mb": {}}
    for side in sides:
        for name in cases:
            taken["ms"][f"{side}, {name}"] = [one["ms"][name] for one in found[side]]
            if cases[name].get("forward"):
                taken["forward"][f"{side}, {name}"] = [one["forward"][name] for one in found[side]]
            taken["mb"][f"{side}, {name}"] = [first[side]["mb"][name]]
    for name in cases:
        for what, bar in (("ms", bars[name][0]), ("mb", bars[name][1]), ("forward", None)):
            if taken[what] and f"{ours}, {name}" in taken[what]:
                figures(session, what, name, sides, taken[what], bar)
    session.notes.append(shapes(spec["cases"]))
    session.notes.append(
        "time: processor time of a whole step with AdamW, one thread. Memory: what the kernel counts as resident at "
        "most within a step above what was held before it, median of the last 5 of the steps with equal losses"
    )
    return taken


SAID = {"ms": ("CPU per step", "ms"), "mb": ("extra peak memory", "MB"), "forward": ("CPU per forward pass", "ms")}


def figures(
    session: Session, what: str, name: str, sides: tuple[str, str], taken: Mapping[str, list[float]], bar: Bar | None
) -> None:
    """Record both sides' figures of a case, and their ratio."""
    theirs, ours = sides
    said, unit = SAID[what]
    for side in sides:
        session.figure(f"{said}, {name}, {side}", median(taken[f"{side}, {name}"]), unit)
    found = ratio(taken[f"{ours}, {name}"], taken[f"{theirs}, {name}"])
    session.figure(f"{said}, {name}, {ours} ÷ {theirs}", found, "×", bar)


def shapes(cases: Mapping[str, Case]) -> str:
    """Return what was trained on what, in one line."""
    said = []
    for name, case in cases.items():
        shape = case["shape"]
        said.append(
            f"{name}: {shape['family']} {shape['layers']} x {shape['width']}, V = {shape['vocab']:,}, batch "
            f"{case['batch']}, {case['text']} text, {case['tokens']} prompt and {case['labels']} label tokens"
        )
    return "; ".join(said)
