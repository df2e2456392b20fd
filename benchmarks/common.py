"""What every benchmark shares: sides run in their own processes, interleaving, equality, the record of a run."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environments import ROOT, BenchError, interpreter
from benchmarks.faults import Weather
from benchmarks.items import CLASSES, Question
from benchmarks.ratios import Estimate

PROMPT = "Classify the message as billing, delivery, account or technical."
NOISY = 1.0  # load average above which a run counts as noisy
FOREIGN = 0.3  # cores that others may use during a run before it counts as noisy
Run = dict[str, Any]


class Bar(NamedTuple):
    """What a figure has to reach: `sign` is ≥ or ≤."""

    sign: str
    limit: float

    def met(self, value: float) -> bool:
        """Whether a figure reaches it."""
        return value >= self.limit if self.sign == "≥" else value <= self.limit


@dataclass
class Session:
    """One run of one benchmark: its settings, and everything that goes into its record."""

    name: str
    repeats: int = 7
    quick: bool = False
    method: str = "random-search"
    figures: list[dict[str, Any]] = field(default_factory=list)
    equality: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    plots: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Print a progress line to standard error."""
        print(f"{self.name}  {line}", file=sys.stderr, flush=True)

    def figure(self, what: str, found: Estimate | float, unit: str = "", bar: Bar | None = None) -> None:
        """Record a figure, with the bar that it has to reach where there is one."""
        estimate = found if isinstance(found, Estimate) else Estimate(found, found, found)
        met = bar.met(estimate.value) if bar else None
        sure = met is not None and bar is not None and bar.met(estimate.low) == bar.met(estimate.high)
        entry = {"what": what, **estimate.to_json(), "unit": unit, "bar": list(bar) if bar else None}
        self.figures.append({**entry, "met": met, "sure": sure})
        interval = "" if estimate.low == estimate.high else f" [{estimate.low:.4g}, {estimate.high:.4g}]"
        verdict = "" if bar is None else f"   bar {bar.sign} {bar.limit:g}: {'met' if met else 'NOT met'}"
        self.say(f"{what}: {estimate.value:.4g}{interval} {unit}{verdict}")

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Record a table that no bar stands on; the first column names its rows."""
        self.tables.append({"title": title, "head": list(head), "rows": [list(row) for row in rows]})

    def plot(self, title: str, x: str, y: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        """Record points that the page shows as lines over logarithmic axes; all numbers are above 0."""
        self.plots.append({"title": title, "x": x, "y": y, "series": {name: [*some] for name, some in series.items()}})

    def equal(self, what: str, sides: Mapping[str, Sequence[Any]]) -> None:
        """Record that all sides have the same values; raises BenchError where they differ: no timing without it."""
        (first, values), *others = sides.items()
        for name, given in others:
            differ = [n for n, (a, b) in enumerate(zip(values, given, strict=True)) if a != b]
            if differ:
                n = differ[0]
                raise BenchError(
                    f"{self.name}: {first} and {name} differ in {what} at {len(differ)} of {len(values)} places, "
                    f"first {n}: {values[n]!r} and {given[n]!r}"
                )
        line = f"{what}: {len(values)} equal ({', '.join(sides)})"
        if line not in self.equality:
            self.equality.append(line)
            self.say(line)

    def near(self, what: str, sides: Mapping[str, Sequence[float]], most: float) -> None:
        """Record that all sides have the same numbers up to `most`, relative to 1 or to the number where it is larger.

        Raises BenchError where they differ by more: no timing without it.
        """
        (first, values), *others = sides.items()
        worst = 0.0
        for name, given in others:
            off = [abs(a - b) / max(1.0, abs(a)) for a, b in zip(values, given, strict=True)]
            n = next((n for n, by in enumerate(off) if not by <= most), None)  # what is no number differs too
            if n is not None:
                raise BenchError(
                    f"{self.name}: {first} and {name} differ in {what} by {off[n]:.2g} at place {n}: "
                    f"{values[n]!r} and {given[n]!r}; at most {most:g} is allowed"
                )
            worst = max(worst, *off)
        line = f"{what}: {len(values)} equal to {worst:.1g}, at most {most:g} allowed ({', '.join(sides)})"
        self.equality.append(line)
        self.say(line)

    def interleave(self, label: str, sides: Sequence[str], once: Callable[[str], Run]) -> dict[str, list[Run]]:
        """Run the sides alternately, A B B A A B ..., and return the runs of each."""
        found: dict[str, list[Run]] = {name: [] for name in sides}
        for n in range(self.repeats):
            names = list(sides) if n % 2 == 0 else list(sides)[::-1]
            for name in names:
                found[name].append(once(name))
            shown = "  ".join(f"{name} {found[name][-1]['wall']:.2f} s" for name in sides)
            self.say(f"{label}  {n + 1}/{self.repeats}  {shown}")
        for name, runs in found.items():
            self.runs[f"{label}, {name}"] = [lean(run) for run in runs]
        return found


def lean(run: Run) -> Run:
    """Return a run without its long lists."""
    return {k: v for k, v in run.items() if not (isinstance(v, list | dict) and len(v) > 20)}


def column(runs: Sequence[Run], name: str) -> list[float]:
    """Return one figure of several runs."""
    return [float(run[name]) for run in runs]


def as_spec(questions: Sequence[Question], warm: Sequence[Question] = ()) -> dict[str, Any]:
    """Return questions, and some to warm up with, as a driver reads them."""
    return {
        "questions": [q._asdict() for q in questions],
        "warm": [q._asdict() for q in warm],
        "classes": list(CLASSES),
        "prompt": PROMPT,
    }


def clean_environment(side: str, home: Path) -> dict[str, str]:
    """Return the environment of a side: one thread, fixed hashing, no proxy, and every cache in its own folder."""
    keep = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    env = {k: os.environ[k] for k in keep if k in os.environ}
    folders = ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PROMPTOLOGY_HOME", "DSPY_CACHEDIR")
    env |= {name: str(home / name.lower()) for name in folders}
    env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if side == "ours":
        env["PYTHONPATH"] = str(ROOT)
    return env | {"PYTHONHASHSEED": "0", "NO_COLOR": "1", "NO_PROXY": "*", "OPENAI_API_KEY": "none"}


def run_side(side: str, do: str, spec: Mapping[str, Any], *, home: Path | None = None, limit: float = 600.0) -> Run:
    """Run one side in a new process and return what it measured, with the process's own figures.

    `home` keeps caches between runs; without it they are cold. Raises BenchError with its last words where it fails.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        spec_file = folder / "spec.json"
        spec_file.write_text(json.dumps({**spec, "do": do, "folder": str(folder)}))
        driver = ROOT / "benchmarks" / "drivers" / "driver.py"
        command = [str(interpreter(side)), "-P", str(driver), side, str(spec_file)]
        finished = watch(command, clean_environment(side, home or folder), limit)
        lines = finished["stdout"].strip().splitlines()
        if finished["code"] or not lines:
            words = [line for line in finished["stderr"].splitlines() if line.strip()][-1:]
            why = (
                f"took over {limit:g} s"
                if finished["code"] == -signal.SIGKILL
                else f"failed with code {finished['code']}"
            )
            raise BenchError(f"{side}, {do}: {why}: {' '.join(words)[:300]}")
        return {**json.loads(lines[-1]), "process": finished["process"]}


def watch(command: Sequence[str], env: Mapping[str, str], limit: float = 600.0) -> dict[str, Any]:
    """Run a command and return its output, its code, and what the kernel counted: seconds, processor, peak memory."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=tempfile.gettempdir()
        )
        timer = threading.Timer(limit, process.send_signal, [signal.SIGKILL])
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        counted = {"wall": seconds, "cpu": usage.ru_utime + usage.ru_stime}
        return {
            "stdout": out.read().decode("utf-8", "replace"),
            "stderr": err.read().decode("utf-8", "replace"),
            "code": process.returncode,
            "process": counted,
        }


class Server:
    """The local server, in its own process."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.url = f"{self.address}/v1"

    def become(self, weather: Weather) -> None:
        """Set how it behaves and clear its counters."""
        self._ask("/weather", json.dumps(weather.to_json()).encode())

    def stats(self) -> dict[str, Any]:
        """Return its counters since the weather was set."""
        return dict(json.loads(self._ask("/stats")))

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.address + path, body), timeout=30) as answer:
            return bytes(answer.read())


@contextmanager
def serving() -> Iterator[Server]:
    """Start the server, and end it with the block."""
    command = [sys.executable, str(ROOT / "benchmarks" / "server.py")]
    env = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                raise BenchError("the local server did not start")
            yield Server(json.loads(line)["port"])
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: cores, processor, memory, system."""
    model = ""
    with_name = Path("/proc/cpuinfo")
    if with_name.is_file():
        found = [line.split(":", 1)[1].strip() for line in with_name.read_text().splitlines() if "model name" in line]
        model = found[0] if found else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": model or platform.machine(),
        "memory_gb": round(memory),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def busy_seconds() -> float:
    """Return the processor seconds that the whole machine has used; 0 where that cannot be read."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    idle = int(fields[3]) + int(fields[4])
    return (sum(map(int, fields[:8])) - idle) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the processor seconds of this process and the children it has waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both)


def settle(say: Callable[[str], None], seconds: float) -> float:
    """Wait until the load average allows a quiet run, at most this long; return the load."""
    until = time.monotonic() + seconds
    said = False
    while (load := os.getloadavg()[0]) > NOISY and time.monotonic() < until:
        if not said:
            say(f"load average {load:.2f}: waiting up to {seconds:.0f} s for it to fall to {NOISY:g}")
            said = True
        time.sleep(2.0)
    return load
