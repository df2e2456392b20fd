"""The report: one self-contained HTML file, and the same table for the terminal. Model output is text, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptology.errors import UsageError
from promptology.evidence import pictures
from promptology.evidence.documents import FORMAT
from promptology.evidence.lineages import diff_of, stories
from promptology.evidence.pages import fill, write_page
from promptology.evidence.spending import areas
from promptology.evidence.trees import tree
from promptology.evidence.wording import figure, format_cost, format_p, span, visible, width

__all__ = ["format_cost", "format_table", "render", "visible", "write"]

RUNS = 12
"""Runs of one arm whose prompts, steps and curves are shown."""


def format_table(document: Mapping[str, Any]) -> str:
    """Return the table of a fit or a comparison as plain text."""
    head = ["method", "score", "95 % interval", "vs start", "p", "learning", "per prediction", "verdict"]
    rows = [_row(arm) for arm in document["arms"]]
    start = (document.get("start") or {}).get("score")
    if start and all(arm["verdict"] != "start" for arm in document["arms"]):
        rows.insert(0, ["(start)", figure(start), span(start), "", "", "", "", ""])
    cells = [[visible(c).replace("\n", " ") for c in row] for row in [head, *rows]]
    widths = [max(width(row[i]) for row in cells) for i in range(len(head))]
    lines = ["  ".join(c + " " * (w - width(c)) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "-" * min(max(map(width, lines)), 160))
    return "\n".join([*lines, "", *(visible(line) for line in _footer(document))])


def _row(arm: Mapping[str, Any]) -> list[str]:
    difference = arm.get("difference")
    return [
        str(arm.get("label") or arm["method"]),
        figure(arm.get("score")),
        span(arm.get("score")),
        f"{difference['value']:+.3f}" if difference and difference["value"] is not None else "",
        format_p(arm.get("p_adjusted")),
        format_cost(arm.get("learning")),
        format_cost(arm.get("per_prediction")),
        str(arm["verdict"]),
    ]


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


def verdict_sentence(arm: Mapping[str, Any], protocol: str) -> str:
    """Return the verdict on an arm in words."""
    score, d = arm.get("score"), arm.get("difference")
    if str(arm["verdict"]).startswith("not measured"):
        return f"There is no evidence about {arm['label']}: {arm['verdict']}."
    if arm["verdict"] == "start" or not d or not score:
        value = f", which scores {score['value']:.3f}" if score and score.get("value") is not None else ""
        return f"{arm['label']} is the start, unchanged{value}."
    reach = f"{d['value']:+.3f} (95 % interval {d['low']:+.3f} to {d['high']:+.3f}, p {format_p(arm['p_adjusted'])})"
    where = f"on the {WHERE[protocol]}" if protocol in WHERE else "in duels on unused inputs"
    if arm.get("seeds"):
        where += f", mean of {len(arm['seeds'])} seeds"
    return {
        "better": f"{arm['label']} is better than the start {where}: {reach}.",
        "worse": f"{arm['label']} is worse than the start {where}: {reach}.",
    }.get(str(arm["verdict"]), f"{arm['label']}: no evidence of a difference to the start {where}: {reach}.")


def render(document: Mapping[str, Any]) -> str:
    """Return the report as one HTML page without any reference to the network.

    Parts that an older document has no figures for are left out. Raises UsageError for a document of a newer version.
    """
    _check(document)
    start = {"prompt": "", "score": None, **(document.get("start") or {})}
    arms = [{**ARM, **arm} for arm in document["arms"]]
    runs = [[{**ARM, **run} for run in (arm.get("seeds") or [arm])[:RUNS]] for arm in arms]
    doc = {**DOCUMENT, **document, "arms": arms}
    doc["task"] = {"sizes": {}, "test_openings": 0, **document["task"]}
    doc["model"] = {"simulated": False, **document["model"]}
    start_name = "start" if arms else "this prompt"
    values = {
        "doc": doc,
        "start": start,
        "arms": arms,
        "runs": [run for group in runs for run in group],
        "seeds": seeds_of(document),
        "over_seeds": OVER_SEEDS,
        "start_name": start_name,
        "start_row": all(arm["verdict"] != "start" for arm in arms),
        "sentences": [verdict_sentence(a, doc["protocol"]) for a in arms],
        "diffs": [[diff_of(start["prompt"], run["prompt"]) for run in group] for group in runs],
        "groups": runs,
        "guards": _guards([(a["label"], a["guards"]) for a in arms] or [(start_name, document.get("guards"))]),
        "confusions": _confusions(
            [(start_name, start.get("confusion")), *((a["label"], a["confusion"]) for a in arms)]
        ),
        "ledgers": [(a["label"], a["ledger"]) for a in arms] or [(start_name, document.get("ledger") or [])],
        "stories": (tales := stories([arm["lineage"] for arm in arms])),
        "trees": [tree(tale) for tale in tales],
        "courses": [areas(arm["course"]) for arm in arms],
        "scale": _scale([start["score"], *(run["score"] for group in [arms, *runs] for run in group)]),
        "scatter": pictures.scatter(doc),
        "panels": pictures.panels(runs),
        "bars": pictures.ledger(arms or [{"label": start_name, "ledger": document.get("ledger")}]),
        "place": pictures,
    }
    return fill("report.html.j2", title=doc["title"], sections=_sections(values), **values)


def _check(document: Mapping[str, Any]) -> None:
    form, version = document.get("format", 1), document.get("version") or "of an unknown version"
    if not isinstance(form, int) or form > FORMAT:
        raise UsageError(
            f"this result was written by promptology {version} in form {form}, and this version knows form {FORMAT}: "
            "update promptology, then ask for the report again"
        )
    lacking = [name for name in ("title", "kind", "task", "model", "seed", "budget", "arms") if name not in document]
    lacking += [f"arms.{name}" for name in ("label", "verdict") for arm in document.get("arms", ()) if name not in arm]
    if lacking:
        raise UsageError(
            f"this result (promptology {version}) is no whole result document: {', '.join(dict.fromkeys(lacking))} "
            "missing; make the same call again, which writes it anew and pays nothing twice"
        )


DOCUMENT: Mapping[str, Any] = {
    "helpers": {},
    "seeds": [],
    "hint": "",
    "notes": [],
    "command": "",
    "created": "",
    "version": "",
    "protocol": "holdout",
    "agreement": None,
}
ARM: Mapping[str, Any] = {
    "prompt": "",
    "changed": True,
    "score": None,
    "difference": None,
    "p_adjusted": None,
    "test": "",
    "learning": None,
    "per_prediction": None,
    "ledger": [],
    "history": [],
    "spent": [],
    "steps": 0,
    "warnings": [],
    "curves": [],
    "lineage": None,
    "course": None,
    "flips": None,
    "confusion": None,
    "guards": None,
    "seeds": [],
    "details_of": None,
}
"""What a part of an older document may lack."""


def _sections(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return id and name of the sections that there is something to show in."""
    arms, start = values["arms"], values["start"]
    there = [
        ("scores", "Scores", True),
        ("seeds", "By seed", values["doc"]["seeds"]),
        ("trust", "Can it be trusted", values["guards"]),
        ("cost", "Score against cost", values["scatter"]),
        ("learning", "Learning curve", values["panels"]),
        ("agreement", "Agreement", values["doc"]["agreement"]),
        ("confusion", "Confusion", start.get("confusion") or any(a["confusion"] for a in arms)),
        ("flips", "Items that changed", any(a["flips"] for a in arms)),
        ("prompts", "Prompts", True),
        ("lineage", "Lineage", any(values["stories"])),
        ("ledger", "Ledger", values["bars"]),
        ("budget", "Budget over time", any(values["courses"])),
        ("history", "History", any(run["history"] for run in values["runs"])),
        ("notes", "Notes", True),
    ]
    return [(id, name) for id, name, shown in there if shown]


def _guards(some: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[tuple[str, dict[str, Any]]]:
    """Return what guards found, by arm, with all that they may say; arms about which there is nothing are left out."""
    found = []
    for label, guards in some:
        there = {name: (guards or {}).get(name) for name in GUARDS}
        if any(there.values()):
            found.append((label, {name: {**GUARDS[name], **said} if said else None for name, said in there.items()}))
    return found


GUARDS: Mapping[str, Mapping[str, Any]] = {
    "noise": {"floor": None, "note": ""},
    "selection": {"sealed": None},
    "leak": {"test": 0, "examples": []},
    "length": {},
}
"""What guards tell, and what of it an older document may lack."""


def _confusions(some: Sequence[tuple[str, Mapping[str, Any] | None]]) -> list[tuple[str, Any, bool]]:
    """Return name and counts of what has them, and whether they stand open: those with the fewest errors do."""
    there = [(name, counts) for name, counts in some if counts]
    least = min((counts["errors"] / counts["n"] for _, counts in there), default=0)
    best = next((counts for _, counts in there if counts["errors"] / counts["n"] == least), None)
    return [(name, counts, counts is best) for name, counts in there]


def _scale(scores: Sequence[Mapping[str, Any] | None]) -> dict[str, float]:
    """Return the common scale of the interval bars."""
    values = [v for s in scores if s for v in (s.get("low"), s.get("high"), s.get("value")) if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = max((high - low) * 0.08, 0.01)
    return {"low": low - pad, "high": high + pad, "width": max(high - low + 2 * pad, 1e-9)}


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write the report, whole or not at all; raises UsageError where it cannot be written."""
    write_page(render(document), path)
