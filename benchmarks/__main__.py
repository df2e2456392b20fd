"""The command: `python -m benchmarks B1`, `all`, `table`, `setup`, `list`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import Any

from benchmarks.common import Session
from benchmarks.environments import PEERS, BenchError, make
from benchmarks.recording import recorded, records, source, that_count

WHERE = {
    "B0": "b00_server",
    "B1": "b01_calls",
    "B2": "b02_calls",
    "B3": "b03_rough",
    "B4": "b04_warm",
    "B5": "b05_overhead",
    "B6": "b06_budget",
    "B8": "b08_search",
    "B9": "b09_selection",
    "B10": "b10_soft_prompts",
    "B11": "b11_clip_prompts",
    "B12": "b12_cocoop",
    "B13": "b13_scoring",
    "B15": "b15_start",
    "B16": "b16_samples",
    "B18": "b18_prefixes",
    "B19": "b19_dept",
    "B20": "b20_behind",
    "B21": "b21_buckets",
    "B22": "b22_tenants",
    "B23": "b23_long",
    "B24": "b24_test_time",
    "B25": "b25_class_memory",
}
EXAMPLES = """examples:
  python -m benchmarks setup              make the peers' environments under .bench/envs
  python -m benchmarks B1                 one benchmark, 7 repeats
  python -m benchmarks B1 B2 --quick      two repeats of less work, to see that it runs
  python -m benchmarks all --missing      all that have no quiet record of this source yet
  python -m benchmarks table              write docs/benchmarks.md from the records
"""


def main() -> int:
    """Do what the command line says; return the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, epilog=EXAMPLES, formatter_class=form)
    parser.add_argument("what", nargs="+", help="benchmarks (B1 ...), or one of: all, table, setup, list")
    parser.add_argument("--repeats", type=int, default=None, help="runs of each side (default 7; 2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="less work; its figures never reach the table")
    parser.add_argument("--json", action="store_true", help="print the records")
    parser.add_argument("--missing", action="store_true", help="leave out what has a quiet record of this source")
    parser.add_argument("--settle", type=float, default=90.0, help="seconds to wait for a quiet machine (default 90)")
    parser.add_argument("--method", default="random-search", help="our method in B5 and B6 (default random-search)")
    options = parser.parse_args()
    try:
        return act(options)
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: stopped; what was recorded is kept, --missing goes on", file=sys.stderr)
        return 130


def act(options: argparse.Namespace) -> int:
    """Do one of the actions."""
    first = options.what[0]
    if first == "setup":
        return set_up(options.what[1:])
    if first == "list":
        for name in WHERE:
            module = importlib.import_module(f"benchmarks.{WHERE[name]}")
            print(f"{name:4} {module.TITLE}  ({', '.join(module.PEERS) or 'no peer'})")
        return 0
    if first == "table":
        from benchmarks.table import write

        print(write())
        return 0
    names = list(WHERE) if first == "all" else [w.upper() for w in options.what]
    unknown = [name for name in names if name not in WHERE]
    if unknown:
        raise BenchError(f"there is no {unknown[0]}; there are {', '.join(WHERE)}, all, table, setup and list")
    if options.repeats is not None and options.repeats < 1:
        raise BenchError(f"--repeats is {options.repeats}; it must be at least 1")
    done = quiet() if options.missing else set()
    made = [one(name, options) for name in names if name not in done]
    if options.json:
        print(json.dumps(made, indent=1))
    return 0


def quiet() -> set[str]:
    """Return the benchmarks that have a quiet record of the present source."""
    now = source()
    return {name for name, r in that_count(records()).items() if not r["noisy"] and r["source"] == now}


def one(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one benchmark and return its record."""
    module = importlib.import_module(f"benchmarks.{WHERE[name]}")
    session = Session(name, options.repeats or (2 if options.quick else 7), options.quick, options.method)
    command = f"python -m benchmarks {name}" + (f" --repeats {session.repeats}" if session.repeats != 7 else "")
    command += f" --method {session.method}" if session.method != "random-search" else ""
    session.say(module.TITLE)
    return recorded(session, module.TITLE, module.PEERS, module.run, command, 0.0 if options.quick else options.settle)


def set_up(names: list[str]) -> int:
    """Make the environments that were named, or all of them."""
    for name in names or list(PEERS):
        if name not in PEERS:
            raise BenchError(f"there is no peer {name}; there are {', '.join(PEERS)}")
        make(PEERS[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
