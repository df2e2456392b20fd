"""runs, resume, report: what was run, and how to go on."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.showing import out, out_json
from promptology.errors import UsageError

RUNS = """List runs, newest first, and where they are stored; show one; delete.

Examples: promptology runs

promptology runs 3fa9c1 --json

promptology runs --delete 3fa9c1

promptology runs --delete all --answers

--delete takes away the run's rows and its folder with report and prompt; a prompt saved elsewhere (--out) stays. Its
answers stay too, for other runs would have to pay for them again; --answers deletes those that no other run used.
A run that is going on is never deleted, and how often a test split was opened stays counted."""
RESUME = """Continue a run that was interrupted; answered calls are not paid twice.

Example: promptology resume 3fa9c1"""
REPORT = """Write the HTML report of a finished run or comparison.

Examples: promptology report 3fa9c1 --out report.html

promptology report compare-3fa9c1

One file that needs no network. A result of an older version is shown without what it has no figures for."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or its beginning.")]


@app.command(name="runs", help=RUNS)
def runs_(
    id: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run id, or its beginning; all with --delete.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete this run, or all.")] = False,
    answers: Annotated[
        bool, typer.Option("--answers", help="With --delete: also the answers that no other run used.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List, show or delete runs."""
    from promptology.run.store import using_store

    if answers and not delete:
        raise UsageError("--answers goes with --delete")
    if delete and id is None:
        raise UsageError("--delete needs a run: its id, its beginning, or all")
    with using_store() as store:
        if delete:
            return _delete(store, str(id), answers, as_json)
        if id is not None:
            return _show(_entry(store, _found(store, id)), as_json)
        entries = [_entry(store, row) for row in store.runs()]
        place = {"where": store.where, **store.size()._asdict()}
    _list(entries, place, as_json)


def _show(entry: dict[str, Any], as_json: bool) -> None:
    out_json(entry) if as_json else out("\n".join(f"{k:<9} {v}" for k, v in entry.items()))


def _list(entries: list[dict[str, Any]], place: dict[str, Any], as_json: bool) -> None:
    from promptology.run.store import home

    if as_json:
        return out_json({"home": str(home()), "store": place, "runs": entries})
    if entries:
        out(f"{'run':<18}{'started':<18}{'status':<13}{'task':<16}{'method':<17}result")
    else:
        out("no runs")
    for e in entries:
        out(f"{e['run']:<18}{e['started']:<18}{e['status']:<13}{e['task'][:15]:<16}{e['method']:<17}{e['result']}")
    out(f"\nstore  {place['where']}  {_bytes(place['bytes'])}, {place['answers']:,} answers")
    out(f"files  {home() / 'runs'}")


def _bytes(n: int) -> str:
    size = float(n)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _delete(store: Any, id: str, answers: bool, as_json: bool) -> None:
    """Delete one run or all, rows and files; nothing is touched where one of them is going on."""
    from promptology.run.store import Freed, home

    rows = store.runs() if id == "all" else [_found(store, id)]
    runs, freed, files = home() / "runs", Freed(), 0
    for row in rows:
        with store.alone(row.id):
            pass
    for row in rows:
        with store.alone(row.id):
            freed = freed.plus(store.delete_run(row.id, answers and id != "all"))
            files += _remove(runs / row.id)
    if id == "all":
        files += sum(_remove(folder) for folder in runs.glob("compare-*"))
        freed = freed.plus(store.delete_unused()) if answers else freed
    if as_json:
        return out_json({"deleted": [row.id for row in rows], **freed._asdict(), "files": files})
    kept = "" if answers else "; answers are kept for other runs (--answers deletes them)"
    out(
        f"{freed.runs} {'run' if freed.runs == 1 else 'runs'} deleted: {freed.events:,} rows and "
        f"{freed.answers:,} answers of {_bytes(freed.bytes)}, files of {_bytes(files)}{kept}"
    )


def _remove(folder: Path) -> int:
    """Remove a folder and return how many bytes its files took."""
    import shutil

    try:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise UsageError(f"cannot delete {folder}: {error.strerror}") from None
    return size


def _entry(store: Any, row: Any) -> dict[str, Any]:
    started = datetime.datetime.fromtimestamp(row.created).strftime("%Y-%m-%d %H:%M")
    return {
        "run": row.id,
        "started": started,
        "status": _status(store, row),
        "task": row.spec["task"]["name"],
        "method": row.spec["method"],
        "models": row.spec["models"],
        "budget": row.spec["budget"],
        "seed": row.spec["seed"],
        "seconds": round(row.elapsed, 1),
        "result": str((row.result or {}).get("error" if row.status == "failed" else "evidence", "")),
    }


def _status(store: Any, row: Any) -> str:
    """Return a run's status; one whose process was killed could not say so itself."""
    if row.status != "running":
        return str(row.status)
    try:
        with store.alone(row.id):
            return "interrupted"
    except UsageError:
        return "running"


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
    from promptology.run.store import pin_places, using_store

    with using_store() as store:
        row = _found(store, id)
    origin = row.spec.get("origin") or {}
    if not origin.get("argv"):
        raise UsageError(f"run {row.id} was started from Python; make the same call again and it continues")
    argv = list(origin["argv"])
    if argv[0] == "fit":
        argv += ["--expect", row.id] if "--expect" not in argv else []
        argv += ["--retry-failed"] if retry_failed and "--retry-failed" not in argv else []
    argv += ["--json"] if as_json and "--json" not in argv else []
    pin_places()
    try:
        os.chdir(origin["cwd"])
    except OSError as error:
        raise UsageError(f"run {row.id} was started in {origin['cwd']}: {error.strerror}") from None
    code = app(args=argv, standalone_mode=False)
    return int(code or 0)


@app.command(help=REPORT)
def report(
    id: RunId,
    out_file: Annotated[Path | None, typer.Option("--out", metavar="FILE.html", help="Where to write it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document the report is made from.")] = False,
) -> None:
    """Write the report of a run."""
    from promptology.evidence import grids
    from promptology.evidence import report as reports
    from promptology.run.store import home

    folder = Path(id) if (Path(id) / "result.json").is_file() else _folder(home() / "runs", id)
    document = _read(folder / "result.json")
    if as_json:
        return out_json(document)
    path = out_file or folder / "report.html"
    (grids if "cells" in document else reports).write(document, path)
    out(str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({' '.join(str(error).split())}); make the same call again") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no result document; make the same call again")
    return document


def _folder(root: Path, id: str) -> Path:
    names = sorted(p.name for p in root.iterdir() if p.name.startswith(id)) if root.is_dir() else []
    if id in names:
        names = [id]
    if len(names) != 1 or os.sep in id:
        raise UsageError(f"no run {id!r}, or more than one begins so; see `promptology runs`")
    if not (root / names[0] / "result.json").is_file():
        whole = [
            p.parent.name
            for p in sorted(root.glob("compare-*/result.json"))
            if f'"{names[0]}"' in p.read_text(encoding="utf-8")
        ]
        if whole:
            raise UsageError(f"run {names[0]} belongs to a comparison; see `promptology report {whole[0]}`")
        raise UsageError(f"run {names[0]} is not finished; continue it with `promptology resume {names[0]}`")
    return root / names[0]
