"""Result documents: plain JSON that the terminal table, the HTML report and `--json` are made from."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.details import attach
from promptology.evidence.fitting import Result
from promptology.evidence.measuring import Measured
from promptology.evidence.seeds import mean_cost, pool, verdict_over
from promptology.evidence.statistics import Interval, Paired, holm, verdict
from promptology.methods.registry import card_of
from promptology.run.cost import Cost

FORMAT = 2
"""Number of the form of result documents, higher where an older version could not show them. Those before had none."""


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
        "difference": _difference(pair) if real else None,
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
        "guards": result.guards.to_json(),
        "seconds": result.elapsed,
        **({"curve": list(evidence.curve)} if evidence.curve else {}),
    }


def merged_arm(
    results: Sequence[Result], label: str, seeds: Sequence[int], task: Task
) -> tuple[dict[str, Any], Paired | None]:
    """Return one arm's entry over several seeds and its paired test; the entry of each seed is kept in `seeds`.

    Scores, costs and parse rate are means over seeds (counts rounded up), missing answers and the ledger sums. The
    prompt is the first seed's: nothing that the sealed test says may choose one.
    """
    rows = [{"seed": seed, **arm_of(r, f"{label}, seed {seed}")} for seed, r in zip(seeds, results, strict=True)]
    measured = [r for r in results if r.evidence.found is not None]
    pooled = pool(results, task.metric, np.random.default_rng(int(task.items_fingerprint(), 16) ^ seeds[0]))
    one = measured[0].evidence if measured else results[0].evidence
    score, pair = (pooled.score, pooled.difference) if pooled else (one.found, one.difference)
    same = all(r.evidence.verdict == "start" or r.evidence.found is None for r in results)
    rates = [rate for row in rows if row["score"] and (rate := row["score"]["parse_rate"]) is not None]
    gone = [(row["seed"], row["verdict"]) for row in rows if row["verdict"].startswith("not measured")]
    entry = {
        **{k: v for k, v in rows[0].items() if k != "seed"},
        "label": label,
        "changed": any(row["changed"] for row in rows),
        "score": score_of(score, None),
        "start": score_of(pooled.start if pooled else one.start, None),
        "metrics": _means([row["metrics"] for row in rows if row["score"]]),
        "difference": None if same else _difference(pair),
        "p": None if same or pair is None else _finite(pair.p),
        "p_adjusted": None if same or pair is None else _finite(pair.p),
        "test": "" if same or pair is None else pair.test,
        "verdict": verdict_over(results),
        **{name: mean_cost([Cost.from_json(row[name]) for row in rows]).to_json() for name in _COSTS},
        "ledger": _summed([entry for row in rows for entry in row["ledger"]]),
        "history": [],
        "warnings": _told([*gone, *((row["seed"], warning) for row in rows for warning in row["warnings"])]),
        "seconds": sum(row["seconds"] for row in rows),
        "seeds": rows,
    }
    if entry["score"]:
        entry["score"]["missing"] = sum(row["score"]["missing"] for row in rows if row["score"])
        entry["score"]["parse_rate"] = sum(rates) / len(rates) if rates else None
    return entry, pair


_COSTS = ("learning", "learning_paid", "evidence", "per_prediction")


def _told(warnings: Sequence[tuple[int, str]]) -> list[str]:
    """Return each warning once, with the seeds that gave it."""
    seeds: dict[str, list[int]] = {}
    for seed, text in warnings:
        seeds.setdefault(text, []).append(seed)
    return [f"seed{'s' if len(of) > 1 else ''} {', '.join(map(str, of))}: {text}" for text, of in seeds.items()]


def _means(entries: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each figure over seeds; None where one of them is not defined."""
    columns = {name: [e.get(name) for e in entries] for name in (entries[0] if entries else ())}
    return {n: None if None in v else sum(x for x in v if x is not None) / len(v) for n, v in columns.items()}


def _summed(ledger: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str], tuple[Cost, Cost]] = {}
    for entry in ledger:
        key = entry["role"], entry["phase"]
        charged, paid = sums.get(key, (Cost(), Cost()))
        sums[key] = charged.plus(Cost.from_json(entry["charged"])), paid.plus(Cost.from_json(entry["paid"]))
    return [
        {"role": role, "phase": phase, "charged": charged.to_json(), "paid": paid.to_json()}
        for (role, phase), (charged, paid) in sums.items()
    ]


def _difference(pair: Paired | None) -> dict[str, Any] | None:
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
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Return the document of one fit or of a comparison; several tests against one start are corrected after Holm.

    `labels`: names of the arms, where the methods' own do not tell them apart. `seeds`: those of the runs, which are
    then given arm by arm, each arm once per seed.
    """
    from promptology import __version__

    several = len(seeds) > 1
    names = labels or [r.method for r in results[:: len(seeds) or 1]]
    groups = [results[at : at + (len(seeds) or 1)] for at in range(0, len(results), len(seeds) or 1)]
    if several:
        tests = [merged_arm(group, label, seeds, task) for group, label in zip(groups, names, strict=True)]
    else:
        tests = [(arm_of(r, label), r.evidence.difference) for r, label in zip(results, names, strict=True)]
    arms = [arm for arm, _ in tests]
    tested = [(arm, pair) for arm, pair in tests if arm["p"] is not None and pair is not None]
    for (arm, pair), p in zip(tested, holm([arm["p"] for arm, _ in tested]), strict=True):
        arm["p_adjusted"], arm["verdict"] = p, verdict(pair, p)
    first = results[0]
    measured = next((r.evidence for r in results if r.evidence.start is not None), first.evidence)
    start = next((a["start"] for a in arms if a.get("start")), score_of(measured.start, measured.start_measured))
    hints = [r.evidence.hint for r in results if r.evidence.hint]
    doc = {
        "format": FORMAT,
        "kind": kind,
        "title": f"{task.name}: {', '.join(a['label'] for a in arms)}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "task": task_entry(task, max((r.evidence.openings for r in results), default=0)),
        "model": model_entry(model),
        "helpers": {role: str(m.name) for role, m in helpers.items()},
        "seed": seed,
        **({"seeds": list(seeds)} if several else {}),
        "budget": budget,
        "protocol": measured.protocol,
        "command": command,
        "start": {"prompt": first.start.as_text(), "score": start},
        "arms": arms,
        "hint": hints[0] if hints else "",
        "notes": [*notes, *dict.fromkeys(n for r in results for n in r.evidence.notes)],
    }
    attach(doc, task, groups)
    return doc


def write_document(doc: Mapping[str, Any], folder: Path) -> Path:
    """Write a document as result.json into a folder, whole or not at all, and return the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / ".result.json"
        text = json.dumps(doc, indent=1, ensure_ascii=False, allow_nan=False)
        # Half a character, as a model may write it, stays what it is: the escape is JSON too.
        staged.write_text(text, encoding="utf-8", errors="backslashreplace")
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
