"""apply and export: using a saved prompt."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.functions import opened_views
from promptology.cli.options import opened
from promptology.cli.showing import Watcher, clean, out, out_json, say
from promptology.errors import UsageError

APPLY = """Apply a saved prompt to texts, images or a CSV.

Examples: promptology apply prompts/mine --model minilm "my card was charged twice"

promptology apply prompts/mine --model openai:llama3@http://localhost:11434/v1 --input new.csv --text message
--out labelled.csv

promptology apply prompts/animals IMAGES/ --model hf:FOLDER_OR_ID"""

EXPORT = """Export a saved prompt for use without this library.

Examples: promptology export prompts/mine --to messages

promptology export prompts/mine --to peft --base gpt2 --out adapters/mine

promptology export prompts/animals --to features --model hf:FOLDER_OR_ID --out animals.safetensors"""

Folder = Annotated[Path, typer.Argument(metavar="PROMPT_FOLDER", help="A saved prompt folder, or a PEFT folder.")]


@app.command(help=APPLY)
def apply(
    folder: Folder,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT|IMAGE|FOLDER]...", help="What to apply it to.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="The model, as in fit.")] = "",
    input: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="FILE", help="CSV, TSV, JSON, JSONL or Parquet file.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="COL[,COL]", help="Input columns, in the prompt's order.")
    ] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="COL", help="Input column of images.")] = None,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.csv", help="Where to write; default: standard output."),
    ] = None,
    rpm: Annotated[float | None, typer.Option("--rpm", help="Requests per minute at most.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Requests in flight at most (default 16).")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds until a request is hung (default 120).")
    ] = None,
    key_env: Annotated[str | None, typer.Option("--key-env", help="Environment variable that holds the key.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="Where a local model runs.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="What a local model computes in.")] = None,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Model that embeds, for a memory.")] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="Model that writes hints, for a prompt that has them written.")
    ] = None,
    views: Annotated[
        str | None, typer.Option("--views", metavar="module:function", help="What makes pictures of a picture.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Apply a saved prompt."""
    from promptology.api import apply as run_apply
    from promptology.cli.rows import given_rows
    from promptology.models.access import verb
    from promptology.predict.images import confidences
    from promptology.prompts.saving import load

    learned = load(folder)
    if not model:
        wanted = verb(learned.roles.get("model", "generates"))
        raise UsageError(f"apply needs --model; the prompt wants a model that {wanted}")
    settings = {"rpm": rpm, "workers": workers, "timeout": timeout, "key_env": key_env, "device": device}
    bound = opened(model, {**settings, "dtype": dtype})
    rows = given_rows(learned.signature, texts, input, text, image)
    watcher = Watcher()
    try:
        named = {"encoder": encoder, "policy": policy}
        helpers = {role: opened(source, {"device": device, "dtype": dtype}) for role, source in named.items() if source}
        helpers |= {"views": opened_views(views)} if views else {}
        given = [values for _, values in rows]
        predictions = run_apply(learned, bound, given, helpers=helpers, progress=watcher.progress)
    finally:
        watcher.close()
    if getattr(bound, "simulated", False):
        say("note: the model is simulated")
    if missing := sum(predictions.missing):
        say(f"note: {missing} of {len(rows)} answers are missing")
    results = [
        {**_shown(row), "prediction": output, **({"missing": True} if gone else {})}
        for (row, _), output, gone in zip(rows, predictions.outputs, predictions.missing, strict=True)
    ]
    for result, share in zip(results, confidences(learned, predictions), strict=False):
        result["confidence"] = round(share, 4)
    if as_json:
        return out_json({"predictions": results, "cost": predictions.cost.to_json()})
    for result in results:
        result["prediction"] = _as_text(result["prediction"], learned.signature)
    if input is None and out_file is None and not learned.signature.images:
        for result in results:
            out(result["prediction"])
        return
    _write(results, out_file)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is written beside its prediction: bytes (an image, say) by their size."""
    return {k: f"<{len(v)} bytes>" if isinstance(v, bytes) else v for k, v in row.items()}


def _as_text(prediction: Any, signature: Any) -> str:
    """Return a prediction as text: one class or text as itself, several in the form that the prompt asks for."""
    from promptology.prompts.outputs import answer_text

    if prediction is None:
        return ""
    # An order is shown by the candidates themselves: their numbers mean nothing away from the input.
    return answer_text(prediction, signature)


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
    if formulas := sum(_is_formula(value) for result in results for value in result.values()):
        say(f"note: {formulas} values begin as formulas do (=, +, -, @); import these columns as text in a spreadsheet")


def _is_formula(value: Any) -> bool:
    """Whether a spreadsheet would run a value; it is written as it is, for a CSV is data."""
    return isinstance(value, str) and bool(re.match(r"[=+\-@\t\r](?![\d.,\s]*$)", value))


@app.command(help=EXPORT)
def export(
    folder: Folder,
    to: Annotated[
        str, typer.Option("--to", metavar="text|messages|peft|features", help="Form of the export.")
    ] = "text",
    out_path: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE|FOLDER", help="Where to write; default: standard output (peft: needed)."),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", metavar="NAME", help="peft: the model that it belongs to, recorded in the folder.")
    ] = "",
    task_type: Annotated[
        str, typer.Option("--task-type", metavar="CAUSAL_LM|...", help="peft: its task type; default: by the prompt.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="features: the two-tower model that makes them.")
    ] = "",
    device: Annotated[str | None, typer.Option("--device", help="features: where the model runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export a saved prompt."""
    from promptology.prompts.export import export as write
    from promptology.prompts.saving import load

    if to == "features":
        return _features(load(folder), model, device, out_path, as_json)
    if model:
        raise UsageError(f"export to {to} asks no model; leave out --model")
    written = write(load(folder), to, out_path, base=base, task_type=task_type)
    if isinstance(written, str):
        if as_json:
            return out_json({"to": to, "content": json.loads(written) if to == "messages" else written})
        return None if out_path else out(written)
    if as_json:
        return out_json({"to": to, "folder": str(written.folder), "notes": list(written.notes)})
    say(f"PEFT folder written to {written.folder}")
    for note in written.notes:
        say(f"note: {note}")


def _features(learned: Any, model: str, device: str | None, path: Path | None, as_json: bool) -> None:
    """Write the matrix of class features."""
    from promptology.api.exporting import export_features

    if not model or path is None:
        raise UsageError("export to features needs the model that makes them and a file: --model MODEL --out FILE")
    watcher = Watcher()
    try:
        written = export_features(learned, opened(model, {"device": device}), path)
    finally:
        watcher.close()
    classes = learned.signature.class_names
    if as_json:
        return out_json({"to": "features", "file": str(written), "classes": list(classes)})
    say(f"features of {len(classes)} classes written to {written}")
