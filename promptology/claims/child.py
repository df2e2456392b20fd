"""The process that measures one claim: `python -m promptology.claims.child MODULE`, the entry as JSON on its input.

It is a process of its own, so that a limit can be enforced by killing it and a crash takes nothing else with it. It
says on its output, one JSON document a line, how far it is and at the end what was measured; whatever else writes
there goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from promptology.claims.announced import Entry
from promptology.claims.measuring import Measurement, measurement
from promptology.claims.units import RecordedBench, Records, figures, mark
from promptology.errors import PromptologyError, UsageError

Say = Callable[[Mapping[str, Any]], None]


LONGEST = 500
"""Characters of a fault's line at most; all of it stands in the log."""


def main() -> int:
    """Measure the claim that the input names; returns 1 where it failed, having said why."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(document: Mapping[str, Any]) -> None:
        print(json.dumps(document), file=output, flush=True)

    where = ["before the first unit"]
    try:
        entry = Entry(**json.load(sys.stdin))
        importlib.import_module(sys.argv[1])
        measure(entry, measurement(entry.id), say, where)
    except BrokenPipeError:  # whoever started this is gone
        return 1
    except BaseException as error:
        traceback.print_exc()
        say({"fault": f"{where[0]}: {_line(error)}"})
        return 1
    return 0


def _line(error: BaseException) -> str:
    if isinstance(error, PromptologyError):
        return str(error)
    return " ".join("".join(traceback.format_exception_only(error)).split())[:LONGEST]


def measure(entry: Entry, how: Measurement, say: Say, where: list[str]) -> None:
    """Measure all units of an entry, seed by seed, and say what came of it. `where` tells the unit under way."""
    records = Records(entry, mark(how))
    bench = RecordedBench(records)
    units = [(arm, seed) for seed in range(entry.seeds) for arm in ([""] if how.together else entry.arms)]
    values: dict[str, dict[str, list[float]]] = {arm: {} for arm in entry.arms}
    seconds, used = 0.0, dict[str, float]()
    for done, (arm, seed) in enumerate(units, 1):
        where[0] = f"{arm}, seed {seed}" if arm else f"seed {seed}"
        path = records.unit(arm, seed)
        record = records.read(path)
        if record is None:
            record = _unit(entry, how, bench, arm, seed)
            records.write(path, record)
        for name, found in record["value"].items():
            for metric, figure in found.items():
                values[arm or name].setdefault(metric, []).append(figure)
        seconds += record["seconds"]
        used |= record["once"]
        say({"done": done, "total": len(units)})
    where[0] = "after the last unit"
    _complete(entry, values)
    say({"values": values, "seconds": round(seconds + sum(used.values()), 3)})


def _unit(entry: Entry, how: Measurement, bench: RecordedBench, arm: str, seed: int) -> dict[str, Any]:
    bench.used = {}
    began, making = time.process_time(), bench.making
    value = how.measure(arm, seed, bench) if arm else how.measure(seed, bench)
    spent = time.process_time() - began - (bench.making - making)
    found = {arm: value} if arm else value
    if not isinstance(found, Mapping) or set(found) != ({arm} if arm else set(entry.arms)):
        raise UsageError(f"measured the arms {', '.join(found)}; there are {', '.join(entry.arms)}")
    named = {name: figures(found[name], f"arm {name}") for name in entry.arms if name in found}
    return {
        "claim": entry.id,
        "arm": arm or "all",
        "seed": seed,
        "value": named,
        "seconds": round(spent, 3),
        "once": bench.used,
    }


def _complete(entry: Entry, values: Mapping[str, Mapping[str, list[float]]]) -> None:
    for arm, metrics in values.items():
        for metric, figures_ in metrics.items():
            if len(figures_) != entry.seeds:
                raise UsageError(f"arm {arm} has {metric} on {len(figures_)} of {entry.seeds} seeds")


if __name__ == "__main__":
    sys.exit(main())
