"""claims: measure again what the papers announce."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.showing import Watcher, columns, out, out_json, say
from promptology.errors import UsageError

if TYPE_CHECKING:
    from promptology.claims.announced import Entry

CLAIMS = """Measure what the papers announce: every arm on every seed, intervals over seeds, and a verdict.

Effects and rules were written down before any code and are never edited: "not reproduced" is a result like any other.
Each claim runs in a process of its own, on one thread, under a time limit. What was measured is kept in
PROMPTOLOGY_HOME: an interrupted command goes on from there, and nothing is measured twice while the code is the same.
The exit code is 2 where a claim ended in an error.

Examples: promptology claims --list

promptology claims spo

promptology claims --family soft --limit 60 --json"""


@app.command(help=CLAIMS)
def claims(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[METHOD]...", help="Methods, or ids of claims; default: all.")
    ] = None,
    family: Annotated[str, typer.Option("--family", metavar="NAME", help="Claims of this family only.")] = "",
    limit: Annotated[
        float | None,
        typer.Option(
            "--limit",
            metavar="MINUTES",
            help="Minutes after which a claim is stopped (default: 10 times those of its entry, 5 at least).",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Claims side by side.")] = 1,
    list_: Annotated[bool, typer.Option("--list", help="Show what is announced, and measure nothing.")] = False,
    save: Annotated[
        bool,
        typer.Option("--save", help="Write what was measured into the record of this checkout, each with its commit."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Measure claims."""
    from promptology.claims.announced import entries, select

    if limit is not None and not limit > 0:
        raise UsageError(f"--limit is a number of minutes above 0, not {limit:g}")
    chosen = select(entries(), names or [], family)
    if list_:
        _list(chosen, as_json)
        return 0
    document = _measured(chosen, limit, workers, save)
    if as_json:
        out_json(document)
    else:
        _show(document)
    for result in document["claims"]:
        if result["reason"]:
            say(f"promptology: {result['id']}: {result['reason']}")
    return 2 if any(result["verdict"] == "error" for result in document["claims"]) else 0


def _measured(chosen: Sequence[Entry], limit: float | None, workers: int, save: bool) -> dict[str, Any]:
    from promptology.claims import recording
    from promptology.claims.running import not_landed, run_claims

    if save:
        recording.must_take()
    rest = not_landed(chosen)
    progress = _Progress(len(chosen) - len(rest))
    try:
        results = run_claims(chosen, limit=limit, workers=workers, report=progress.tell)
    finally:
        progress.watcher.close()
    document = recording.document(results, rest)
    if save:
        kept = recording.save(document)
        say(f"recorded {', '.join(kept) or 'nothing'} in {recording.RECORD}; python scripts/claims_docs.py shows it")
    return document


class _Progress:
    """Says how far the claims are: a line where one begins and ends, a bar of those under way."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.watcher = Watcher()
        self._lock = threading.Lock()
        self._begun = 0
        self._going: dict[str, str] = {}

    def tell(self, event: str, values: Mapping[str, Any]) -> None:
        """Show an event; it may come from several threads."""
        with self._lock:
            name = values["id"]
            if event == "unit":
                self._going[name] = f"{name} {values['done']}/{values['total']}"
                self.watcher.bar.show("  ".join(self._going.values()))
                return
            self.watcher.bar.clear()
            if event == "begin":
                self._begun += 1
                self._going[name] = name
                say(f"[{self._begun}/{self.total}] {name}")
            else:
                self._going.pop(name, None)
                say(f"{name}: {values['verdict']}")


def _list(chosen: Sequence[Entry], as_json: bool) -> None:
    from promptology.claims.measuring import measurements
    from promptology.claims.recording import recorded
    from promptology.claims.running import landed

    known = measurements()
    verdicts = {r["id"]: r["verdict"] for results in recorded().values() for r in results}
    if as_json:
        found = [
            {
                "id": entry.id,
                "method": entry.method,
                "family": entry.family,
                "says": entry.says,
                "seeds": entry.seeds,
                "minutes": entry.minutes,
                "landed": landed(entry, known),
                "recorded": verdicts.get(entry.id),
            }
            for entry in chosen
        ]
        return out_json({"claims": found})
    rows = [["claim", "method", "family", "seeds", "minutes", "last recorded"]]
    for entry in chosen:
        state = verdicts.get(entry.id) or ("not recorded" if landed(entry, known) else "method not landed")
        rows.append([entry.id, entry.method, entry.family, str(entry.seeds), f"{entry.minutes:g}", state])
    for line in columns(rows):
        out(line)


def _show(document: Mapping[str, Any]) -> None:
    from promptology.claims.wording import arm_rows, counted, lasted, term_rows

    for result in document["claims"]:
        took = f" ({result['seeds']} seeds, {lasted(result['seconds'])})" if result["terms"] else ""
        out(f"{result['id']}: {result['verdict']}{took}")
        out(f"  {result['says']}")
        if result["reason"]:
            out(f"  {result['reason']}")
        if result["terms"]:
            out(f"  measured: {result['metric']}")
            for rows in (arm_rows(result), term_rows(result)):
                for line in columns(rows):
                    out(f"    {line}")
        out("")
    rest = document["not_landed"]
    methods = list(dict.fromkeys(entry["method"] for entry in rest))
    also = f"; announced of methods that are not there yet: {len(rest)} ({', '.join(methods)})" if rest else ""
    out(counted(document["claims"]) + also)
