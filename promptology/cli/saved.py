"""apply and export: using a saved prompt."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.options import function
from promptology.cli.showing import clean, out, out_json, say
from promptology.errors import UsageError

APPLY = """Apply a saved prompt to texts or to a CSV.

Examples: promptology apply prompts/mine --model minilm "my card was charged twice"

promptology apply prompts/mine --model openai:llama3@http://localhost:11434/v1 --input new.csv --text message
--out labelled.csv"""

EXPORT = """Export a saved prompt for use without this library.

Example: promptology export prompts/mine --to messages"""

Folder = Annotated[Path, typer.Argument(metavar="PROMPT_FOLDER", help="A saved prompt folder.")]


@app.command(help=APPLY)
def apply(
    folder: Folder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to apply it to.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="The model, as in fit.")] = "",
    input: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="FILE", help="CSV, TSV, JSON or JSONL file.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="COL[,COL]", help="Input columns, in the prompt's order.")
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.csv", help="Where to write; default: standard output."),
    ] = None,
    key_env: Annotated[str | None, typer.Option("--key-env", help="Environment variable that holds the key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Apply a saved prompt."""
    from promptology.api import apply as run_apply
    from promptology.models.opening import is_kind
    from promptology.models.opening import model as open_model
    from promptology.prompts.saving import load

    learned = load(folder)
    if not model:
        raise UsageError(f"apply needs --model; the prompt wants a model that {learned.roles.get('model')}")
    kind = model.partition(":")[0]
    opened = (
        open_model(model, **({"key_env": key_env} if key_env else {}))
        if kind == "openai"
        else open_model(model if ":" not in model or is_kind(model) else function(model))
    )
    fields = [f.name for f in learned.signature.fields]
    if input is None and not texts:
        raise UsageError("apply needs texts or --input FILE")
    rows = _rows(input, text, fields) if input is not None else [_named(t, fields) for t in texts or []]
    predictions = run_apply(learned, opened, [values for _, values in rows])
    if getattr(opened, "simulated", False):
        say("note: the model is simulated")
    if missing := sum(predictions.missing):
        say(f"note: {missing} of {len(rows)} answers are missing")
    results = [
        {**row, "prediction": output, **({"missing": True} if gone else {})}
        for (row, _), output, gone in zip(rows, predictions.outputs, predictions.missing, strict=True)
    ]
    if as_json:
        return out_json({"predictions": results, "cost": predictions.cost.to_json()})
    if input is None and out_file is None:
        for result in results:
            out("" if result["prediction"] is None else str(result["prediction"]))
        return
    _write(results, out_file)


def _named(value: str, fields: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(fields) != 1:
        raise UsageError(f"this prompt takes {len(fields)} fields ({', '.join(fields)}); give them with --input FILE")
    return {fields[0]: value}, {fields[0]: value}


def _rows(path: Path, text: str | None, fields: list[str]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each row of a file with the values of the prompt's fields."""
    from promptology.data.loaders import read_rows

    rows = read_rows(path)
    columns = [c.strip() for c in text.split(",")] if text else fields
    if len(columns) != len(fields):
        raise UsageError(f"--text names {len(columns)} columns; the prompt takes {len(fields)}: {', '.join(fields)}")
    there = list(rows[0])
    if lacking := [c for c in columns if c not in there]:
        raise UsageError(f"{path}: no column {', '.join(lacking)}; there are {', '.join(there)}; name them with --text")
    return [(row, {f: row[c] for f, c in zip(fields, columns, strict=True)}) for row in rows]


def _write(results: list[dict[str, Any]], path: Path | None) -> None:
    columns = list(dict.fromkeys(key for result in results for key in result))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    if path is None:
        sys.stdout.write(clean(text.getvalue()))
        return
    try:
        staged = path.with_name(f".{path.name}.part")
        staged.write_text(text.getvalue(), encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    say(f"{len(results)} rows written to {path}")


@app.command(help=EXPORT)
def export(
    folder: Folder,
    to: Annotated[str, typer.Option("--to", metavar="text|messages", help="Form of the export.")] = "text",
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write; default: standard output.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export a saved prompt."""
    from promptology.prompts.export import EXPORTS
    from promptology.prompts.saving import load

    if to not in EXPORTS:
        raise UsageError(f"unknown export {to!r}; there are {', '.join(EXPORTS)}")
    content = EXPORTS[to](load(folder))
    if as_json:
        return out_json({"to": to, "content": json.loads(content) if to == "messages" else content})
    if out_file is None:
        return out(content)
    try:
        out_file.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {out_file}: {error.strerror}") from None
