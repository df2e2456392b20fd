"""The record of a benchmark's run: one JSON file under `.bench/results`, and finding the one that counts."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.common import FOREIGN, NOISY, Session, busy_seconds, machine, own_seconds, settle
from benchmarks.environments import BENCH, ROOT, versions

RESULTS = BENCH / "results"


def source() -> str:
    """Return a short hash of the package's source: two records with one hash measured the same code."""
    digest = hashlib.blake2b(digest_size=5)
    for file in sorted((ROOT / "promptology").rglob("*.py")):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def recorded(
    session: Session, title: str, sides: Iterable[str], run: Callable[[Session], None], command: str, patience: float
) -> dict[str, Any]:
    """Run a benchmark and write its record; a benchmark that fails leaves none."""
    load = settle(session.say, patience)
    began, busy, own, clock = datetime.now(UTC), busy_seconds(), own_seconds(), time.monotonic()
    run(session)
    seconds = time.monotonic() - clock
    foreign = max(0.0, busy_seconds() - busy - (own_seconds() - own)) / seconds
    noisy = load > NOISY or foreign > FOREIGN
    record = {
        "benchmark": session.name,
        "title": title,
        "started": began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(seconds, 1),
        "command": command,
        "quick": session.quick,
        "repeats": session.repeats,
        "machine": machine(),
        "load": {"start": load, "end": os.getloadavg()[0], "foreign_cores": round(foreign, 3)},
        "noisy": noisy,
        "source": source(),
        "versions": {side: versions(side) for side in ("ours", *sides)},
        "equality": session.equality,
        "figures": session.figures,
        "notes": session.notes,
        "tables": session.tables,
        "plots": session.plots,
        "runs": session.runs,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    stamp = began.strftime("%Y%m%dT%H%M%SZ")
    (RESULTS / f"{session.name}-{stamp}{'-quick' if session.quick else ''}.json").write_text(
        json.dumps(record, indent=1)
    )
    if noisy:
        session.say(f"NOISY: load average {load:.2f} at the start, others used {foreign:.2f} cores")
    return record


def records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return all full records, oldest first; quick ones are for looking only."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return sorted((r for r in found if not r["quick"]), key=lambda r: r["started"])


def that_count(found: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the record that counts per benchmark: the newest quiet one, else the newest."""
    best: dict[str, dict[str, Any]] = {}
    for record in found:
        old = best.get(record["benchmark"])
        if old is None or old["noisy"] or not record["noisy"]:
            best[record["benchmark"]] = record
    return best
