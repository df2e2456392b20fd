"""The report: one self-contained HTML file, and the same table for the terminal. Model output is text, never markup."""

from __future__ import annotations

import difflib
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promptology.errors import UsageError

FOLD = 4000
"""Characters of a text that are shown unfolded."""
WIDTH = 110


def format_cost(cost: Mapping[str, Any] | None) -> str:
    """Return a cost in words, zeros left out; "~" marks estimated tokens."""
    if not cost:
        return "0"
    parts: list[str] = []
    tokens = cost.get("tokens_in", 0) + cost.get("tokens_out", 0)
    if calls := cost.get("calls"):
        parts.append(f"{calls:,} call{'s' if calls != 1 else ''}")
    if tokens:
        parts.append(f"{'~' if cost.get('estimated') else ''}{_short(tokens)} tokens")
    if usd := cost.get("usd"):
        parts.append(f"${usd:.2f}" if usd >= 0.01 else f"${usd:.2g}")
    if passes := cost.get("passes"):
        parts.append(f"{passes:,} pass{'es' if passes != 1 else ''}")
    if (seconds := cost.get("seconds", 0)) >= 0.05:
        parts.append(f"{seconds:.1f} s")
    return " · ".join(parts) or "0"


def _short(n: float) -> str:
    return f"{n:,.0f}" if n < 10_000 else f"{n / 1e3:,.0f}k" if n < 10_000_000 else f"{n / 1e6:,.1f}M"


def visible(text: Any) -> str:
    """Return a text whose control and direction characters are shown as escapes."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else f"\\u{ord(c):04x}"
        for c in str(text)
    )


def format_table(document: Mapping[str, Any]) -> str:
    """Return the table of a fit or a comparison as plain text."""
    head = ["method", "score", "95 % interval", "vs start", "p", "learning", "per prediction", "verdict"]
    rows = [_row(arm) for arm in document["arms"]]
    start = (document.get("start") or {}).get("score")
    if start and all(arm["verdict"] != "start" for arm in document["arms"]):
        rows.insert(0, ["(start)", _figure(start), _span(start), "", "", "", "", ""])
    cells = [[visible(c).replace("\n", " ") for c in row] for row in [head, *rows]]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(head))]
    lines = ["  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "-" * min(max(map(_width, lines)), 160))
    return "\n".join([*lines, "", *(visible(line) for line in _footer(document))])


def _row(arm: Mapping[str, Any]) -> list[str]:
    difference = arm.get("difference")
    return [
        str(arm.get("label") or arm["method"]),
        _figure(arm.get("score")),
        _span(arm.get("score")),
        f"{difference['value']:+.3f}" if difference and difference["value"] is not None else "",
        _p(arm.get("p_adjusted")),
        format_cost(arm.get("learning")),
        format_cost(arm.get("per_prediction")),
        str(arm["verdict"]),
    ]


def _figure(score: Mapping[str, Any] | None) -> str:
    return f"{score['value']:.3f}" if score and score.get("value") is not None else "-"


def _span(score: Mapping[str, Any] | None) -> str:
    if not score or score.get("low") is None:
        return ""
    return f"{score['low']:.3f} to {score['high']:.3f}"


def _p(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _footer(document: Mapping[str, Any]) -> list[str]:
    task, model, arms = document["task"], document["model"], document["arms"]
    score = next((a["score"] for a in arms if a.get("score")), None)
    tested = [a for a in arms if a.get("p") is not None]
    test = tested[0]["test"] if tested else ""
    correction = ", corrected after Holm" if len(tested) > 1 else ""
    lines = [
        f"{task['name']} by {task['metric']}"
        + (f" on {score['n']} {WHERE.get(document.get('protocol', ''), 'unused inputs')}" if score else "")
        + f"; {model['name']}{' (simulated)' if model.get('simulated') else ''}"
        + f"; budget {document['budget']} per {'run' if document.get('seeds') else 'method'}; {seeds_of(document)}"
    ]
    if document.get("seeds"):
        lines.append(f"mean over seeds; interval and p: {OVER_SEEDS}{correction}, against the start on the same items")
    elif test:
        lines.append(f"interval: bootstrap over items; p: {test}{correction}, against the start on the same items")
    if document.get("hint"):
        lines.append(document["hint"])
    if (openings := task.get("test_openings", 0)) > 5:
        lines.append(f"this test split has been opened by {openings} runs: treat small differences with care")
    return [*lines, *document.get("notes", [])]


WHERE = {"holdout": "sealed test items", "prequential": "items of the stream"}
OVER_SEEDS = "t over seeds and items (over items alone where all seeds score alike)"


def seeds_of(document: Mapping[str, Any]) -> str:
    """Return the seed or seeds of a document in words."""
    several = document.get("seeds")
    return f"seeds {', '.join(map(str, several))}" if several else f"seed {document['seed']}"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


class Piece(NamedTuple):
    """A run of words in a diff: same, added or removed."""

    kind: str
    text: str


def diff(before: str, after: str) -> list[Piece]:
    """Return a word-level difference."""
    a, b = (re.findall(r"\s+|[^\s]+", t) for t in (before, after))
    pieces: list[Piece] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag in ("delete", "replace"):
            pieces.append(Piece("removed", "".join(a[i1:i2])))
        if tag in ("insert", "replace"):
            pieces.append(Piece("added", "".join(b[j1:j2])))
        if tag == "equal":
            pieces.append(Piece("same", "".join(a[i1:i2])))
    return pieces


def _diff_of(before: str, after: str) -> list[Piece] | None:
    """Return the difference where it is worth showing: prompts of readable length that share words."""
    if max(len(before), len(after)) > 20_000:
        return None
    pieces = diff(before, after)
    shared = sum(len(p.text) for p in pieces if p.kind == "same" and not p.text.isspace())
    return pieces if 4 * shared >= len(before) else None


class Point(NamedTuple):
    """An arm in the picture of score against cost; positions in the drawing's units."""

    label: str
    x: float
    y: float
    low: float
    high: float
    text: str
    label_y: float
    anchor: str
    label_x: float


class Picture(NamedTuple):
    """Score against cost of learning, ready to draw."""

    points: list[Point]
    start_y: float | None
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    unit: str
    words: str


LEFT, RIGHT, TOP, BOTTOM = 64.0, 700.0, 20.0, 280.0


def picture(document: Mapping[str, Any]) -> Picture | None:
    """Lay out score against cost of learning; None where nothing was measured. Costs stand on a log(1 + x) axis."""
    arms = [a for a in document["arms"] if a.get("score") and a["score"].get("value") is not None]
    if not arms:
        return None
    unit = next((u for u in ("usd", "calls", "passes") if any(a["learning"].get(u) for a in arms)), "calls")
    costs = [float(a["learning"].get(unit, 0)) for a in arms]
    most = max(*costs, 1.0)
    scores = [a["score"] for a in arms]
    start = (document.get("start") or {}).get("score")
    spans = [*scores, *([start] if start else [])]
    low = min(s["low"] if s.get("low") is not None else s["value"] for s in spans)
    high = max(s["high"] if s.get("high") is not None else s["value"] for s in spans)
    low, high = math.floor(low * 20 - 0.2) / 20, math.ceil(high * 20 + 0.2) / 20

    def x_of(cost: float) -> float:
        return LEFT + 20 + (RIGHT - LEFT - 60) * math.log1p(cost) / math.log1p(most)

    def y_of(value: float) -> float:
        return float(BOTTOM - (BOTTOM - TOP) * (value - low) / max(high - low, 1e-9))

    points = []
    taken: list[tuple[float, float]] = []
    for arm, cost in sorted(zip(arms, costs, strict=True), key=lambda pair: pair[1]):
        s = arm["score"]
        x, y = x_of(cost), y_of(s["value"])
        right = x > (LEFT + RIGHT) / 2
        label_y = y + 4
        while any(abs(label_y - other) < 14 and abs(x - at) < 160 for at, other in taken):
            label_y += 14
        taken.append((x, label_y))
        text = f"{arm['label']}: {s['value']:.3f}, learning {format_cost(arm['learning'])}"
        lowest = y_of(s["low"] if s.get("low") is not None else s["value"])
        highest = y_of(s["high"] if s.get("high") is not None else s["value"])
        points.append(
            Point(
                arm["label"],
                x,
                y,
                lowest,
                highest,
                text,
                label_y,
                "end" if right else "start",
                x + (-10 if right else 10),
            )
        )
    ticks = [0.0, *(10.0**k for k in range(8) if 10.0**k <= most)]
    steps = 5
    return Picture(
        points,
        y_of(start["value"]) if start and start.get("value") is not None else None,
        [(x_of(t), _short(t)) for t in ticks],
        [(y_of(low + (high - low) * k / steps), f"{low + (high - low) * k / steps:.2f}") for k in range(steps + 1)],
        {"usd": "US dollars", "calls": "calls", "passes": "passes"}[unit],
        "; ".join(p.text for p in points),
    )


def verdict_sentence(arm: Mapping[str, Any], protocol: str) -> str:
    """Return the verdict on an arm in words."""
    score, d = arm.get("score"), arm.get("difference")
    if str(arm["verdict"]).startswith("not measured"):
        return f"There is no evidence about {arm['label']}: {arm['verdict']}."
    if arm["verdict"] == "start" or not d or not score:
        value = f", which scores {score['value']:.3f}" if score and score.get("value") is not None else ""
        return f"{arm['label']} is the start, unchanged{value}."
    span = f"{d['value']:+.3f} (95 % interval {d['low']:+.3f} to {d['high']:+.3f}, p {_p(arm['p_adjusted'])})"
    where = f"on the {WHERE[protocol]}" if protocol in WHERE else "in duels on unused inputs"
    if arm.get("seeds"):
        where += f", mean of {len(arm['seeds'])} seeds"
    return {
        "better": f"{arm['label']} is better than the start {where}: {span}.",
        "worse": f"{arm['label']} is worse than the start {where}: {span}.",
    }.get(str(arm["verdict"]), f"{arm['label']}: no evidence of a difference to the start {where}: {span}.")


def render(document: Mapping[str, Any]) -> str:
    """Return the report as one HTML page without any reference to the network."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters.update(visible=visible, cost=format_cost, p=_p)
    source = (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    start = document.get("start") or {"prompt": "", "score": None}
    arms = list(document["arms"])
    runs = [run for arm in arms for run in arm.get("seeds") or [arm]]
    return environment.from_string(source).render(
        doc={
            "helpers": {},
            "seeds": [],
            "hint": "",
            "notes": [],
            "command": "",
            "created": "",
            "version": "",
            **document,
        },
        start=start,
        arms=arms,
        runs=runs,
        seeds=seeds_of(document),
        over_seeds=OVER_SEEDS,
        diffs=[_diff_of(start["prompt"], r["prompt"]) for r in runs],
        sentences=[verdict_sentence(a, document.get("protocol", "holdout")) for a in arms],
        picture=picture(document),
        scale=_scale([s for s in (start.get("score"), *(a.get("score") for a in [*arms, *runs])) if s]),
        fold=FOLD,
        frame={"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    )


def _scale(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the common scale of the interval bars."""
    values = [v for s in scores for v in (s.get("low"), s.get("high"), s.get("value")) if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = max((high - low) * 0.08, 0.01)
    return {"low": low - pad, "width": max(high - low + 2 * pad, 1e-9)}


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write the report, whole or not at all; raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.part")
        staged.write_text(render(document), encoding="utf-8", errors="replace")
        os.replace(staged, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
