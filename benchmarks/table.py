"""Writes docs/benchmarks.md and its pictures from the records: nothing in them is written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT, BenchError
from benchmarks.plots import lines
from benchmarks.recording import records, source, that_count

PAGE = ROOT / "docs" / "benchmarks.md"
Record = Mapping[str, Any]

INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks table` from recorded runs. Do not edit.

Every figure is measured side by side in one run with the released peer, which has its own environment; *bare* is plain
code without any of both, and where no peer is named, ways of our own stand side by side. The sides take turns
(A B B A ...), each run in a new process; what is shown is the median, and ratios are ratios of medians, with a 95 %
bootstrap interval over the pairs of runs. Before anything is timed, both sides must give the same answers.
Imports, set-up and one warming call are outside the measured time. *Met* says whether the median reaches the bar,
*narrowly* that the interval reaches over it. A record is marked noisy where the machine was busy with
something else."""


def write(page: Path = PAGE) -> Path:
    """Write the page and return its path; raises BenchError where nothing has been recorded."""
    found = that_count(records())
    if not found:
        raise BenchError("nothing is recorded yet; run python -m benchmarks all")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text_of(found, source()))
    for record in found.values():
        for name, plot in plots_of(record).items():
            (page.parent / name).write_text(lines(plot), encoding="utf-8")
    return page


def text_of(found: Mapping[str, Record], now: str) -> str:
    """Return the page for the records that count, by benchmark; `now` is the hash of today's source."""
    ordered = sorted(found.values(), key=lambda r: place(r["benchmark"]))
    parts = [INTRODUCTION, summary(ordered), *(section(record, now) for record in ordered)]
    return "\n\n".join(parts) + "\n"


def place(name: str) -> tuple[float, str]:
    """Return what benchmarks are ordered by: their numbers, and then, of those without, their names."""
    return (float(name[1:]), "") if name[1:].isdecimal() else (math.inf, name)


def summary(found: list[Record]) -> str:
    """Return the table of all figures that have a bar."""
    lines = ["| | figure | measured | bar | met | date |", "|---|---|---|---|---|---|"]
    for record in found:
        for figure in record["figures"]:
            if figure["bar"]:
                noisy = " (noisy)" if record["noisy"] else ""
                cells = (record["benchmark"], figure["what"], shown(figure), bar_of(figure), met_of(figure))
                lines.append(f"| {' | '.join(cells)} | {record['started'][:10]}{noisy} |")
    return "\n".join(lines)


def section(record: Record, now: str) -> str:
    """Return one benchmark with everything that was recorded about it."""
    machine, load = record["machine"], record["load"]
    lines = [
        f"## {record['benchmark']}: {record['title']}",
        "",
        f"`{record['command']}`, {record['started'][:10]}, {record['repeats']} runs a side, {record['seconds']:.0f} s",
        "",
        "| figure | measured | bar | met |",
        "|---|---|---|---|",
        *(f"| {f['what']} | {shown(f)} | {bar_of(f)} | {met_of(f)} |" for f in record["figures"]),
        "",
        *(line for table in record.get("tables", ()) for line in lines_of(table)),
        *(f"![{plot['title']}]({name})\n" for name, plot in plots_of(record).items()),
        *(f"- checked first: {line}" for line in record["equality"]),
        *(f"- {note}" for note in record["notes"]),
        f"- versions: {versions_of(record['versions'])}",
        f"- machine: {machine['cores']} cores, {machine['processor']}, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}",
        f"- load average {load['start']:.2f} at the start; others used {load['foreign_cores']:.2f} cores"
        + (": **noisy**" if record["noisy"] else ""),
        f"- source {record['source']}" + ("" if record["source"] == now else ", not the present one"),
    ]
    return "\n".join(lines)


def plots_of(record: Record) -> dict[str, Mapping[str, Any]]:
    """Return the plots of a benchmark by the names of their files, which lie beside the page."""
    of = record["benchmark"].lower()
    return {f"benchmarks-{of}-{n}.svg": plot for n, plot in enumerate(record.get("plots", ()), 1)}


def lines_of(table: Mapping[str, Any]) -> list[str]:
    """Return a table with its title."""
    rows = [f"| {' | '.join(row)} |" for row in (table["head"], *table["rows"])]
    return [f"{table['title']}:", "", rows[0], "|---" * len(table["head"]) + "|", *rows[1:], ""]


def versions_of(versions: Mapping[str, Mapping[str, str]]) -> str:
    """Return the packages that matter, by side."""
    sides = (
        f"{side} ({', '.join(f'{name} {v}' for name, v in found.items() if name != 'python')})"
        for side, found in versions.items()
    )
    return "; ".join(sides)


def shown(figure: Mapping[str, Any]) -> str:
    """Return a figure with its interval and unit."""
    unit = f" {figure['unit']}" if figure["unit"] else ""
    if figure["low"] == figure["high"]:
        return f"{number(figure['value'])}{unit}"
    return f"{number(figure['value'])} [{number(figure['low'])}, {number(figure['high'])}]{unit}"


def number(value: float) -> str:
    """Return a number with three significant digits, large ones whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bar_of(figure: Mapping[str, Any]) -> str:
    """Return the bar."""
    return f"{figure['bar'][0]} {figure['bar'][1]:.3g}" if figure["bar"] else ""


def met_of(figure: Mapping[str, Any]) -> str:
    """Return whether the bar is met."""
    if figure["met"] is None:
        return ""
    narrowly = "" if figure["sure"] else ", narrowly"
    return ("yes" if figure["met"] else "**no**") + narrowly
