"""Result documents: plain JSON that the terminal table, the HTML report and `--json` are made from."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.fitting import Result
from promptology.evidence.measuring import Measured
from promptology.evidence.protocols import Evidence
from promptology.evidence.statistics import Interval, holm, verdict
from promptology.methods.registry import card_of
from promptology.run.cost import Cost


def score_of(interval: Interval | None, measured: Measured | None) -> dict[str, Any] | None:
    """Return a score entry, None where nothing was measured."""
    if interval is None:
        return None
    return {
        "value": _finite(interval.value),
        "low": _finite(interval.low),
        "high": _finite(interval.high),
        "n": interval.n,
        "missing": measured.missing if measured else 0,
        "parse_rate": _finite(measured.parse_rate) if measured else None,
    }


def arm_of(result: Result, label: str) -> dict[str, Any]:
    """Return one arm's entry."""
    evidence, pair = result.evidence, result.evidence.difference
    real = pair is not None and evidence.verdict != "start"
    phases = [e for e in result.ledger if e["phase"] == "evidence"]
    spent = Cost()
    for entry in phases:
        spent = spent.plus(Cost.from_json(entry["charged"]))
    paid = Cost()
    for entry in result.ledger:
        if entry["phase"] == "learning":
            paid = paid.plus(Cost.from_json(entry["paid"]))
    return {
        "method": result.method,
        "label": label,
        "run": result.run,
        "learns": card_of(result.method).learns,
        "prompt": result.learned.as_text(),
        "changed": not result.learned.same_as(result.start),
        "score": score_of(evidence.found, evidence.found_measured),
        "metrics": {name: _finite(value) for name, value in evidence.metrics.items()},
        "difference": _difference(evidence) if real else None,
        "p": _finite(pair.p) if real and pair else None,
        "p_adjusted": _finite(pair.p) if real and pair else None,
        "test": pair.test if real and pair else "",
        "verdict": evidence.verdict,
        "learning": result.learning.to_json(),
        "learning_paid": paid.to_json(),
        "evidence": spent.to_json(),
        "per_prediction": evidence.per_prediction.to_json(),
        "ledger": result.ledger,
        "history": result.history,
        "warnings": list(result.warnings),
        "seconds": result.elapsed,
    }


def _difference(evidence: Evidence) -> dict[str, Any] | None:
    pair = evidence.difference
    if pair is None:
        return None
    return {"value": _finite(pair.difference), "low": _finite(pair.low), "high": _finite(pair.high)}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def document(
    kind: str,
    task: Task,
    model: Any,
    results: Sequence[Result],
    *,
    budget: str,
    seed: int,
    helpers: Mapping[str, Any],
    command: str = "",
    labels: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the document of one fit or of a comparison; several tests against one start are corrected after Holm.

    `labels`: names of the arms, where the methods' own do not tell them apart.
    """
    from promptology import __version__

    arms = [arm_of(r, label) for r, label in zip(results, labels or [r.method for r in results], strict=True)]
    tested = [a for a in arms if a["p"] is not None]
    for arm, p in zip(tested, holm([a["p"] for a in tested]), strict=True):
        arm["p_adjusted"] = p
        evidence = next(r.evidence for r in results if r.run == arm["run"])
        if evidence.difference is not None:
            arm["verdict"] = verdict(evidence.difference, p)
    first = results[0]
    measured = next((r.evidence for r in results if r.evidence.start is not None), first.evidence)
    hints = [r.evidence.hint for r in results if r.evidence.hint]
    return {
        "kind": kind,
        "title": f"{task.name}: {', '.join(a['label'] for a in arms)}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "task": task_entry(task, max((r.evidence.openings for r in results), default=0)),
        "model": model_entry(model),
        "helpers": {role: str(m.name) for role, m in helpers.items()},
        "seed": seed,
        "budget": budget,
        "protocol": measured.protocol,
        "command": command,
        "start": {
            "prompt": first.start.as_text(),
            "score": score_of(measured.start, measured.start_measured),
        },
        "arms": arms,
        "hint": hints[0] if hints else "",
        "notes": [*notes, *dict.fromkeys(n for r in results for n in r.evidence.notes)],
    }


def write_document(doc: Mapping[str, Any], folder: Path) -> Path:
    """Write a document as result.json into a folder, whole or not at all, and return the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / ".result.json"
        staged.write_text(json.dumps(doc, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        staged.replace(folder / "result.json")
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from None
    return folder


def task_entry(task: Task, openings: int = 0) -> dict[str, Any]:
    """Return what a document says about the task."""
    sizes = {split: len(getattr(task, split)) for split in ("train", "validation", "test", "unlabeled")}
    return {
        "name": task.name,
        "metric": task.metric.name,
        "sizes": {split: n for split, n in sizes.items() if n},
        "classes": list(task.signature.class_names),
        "test_openings": openings,
    }


def model_entry(model: Any) -> dict[str, Any]:
    """Return what a document says about a model."""
    return {
        "name": str(model.name),
        "identity": str(getattr(model, "identity", model.name)),
        "simulated": bool(getattr(model, "simulated", False)),
    }
