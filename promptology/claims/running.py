"""Running claims: each in a process of its own, under a time limit, to a result document with honest verdicts."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from promptology.claims.announced import Entry
from promptology.claims.measuring import Measurement, measurements
from promptology.claims.rules import Measured, evaluate, interval
from promptology.errors import UsageError
from promptology.methods.registry import catalogue
from promptology.places import home
from promptology.run.rows import no_place
from promptology.zoo.folders import find

REPRODUCED, NOT_REPRODUCED, MISSING, ERROR = "reproduced", "not reproduced", "fixture missing", "error"
PATIENCE = 10.0
"""Default limit of a claim: so many times the minutes of its entry, on the clock."""
LEAST = 5.0
"""Minutes that the default limit gives a claim at least."""
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}

Report = Callable[[str, Mapping[str, Any]], None]


def landed(entry: Entry, known: Mapping[str, Measurement]) -> bool:
    """Whether the method of an entry is part of this package."""
    return entry.method in catalogue() or entry.id in known


def run_claims(
    chosen: Sequence[Entry],
    *,
    limit: float | None = None,
    workers: int = 1,
    known: Mapping[str, Measurement] | None = None,
    report: Report | None = None,
) -> list[dict[str, Any]]:
    """Measure the entries whose method is landed, and return one result each, in their order.

    `limit`: minutes on the clock after which a claim is stopped (default: 10 times the minutes of its entry, 5 at
    least); what it measured is kept, and the next call goes on from there. `workers`: claims side by side. `known`:
    measurements by id, those of `claims/methods` where none are given. `report(event, values)` is told of "begin",
    "unit" and "end", from the threads that wait. A claim that fails is an "error" with its reason and never an
    exception. Raises StoreError where PROMPTOLOGY_HOME cannot be written.
    """
    known = measurements() if known is None else known
    there = [entry for entry in chosen if landed(entry, known)]
    tell = report or (lambda event, values: None)
    going: list[Process] = []
    stopped = threading.Event()

    def begin(process: Process) -> None:
        going.append(process)
        if stopped.is_set():  # it began while the others were being ended
            process.kill()

    def one(entry: Entry) -> dict[str, Any]:
        if stopped.is_set():
            return result(entry, ERROR, "stopped")
        tell("begin", {"id": entry.id})
        found = _claim(entry, known.get(entry.id), limit, begin, tell)
        tell("end", {"id": entry.id, "verdict": found["verdict"], "reason": found["reason"]})
        return found

    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            return list(pool.map(one, there))
        finally:
            stopped.set()
            for process in [*going]:
                process.kill()


def not_landed(chosen: Iterable[Entry], known: Mapping[str, Measurement] | None = None) -> list[dict[str, Any]]:
    """Return the entries whose method is not part of this package yet."""
    known = measurements() if known is None else known
    return [
        {"id": e.id, "method": e.method, "family": e.family, "says": e.says} for e in chosen if not landed(e, known)
    ]


def _claim(
    entry: Entry, how: Measurement | None, limit: float | None, begin: Callable[[Process], None], tell: Report
) -> dict[str, Any]:
    if how is None:
        return result(entry, ERROR, f"no file of claims/methods measures {entry.id!r}")
    for need in how.needs:
        if find(need) is None:
            return result(
                entry, MISSING, f"zoo model {need!r} is not there; build it with `promptology zoo build {need}`"
            )
    minutes = max(LEAST, PATIENCE * entry.minutes) if limit is None else limit
    process = Process(entry, how.measure.__module__, minutes)
    begin(process)
    try:
        values, seconds, fault = process.wait(lambda at: tell("unit", {"id": entry.id, **at}))
    finally:
        process.kill()
    if fault:
        return result(entry, ERROR, fault)
    try:
        return judged(entry, values, seconds)
    except UsageError as error:
        return result(entry, ERROR, str(error))


class Process:
    """A claim's process: what it says is read until it ends or its time is over."""

    def __init__(self, entry: Entry, module: str, minutes: float) -> None:
        self.minutes = minutes
        self.late = False
        self.log = home() / "claims" / f"{entry.id}.log"
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            errors = self.log.open("wb")
        except OSError as error:
            raise no_place(self.log.parent, error) from None
        with errors:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "promptology.claims.child", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the whole group
            )
        assert self._child.stdin
        with suppress(BrokenPipeError), self._child.stdin as given:
            json.dump(dataclasses.asdict(entry), given)

    def wait(self, step: Callable[[Mapping[str, Any]], None]) -> tuple[dict[str, Any], float, str]:
        """Return the values by arm and metric, processor seconds, and the reason where there are no values."""
        timer = threading.Timer(60 * self.minutes, self._end)
        timer.daemon = True
        timer.start()
        at: Mapping[str, Any] = {}
        said: dict[str, Any] = {}
        try:
            assert self._child.stdout
            for line in self._child.stdout:
                said = {}
                with suppress(ValueError):  # a line that the end of the process cut off
                    said = json.loads(line)
                if "done" in said:
                    at = said
                    step(at)
        finally:
            timer.cancel()
        code = self._child.wait()
        if "values" in said:
            self.log.unlink(missing_ok=True)
            return said["values"], float(said["seconds"]), ""
        if self.late:
            units = f"{at['done']} of {at['total']} units are" if at else "what was chosen is"
            return {}, 0.0, f"over its limit of {self.minutes:g} minutes; {units} kept, the same command goes on"
        if "fault" in said:
            return {}, 0.0, f"{said['fault']} (all of it: {self.log})"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return {}, 0.0, f"its process ended by {how}: {self._last_words()} (all of it: {self.log})"

    def _end(self) -> None:
        self.late = True
        self.kill()

    def kill(self) -> None:
        """End the process and all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def judged(entry: Entry, values: Measured, seconds: float) -> dict[str, Any]:
    """Return the result of an entry that was measured: values by arm and metric, one per seed."""
    terms = evaluate(entry.terms, values)
    verdict = REPRODUCED if all(term.holds for term in terms) else NOT_REPRODUCED
    found = result(entry, verdict, "", values, seconds)
    first = terms[0]
    return {
        **found,
        "value": first.value,
        "interval": [first.low, first.high],
        "terms": [term._asdict() for term in terms],
    }


def result(
    entry: Entry, verdict: str, reason: str, values: Measured | None = None, seconds: float = 0.0
) -> dict[str, Any]:
    """Return the result of an entry; without values, what is known of it all the same."""
    arms = {
        name: {"text": text, "placebo": name == entry.placebo, "metrics": _metrics((values or {}).get(name, {}))}
        for name, text in entry.arms.items()
    }
    return {
        "id": entry.id,
        "method": entry.method,
        "family": entry.family,
        "says": entry.says,
        "arms": arms,
        "metric": entry.metric,
        "value": None,
        "interval": None,
        "rule": entry.rule,
        "verdict": verdict,
        "seeds": entry.seeds,
        "seconds": seconds,
        "terms": [],
        "reason": reason,
    }


def _metrics(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, figures in values.items():
        mean, low, high = interval(figures)
        found[name] = {"mean": mean, "low": low, "high": high, "values": list(figures)}
    return found
