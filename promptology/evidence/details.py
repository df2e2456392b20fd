"""What a report shows beside the figures: learning curves, agreement, confusion, flips, lineage,
budget over time.

All of it is small, however many items and steps there were.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.data.judging import Graded
from promptology.data.scoring import Metric
from promptology.data.task import Task
from promptology.evidence.fitting import Result
from promptology.evidence.measuring import Measured
from promptology.evidence.spending import course
from promptology.evidence.wording import cut

RIGHT = 0.5
"""Item score from which on an answer counts as right, where answers are compared one by one."""
STEPS = 500
"""Steps of a run's history that a document keeps: the first and the last."""
POINTS = 120
"""Points of a learning curve."""
FLIPS = 40
"""Items at most that are shown for each arm and side; fewer where there are many arms, `TEXTS` items in all."""
TEXTS = 400
CLASSES = 12
"""Classes up to which every pair is counted; of more, the pairs that were most often confused."""
PAIRS = 24
ARMS = 12
"""Arms whose answers are compared with each other, and seeds of one arm whose curves are kept."""
CURVES = {"best": "score", "score": "score", "value": "score", "loss": "loss"}
"""Figures of a history that make a learning curve, the ones that tell most first."""


def attach(doc: dict[str, Any], task: Task, groups: Sequence[Sequence[Result]]) -> None:
    """Add to a document what the report shows beside the figures; `groups`: the runs of each arm, one per seed.

    Where there are several seeds, answers, lineage and course are those of the first that was measured.
    """
    firsts = [next((r for r in group if r.evidence.found_measured), group[0]) for group in groups]
    each = max(4, min(FLIPS, TEXTS // (2 * len(groups))))
    streamed = any(first.evidence.protocol == "prequential" for first in firsts)
    inputs = {item.id: item for item in (task.train if streamed else task.test)}
    for arm, group, first in zip(doc["arms"], groups, firsts, strict=True):
        rows = arm.get("seeds") or [arm]
        for n, (row, result) in enumerate(zip(rows, group, strict=True)):
            most = max(2, STEPS // len(rows))
            row["curves"] = curves(result.history, result.spent) if n < ARMS else []
            row["history"] = _ends(result.history, most)
            row["spent"] = [{u: v for u, v in s.items() if u != "roles"} for s in _ends(result.spent, most)]
            row["steps"] = len(result.history)
        arm["lineage"] = first.lineage
        arm["course"] = course(first.spent, first.ledger)
        before, after = first.evidence.start_measured, first.evidence.found_measured
        if before and after and arm["verdict"] != "start":
            arm["flips"] = flips(task, before, after, inputs, each)
            arm["confusion"] = confusion(task, after)
        if len(group) > 1:
            arm["details_of"] = rows[group.index(first)]["seed"]
    sides = _sides(doc["arms"], firsts)
    if sides:
        doc["start"]["confusion"] = confusion(task, sides[0][1])
    if len(sides) > 1:
        doc["agreement"] = agreement(task.metric, sides)


def _sides(arms: Sequence[Mapping[str, Any]], firsts: Sequence[Result]) -> list[tuple[str, Measured]]:
    """Return whose answers to the same items there are: the start's, and those of the arms that differ from it."""
    measured = [(arm, r.evidence) for arm, r in zip(arms, firsts, strict=True) if r.evidence.start_measured]
    if not measured:
        return []
    same = [arm["label"] for arm, e in measured if e.verdict == "start"]
    start = max((e.start_measured for _, e in measured if e.start_measured), key=lambda m: m.n)
    others = [(arm["label"], e.found_measured) for arm, e in measured if e.verdict != "start" and e.found_measured]
    name = "start" + (f" ({', '.join(same)})" if same else "")
    return [(name, start), *others][:ARMS]


def curves(history: Sequence[Mapping[str, Any]], spent: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the learning curves in a history: best score, loss, accepted rounds, against what had been `spent`.

    Of each kind the longest series: its steps' name, the figure, values, and costs by unit, of the same length.
    """
    series: dict[tuple[str, str, str], list[tuple[Mapping[str, Any], float]]] = {}
    accepted: Counter[str] = Counter()
    for entry, charged in zip(history, spent, strict=True):
        step, values = str(entry["step"]), entry["values"]
        if "outcome" in values:
            accepted[step] += values["outcome"] == "accepted"
            series.setdefault(("accepted", step, "accepted"), []).append((charged, float(accepted[step])))
        for name, kind in CURVES.items():
            value = values.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                series.setdefault((kind, step, name), []).append((charged, float(value)))
    order = list(CURVES)
    found: dict[str, dict[str, Any]] = {}
    for (kind, step, name), points in sorted(
        series.items(), key=lambda pair: (order.index(pair[0][2]) if pair[0][2] in order else 0, -len(pair[1]))
    ):
        few = 1 if kind == "score" else 2
        if kind not in found and len(points) >= few and (kind != "accepted" or accepted[step]):
            some = _spread(points, POINTS)
            units = dict.fromkeys(unit for charged, _ in some for unit in charged if unit != "roles")
            costs = {unit: [charged.get(unit, 0) for charged, _ in some] for unit in units}
            found[kind] = {"kind": kind, "step": step, "figure": name, "values": [v for _, v in some], "costs": costs}
    return list(found.values())


def _spread(values: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many values, evenly spread, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]


def _ends(values: Sequence[Any], most: int) -> list[Any]:
    half = most // 2
    return list(values) if len(values) <= most else [*values[:half], *values[-half:]]


def agreement(metric: Metric, sides: Sequence[tuple[str, Measured]]) -> dict[str, Any]:
    """Return for each two sides on how many items both are right, both wrong, only the one or only the other.

    `cells[a][b]` holds these four counts, over the items that both answered.
    """
    rows = {id: n for n, id in enumerate(dict.fromkeys(id for _, m in sides for id in m.ids))}
    marks = np.full((len(sides), len(rows)), -1, np.int8)
    for mark, (_, m) in zip(marks, sides, strict=True):
        mark[[rows[id] for id in m.ids]] = _scores(metric, m) >= RIGHT
    cells = [[_counts(one, other) for other in marks] for one in marks]
    return {"labels": [label for label, _ in sides], "cells": cells}


def _counts(one: NDArray[np.int8], other: NDArray[np.int8]) -> list[int]:
    pairs = ((1, 1), (0, 0), (1, 0), (0, 1))
    return [int(((one == a) & (other == b)).sum()) for a, b in pairs]


def _scores(metric: Metric, m: Measured) -> NDArray[np.float64]:
    return np.array([metric.item(p, t) for p, t in zip(m.outputs, m.targets, strict=True)], float)


def confusion(task: Task, m: Measured) -> dict[str, Any] | None:
    """Return how often each class was answered for each right class; None where the answer is not one class.

    Up to `CLASSES` classes: `counts[right][answered]` over `classes`, in a last column what could not be read. Of more
    classes: `pairs` of right class, answer (None: not readable) and count, the most frequent errors first.
    """
    if task.signature.output != "class" or not m.n:
        return None
    said = [None if _plain(p) is None else str(_plain(p)) for p in m.outputs]
    counted = Counter(zip(map(str, m.targets), said, strict=True))
    classes = list(task.signature.class_names)
    errors = sum(n for (right, said), n in counted.items() if right != said)
    if len(classes) > CLASSES:
        wrong = [(right, said, n) for (right, said), n in counted.items() if right != said]
        pairs = sorted(wrong, key=lambda e: (-e[2], e[0], e[1] or ""))[:PAIRS]
        return {"n": m.n, "errors": errors, "pairs": [list(pair) for pair in pairs]}
    counts = [[counted[right, answer] for answer in (*classes, None)] for right in classes]
    return {"n": m.n, "errors": errors, "classes": classes, "counts": counts}


def flips(
    task: Task, before: Measured, after: Measured, inputs: Mapping[str, Item], most: int
) -> dict[str, dict[str, Any]]:
    """Return items whose score rose (`better`) and fell (`worse`): how many, and the texts of the largest changes.

    Among equals the random order of measuring decides, so that what is shown is no choice of ours.
    """
    places = {id: n for n, id in enumerate(before.ids)}
    pairs = [(places[id], n) for n, id in enumerate(after.ids) if id in places]
    old, new = _scores(task.metric, before), _scores(task.metric, after)
    changes = np.array([new[b] - old[a] for a, b in pairs])
    found: dict[str, dict[str, Any]] = {}
    for name, sign in (("better", 1), ("worse", -1)):
        order = [int(k) for k in np.argsort(-sign * changes, kind="stable") if sign * changes[k] > 0]
        some = [
            {
                "input": _input(inputs[after.ids[b]]) if after.ids[b] in inputs else "",
                "right": "" if after.targets[b] is None else cut(_answer(after.targets[b]), 200),
                "before": cut(_said(before, a), 300),
                "after": cut(_said(after, b), 300),
            }
            for a, b in (pairs[k] for k in order[:most])
        ]
        found[name] = {"count": len(order), "items": some}
    return found


def _said(m: Measured, at: int) -> str:
    """Return the answer, its grade where a judge gave one, and what the model wrote where that is more."""
    output, raw = m.outputs[at], m.raw.get(m.ids[at])
    answer = "(not readable)" if _plain(output) is None else _answer(_plain(output))
    grade = f" (graded {output.score:g})" if isinstance(output, Graded) else ""
    return answer + grade + ("" if raw is None or raw.strip() == answer else f"\n{raw}")


def _plain(output: Any) -> Any:
    return output.output if isinstance(output, Graded) else output


def _answer(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _input(item: Item) -> str:
    fields = [(name, _field(value)) for name, value in item.inputs.items()]
    return cut("\n".join(text if len(fields) == 1 else f"{name}: {text}" for name, text in fields), 400)


def _field(value: Any) -> str:
    plain = isinstance(value, str | int | float | list | tuple)
    return _answer(value) if plain else f"({type(value).__name__})"
