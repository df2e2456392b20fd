"""runs, resume, report: what was run, and how to go on."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app, run
from promptology.cli.showing import out, out_json
from promptology.errors import UsageError

RUNS = """List runs, newest first, or show one.

Examples: promptology runs

promptology runs 3fa9c1 --json"""
RESUME = """Continue a run that was interrupted; answered calls are not paid twice.

Example: promptology resume 3fa9c1"""
REPORT = """Write the HTML report of a finished run.

Example: promptology report 3fa9c1 --out report.html"""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or its beginning.")]


@app.command(name="runs", help=RUNS)
def runs_(
    id: Annotated[str | None, typer.Argument(metavar="RUN", help="Run id, or its beginning.")] = None,
    as_json: Json = False,
) -> None:
    """List runs."""
    from promptology.run.store import SQLiteStore, home

    store = SQLiteStore()
    try:
        rows = store.runs() if id is None else [_found(store, id)]
    finally:
        store.close()
    entries = [_entry(row) for row in rows]
    if as_json:
        return out_json({"home": str(home()), "runs": entries} if id is None else entries[0])
    if id is not None:
        return out("\n".join(f"{k:<9} {v}" for k, v in entries[0].items()))
    if not entries:
        return out(f"no runs in {home()}")
    out(f"{'run':<18}{'started':<18}{'status':<13}{'task':<16}{'method':<17}result")
    for e in entries:
        out(f"{e['run']:<18}{e['started']:<18}{e['status']:<13}{e['task'][:15]:<16}{e['method']:<17}{e['result']}")


def _entry(row: Any) -> dict[str, Any]:
    started = datetime.datetime.fromtimestamp(row.created).strftime("%Y-%m-%d %H:%M")
    return {
        "run": row.id,
        "started": started,
        "status": row.status,
        "task": row.spec["task"]["name"],
        "method": row.spec["method"],
        "models": row.spec["models"],
        "budget": row.spec["budget"],
        "seed": row.spec["seed"],
        "seconds": round(row.elapsed, 1),
        "result": row.result["evidence"] if row.result else "",
    }


def _found(store: Any, id: str) -> Any:
    row = store.run(id)
    if row is None:
        raise UsageError(f"no run {id!r}, or more than one begins so; see `promptology runs`")
    return row


@app.command(help=RESUME)
def resume(
    id: RunId,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again what failed.")] = False,
    as_json: Json = False,
) -> int:
    """Continue a run."""
    from promptology.run.store import SQLiteStore

    store = SQLiteStore()
    try:
        row = _found(store, id)
    finally:
        store.close()
    origin = row.spec.get("origin") or {}
    if not origin.get("argv"):
        raise UsageError(f"run {row.id} was started from Python; make the same call again and it continues")
    argv = list(origin["argv"])
    if argv[0] == "fit":
        argv += ["--expect", row.id] if "--expect" not in argv else []
        argv += ["--retry-failed"] if retry_failed and "--retry-failed" not in argv else []
    argv += ["--json"] if as_json and "--json" not in argv else []
    try:
        os.chdir(origin["cwd"])
    except OSError as error:
        raise UsageError(f"run {row.id} was started in {origin['cwd']}: {error.strerror}") from None
    return run(argv)


@app.command(help=REPORT)
def report(
    id: RunId,
    out_file: Annotated[Path | None, typer.Option("--out", metavar="FILE.html", help="Where to write it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document the report is made from.")] = False,
) -> None:
    """Write the report of a run."""
    from promptology.evidence.report import write
    from promptology.run.store import home

    folder = Path(id) if (Path(id) / "result.json").is_file() else _folder(home() / "runs", id)
    document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if as_json:
        return out_json(document)
    path = out_file or folder / "report.html"
    write(document, path)
    out(str(path))


def _folder(root: Path, id: str) -> Path:
    names = sorted(p.name for p in root.iterdir() if p.name.startswith(id)) if root.is_dir() else []
    if id in names:
        names = [id]
    if len(names) != 1 or os.sep in id:
        raise UsageError(f"no run {id!r}, or more than one begins so; see `promptology runs`")
    if not (root / names[0] / "result.json").is_file():
        raise UsageError(f"run {names[0]} is not finished; continue it with `promptology resume {names[0]}`")
    return root / names[0]
