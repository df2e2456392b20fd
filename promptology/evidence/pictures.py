"""Drawings of a report, laid out: positions in the drawing's units and paths that the template only writes down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from promptology.evidence.wording import format_cost, short

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 860.0, 70.0, 850.0, 16.0, 282.0
HEIGHT = 332.0
UNITS = {"usd": "US dollars", "calls": "calls", "passes": "passes", "tokens": "tokens"}
HUES = 6


class Style(NamedTuple):
    """How a series is drawn: hue and dash (classes of the style sheet) and the shape of its mark."""

    hue: str
    dash: str
    shape: int


class Frame(NamedTuple):
    """Axes: ticks as position and label, and what the axes show."""

    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_name: str
    y_name: str


class Point(NamedTuple):
    """An arm in the picture of score against cost."""

    label: str
    x: float
    low: float
    high: float
    mark: str
    hue: str
    front: bool
    text: str
    label_x: float
    label_y: float
    anchor: str


class Scatter(NamedTuple):
    """Score against cost of learning; `front`: the path through the arms that no other beats at their cost."""

    frame: Frame
    points: list[Point]
    front: str
    start_y: float | None
    best: str
    words: str


class Line(NamedTuple):
    """A learning curve: a path, a mark at each point where they are few, and the last value in words."""

    label: str
    style: Style
    path: str
    marks: list[str]
    text: str


class Panel(NamedTuple):
    """Learning curves of one kind on common axes."""

    kind: str
    frame: Frame
    lines: list[Line]
    words: str


class Segment(NamedTuple):
    """A piece of a ledger's bar."""

    x: float
    width: float
    hue: str
    second: bool
    text: str


class Bars(NamedTuple):
    """What each arm was charged, by role; learning in full colour, evidence in light."""

    rows: list[tuple[str, float, list[Segment]]]
    ticks: list[tuple[float, str]]
    roles: list[tuple[str, str]]
    unit: str
    height: float
    words: str


def style(n: int, more: int = 0) -> Style:
    """Return the style of the nth series: hue and mark differ among the first six, dashes tell apart what is `more`."""
    dash = (n // HUES + more) % 4
    return Style(f"s{n % HUES}", f"d{dash}" if dash else "", n % HUES)


def mark(shape: int, x: float, y: float, r: float = 5.0) -> str:
    """Return the path of a mark: circle, square, triangle, diamond, triangle downwards, cross."""
    if shape == 0:
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
    k = r * 0.36
    corners: Mapping[int, Sequence[tuple[float, float]]] = {
        1: [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        2: [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
        3: [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        4: [(0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
    }
    if shape in corners:
        points = [(x + r * a, y + r * b) for a, b in corners[shape]]
    else:
        turns = [(k, r), (k, k), (r, k), (r, -k), (k, -k), (k, -r), (-k, -r), (-k, -k), (-r, -k), (-r, k), (-k, k)]
        points = [(x + a, y + b) for a, b in [*turns, (-k, r)]]
    return f"{_path(points)}Z"


def _path(points: Sequence[tuple[float, float]], steps: bool = False) -> str:
    """Return a path through points; `steps`: level until the next point."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for x, y in points[1:]:
        parts.append(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}")
    return "".join(parts)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values between two others, at most so many."""
    power = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    for size in (power * f for f in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5)):
        first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
        if last - first < most:
            break
    return [round(k * size, 10) for k in range(first, last + 1)]


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return the position of a value on an axis that runs from one place to another."""
    return lambda value: start + (end - start) * (value - low) / max(high - low, 1e-9)


def number(value: float) -> str:
    """Return a figure beside an axis."""
    return short(value) if abs(value) >= 10_000 else f"{value:,g}"


def unit_of(costs: Sequence[Mapping[str, Any]]) -> str:
    """Return the unit in which costs are drawn: money where there is any, else calls, else passes."""
    return next((u for u in UNITS if any(c.get(u) for c in costs)), "calls")


def scatter(doc: Mapping[str, Any]) -> Scatter | None:
    """Lay out score against cost of learning; None where nothing was measured.

    Costs that differ by a factor of 30 or more stand on a log(1 + x) axis.
    """
    arms = [(n, a) for n, a in enumerate(doc["arms"]) if a.get("score") and a["score"].get("value") is not None]
    if not arms:
        return None
    unit = unit_of([a.get("learning") or {} for _, a in arms])
    costs = [float((a.get("learning") or {}).get(unit, 0)) for _, a in arms]
    start = (doc.get("start") or {}).get("score")
    level = start["value"] if start and start.get("value") is not None else None
    spans = [*(a["score"] for _, a in arms), *([start] if level is not None else [])]
    low = min(s["low"] if s.get("low") is not None else s["value"] for s in spans)
    high = max(s["high"] if s.get("high") is not None else s["value"] for s in spans)
    pad = max(0.06 * (high - low), 0.01)
    x_of, x_ticks, log = _cost_axis(costs, unit)
    y_of = scale(low - pad, high + pad, BOTTOM, TOP)
    front = _front([(c, a["score"]["value"]) for c, (_, a) in zip(costs, arms, strict=True)], level)
    points: list[Point] = []
    taken: list[tuple[float, float]] = []
    if start and level is not None and all(a["verdict"] != "start" for _, a in arms):
        alone = {"label": "start", "score": start, "learning": {}}
        points.append(_point(alone, Style("s5", "", 0), x_of(0), y_of, True, taken))
    for k in sorted(range(len(arms)), key=lambda k: costs[k]):
        n, arm = arms[k]
        points.append(_point(arm, style(n), x_of(costs[k]), y_of, k in front, taken))
    line = [(x_of(costs[k]), y_of(arms[k][1]["score"]["value"])) for k in front]
    line = line if level is None else [(x_of(0), y_of(level)), *line]
    y_ticks = [(y_of(t), f"{t:g}") for t in ticks(low - pad, high + pad)]
    name = f"cost of learning, {UNITS[unit]}{' (logarithmic)' if log else ''}"
    duel = doc.get("protocol") == "duel"
    frame = Frame(x_ticks, y_ticks, name, "win share against the start" if duel else str(doc["task"]["metric"]))
    best = ", ".join(arms[k][1]["label"] for k in front)
    words = "; ".join(p.text for p in points) + (f"; on the Pareto front: {best}" if best else "")
    path = _path(line, steps=True) if len(line) > 1 else ""
    return Scatter(frame, points, path, None if level is None else y_of(level), best, words)


def _cost_axis(costs: Sequence[float], unit: str) -> tuple[Callable[[float], float], list[tuple[float, str]], bool]:
    """Return where a cost stands, the ticks, and whether the axis is logarithmic."""
    least, most = min((c for c in costs if c > 0), default=1.0), max(*costs, 0.0) or 1.0
    start, end = LEFT + 18, RIGHT - 20
    if most < 30 * least:
        x_of = scale(0, most, start, end)
        return x_of, [(x_of(t), number(t)) for t in ticks(0, most)], False
    grain = 1.0 if unit != "usd" else least / 10
    along = scale(0.0, math.log1p(most / grain), start, end)
    decades = [0.0, *(d for k in range(-6, 12) if grain <= (d := 10.0**k) <= most)]
    return (lambda c: along(math.log1p(c / grain))), [(along(math.log1p(t / grain)), number(t)) for t in decades], True


def _point(
    arm: Mapping[str, Any],
    look: Style,
    x: float,
    y_of: Callable[[float], float],
    front: bool,
    taken: list[tuple[float, float]],
) -> Point:
    """Return an arm's mark; its label keeps clear of those in `taken`, and joins them."""
    score = arm["score"]
    y = y_of(score["value"])
    low, high = (y_of(v) if (v := score.get(end)) is not None else y for end in ("low", "high"))
    label_y = y + 4
    while any(abs(label_y - other) < 15 and abs(x - at) < 180 for at, other in taken):
        label_y += 15
    taken.append((x, label_y))
    text = f"{arm['label']}: {score['value']:.3f}, learning {format_cost(arm.get('learning'))}"
    label_x, anchor = (x - 11, "end") if x > (LEFT + RIGHT) / 2 else (x + 11, "start")
    shape = mark(look.shape, x, y)
    return Point(arm["label"], x, low, high, shape, look.hue, front, text, label_x, label_y, anchor)


def _front(points: Sequence[tuple[float, float]], start: float | None) -> list[int]:
    """Return the points on the Pareto front by rising cost: each scores more than whatever costs no more.

    The start costs nothing to learn, so an arm must score more than it, or be as good and cost nothing.
    """
    found: list[int] = []
    best = -math.inf if start is None else start
    for k in sorted(range(len(points)), key=lambda k: (points[k][0], -points[k][1])):
        if points[k][1] > best or points[k] == (0.0, start):
            best = points[k][1]
            found.append(k)
    return found


KINDS = {
    "score": "score on the items of the search",
    "accepted": "rounds accepted",
    "loss": "loss in training",
}


def panels(groups: Sequence[Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """Lay out the learning curves of runs, grouped by arm: a hue for each arm, a dash for each of its seeds."""
    looks = [(run, style(n, k)) for n, group in enumerate(groups) for k, run in enumerate(group)]
    found: list[Panel] = []
    for kind, name in KINDS.items():
        some = [(r["label"], look, c) for r, look in looks for c in r["curves"] if c["kind"] == kind and c["values"]]
        if all(len(c["values"]) < 2 for _, _, c in some):
            continue
        unit = unit_of([{u: max(v) for u, v in c["costs"].items()} for _, _, c in some])
        none = [0.0] * max(len(c["values"]) for _, _, c in some)
        most = max(max(c["costs"].get(unit, none)) for _, _, c in some) or 1.0
        values = [v for _, _, c in some for v in c["values"]]
        low, high = (0.0, max(values)) if kind != "score" else (min(values), max(values))
        pad = max(0.08 * (high - low), 0.01)
        low = low if kind != "score" else low - pad
        x_of, y_of = scale(0, most, LEFT + 4, RIGHT - 10), scale(low, high + pad, BOTTOM, TOP)
        lines = []
        for label, look, c in some:
            costs = c["costs"].get(unit, none[: len(c["values"])])
            points = [(x_of(x), y_of(y)) for x, y in zip(costs, c["values"], strict=True)]
            marks = [mark(look.shape, x, y, 3.5) for x, y in points] if len(points) <= 40 else []
            text = f"{label}: {c['figure']} {c['values'][0]:g} at first, {c['values'][-1]:.4g} at the end"
            rising = c["figure"] != "loss" and c["values"] == sorted(c["values"])
            path = _path(points, steps=rising and c["figure"] in ("best", "accepted"))
            lines.append(Line(label, look, path, marks, f"{text}, {c['step']}"))
        frame = Frame(
            [(x_of(t), number(t)) for t in ticks(0, most, 7)],
            [(y_of(t), f"{t:g}") for t in ticks(low, high + pad)],
            f"{UNITS[unit]} charged",
            name,
        )
        found.append(Panel(kind, frame, lines, "; ".join(line.text for line in lines)))
    return found


def ledger(arms: Sequence[Mapping[str, Any]]) -> Bars | None:
    """Lay out what each arm was charged, by role and phase; None where there is no ledger."""
    entries = [e for arm in arms for e in arm.get("ledger") or []]
    if not entries:
        return None
    unit = unit_of([e["charged"] for e in entries])
    roles = list(dict.fromkeys(e["role"] for e in entries))
    totals = [sum(e["charged"].get(unit, 0) for e in arm.get("ledger") or []) for arm in arms]
    most = max(*totals, 0.0) or 1.0
    x_of = scale(0, most, 0, RIGHT - 8)
    rows: list[tuple[str, float, list[Segment]]] = []
    for n, arm in enumerate(arms):
        at, segments = 0.0, []
        for e in sorted(arm.get("ledger") or [], key=lambda e: (e["phase"] != "learning", roles.index(e["role"]))):
            size = e["charged"].get(unit, 0)
            text = f"{arm['label']}, {e['role']}, {e['phase']}: {format_cost(e['charged'])}"
            hue = f"s{roles.index(e['role']) % HUES}"
            segments.append(Segment(x_of(at), x_of(size), hue, e["phase"] != "learning", text))
            at += size
        rows.append((arm["label"], 44.0 * n, [s for s in segments if s.width > 0]))
    words = "; ".join(s.text for _, _, segments in rows for s in segments)
    named = [(role, f"s{n % HUES}") for n, role in enumerate(roles)]
    return Bars(rows, [(x_of(t), number(t)) for t in ticks(0, most)], named, UNITS[unit], 44.0 * len(arms), words)
