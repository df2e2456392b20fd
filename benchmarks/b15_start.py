"""B15: import and --help in a new interpreter: seconds and peak memory, ours and every peer's."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import Bar, Run, Session, clean_environment, watch
from benchmarks.environments import PEERS as ALL
from benchmarks.environments import BenchError, interpreter
from benchmarks.ratios import median

TITLE = "import and --help in a new interpreter"
PEERS = tuple(name for name, peer in ALL.items() if not peer.heavy and not peer.name)
COMMANDS = {"inspect-ai": "inspect", "promptolution": "promptolution-experiment"}  # the others have none


def run(session: Session) -> None:
    """Measure; the empty interpreter's own time and memory are in every figure and shown beside them."""
    modules = {"ours": "promptology"} | {name: ALL[name].module for name in PEERS}
    imports = {f"import {module}": (side, ["-c", f"import {module}"]) for side, module in modules.items()}
    helps = {"promptology --help": ("ours", ["-m", "promptology", "--help"])}
    for name, command in COMMANDS.items():
        interpreter(name)
        helps[f"{command} --help"] = (name, [str(ALL[name].folder / "bin" / command), "--help"])
    work = {"empty interpreter": ("ours", ["-c", "pass"]), **imports, **helps}
    for side, arguments in work.values():
        once(side, arguments)  # writes the bytecode
    found = session.interleave("start", tuple(work), lambda what: once(*work[what]))
    memory = {what: peak_memory(*w) for what, w in work.items()}
    bars = {"import promptology": (Bar("≤", 0.15), Bar("≤", 35.0)), "promptology --help": (Bar("≤", 0.4), None)}
    for what, runs in found.items():
        seconds, megabytes = bars.get(what, (None, None))
        session.figure(what, median([one["wall"] for one in runs]), "s", seconds)
        session.figure(f"{what}, peak memory", memory[what], "MB", megabytes)
    session.notes.append(
        "the peers' environments hold what pip installs with the plain package: no torch, no transformers"
    )


SHIM = """
import atexit, runpy, sys
def told():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            sys.stderr.write("\\n" + line)
atexit.register(told)
kind, what, *sys.argv[1:] = sys.argv[1:]
if kind == "-c":
    exec(what)
elif kind == "-m":
    runpy.run_module(what, run_name="__main__", alter_sys=True)
else:
    sys.argv[0] = what
    runpy.run_path(what, run_name="__main__")
"""


def peak_memory(side: str, arguments: list[str]) -> float:
    """Return the peak memory in MB, told by the process itself: what wait4 says begins at the parent's."""
    given = arguments if arguments[0].startswith("-") else ["run", *arguments]
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        command = [str(interpreter(side)), "-c", SHIM, *given]
        finished = watch(command, clean_environment(side, Path(home)), 120.0)
    lines = [line for line in finished["stderr"].splitlines() if line.startswith("VmHWM:")]
    return int(lines[-1].split()[1]) / 1024 if lines else float("nan")


def once(side: str, arguments: list[str]) -> Run:
    """Start an interpreter once, return what it took."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        finished = watch([str(interpreter(side)), *arguments], clean_environment(side, Path(home)), 120.0)
        if finished["code"]:
            raise BenchError(f"{side}: {' '.join(arguments)} failed: {finished['stderr'].strip()[-200:]}")
        return dict(finished["process"])
