"""transfer: prompts across tasks and models, as a table and a heat map."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.options import Common, command_line, common, named, read_prompt
from promptology.cli.showing import Watcher, out, out_json, say
from promptology.errors import UsageError

TRANSFER = """Measure prompts on tasks and models: a matrix of scores with intervals, and a heat map.

A PROMPT is a saved folder, a text file or a text. Of several tasks and models every pair is a column; the budget is
over all of them. A prompt that a model cannot take is shown with the reason. NAME= gives a name of your own.

Examples: promptology transfer prompts/a prompts/b --task mine.csv --task yours.csv --model minilm

promptology transfer prompts/a "plain=Which queue?" --task tickets --model gpt=openai:gpt-4o-mini
--model local=openai:llama3@http://localhost:11434/v1 --budget 1000calls --out transfer.html"""

UNGUARDED = ("noise_floor", "max_prompt_tokens")
LEFT_OUT = (
    "task",
    "model",
    "test",
    "unlabeled",
    "teacher",
    "prompt",
    "system",
    "optimizer",
    "evidence_share",
    *UNGUARDED,
)


@app.command(help=TRANSFER)
@functools.partial(common, without=LEFT_OUT)
def transfer(
    shared: Common,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="Prompt folders, text files or texts.")],
    task: Annotated[
        list[str], typer.Option("--task", "-t", metavar="[NAME=]SPEC", help="A task, as in fit; may be repeated.")
    ],
    model: Annotated[
        list[str], typer.Option("--model", "-m", metavar="[NAME=]MODEL", help="A model, as in fit; may be repeated.")
    ],
    split: Annotated[str, typer.Option("--split", help="test (its opening is counted), validation or train.")] = "test",
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Where to write the heat map.")
    ] = None,
) -> None:
    """Measure prompts on tasks and models."""
    from promptology import api

    shared.refuse_ray("transfer")
    learned = given(prompts, "PROMPT", _prompt, lambda made, text: Path(text).name if _folder(text) else text[:40])
    tasks = given(task, "--task", lambda text: replace(shared, task=text).load(), lambda made, text: str(made.name))
    models = given(model, "--model", shared.open, lambda made, text: str(made.name))
    if shared.budget is None:
        say(f"note: no --budget given; every {split} item is asked once for each prompt and model")
    watcher = Watcher()
    try:
        grid = api.transfer(
            learned,
            tasks,
            models,
            split=split,
            budget=shared.budget,
            progress=watcher.progress,
            helpers=shared.helpers(),
            command=command_line(sys.argv[1:]),
            **shared.options(),
        )
    finally:
        watcher.close()
    if out_file is not None:
        grid.report(out_file)
    if shared.json:
        return out_json({**grid.document, **({"report": str(out_file)} if out_file else {})})
    out(str(grid))
    if out_file is not None:
        out(f"\nreport  {out_file}")


def given(texts: Sequence[str], option: str, make: Any, name: Any) -> Mapping[str, Any]:
    """Return what was given on the command line by name: the user's own, else the thing's, else the text itself."""
    made = [(own, text, make(text)) for own, text in named(texts, option)]
    names = [own or name(thing, text) for own, text, thing in made]
    names = [text if not own and names.count(n) > 1 else n for n, (own, text, _) in zip(names, made, strict=True)]
    if twice := [n for n in names if names.count(n) > 1]:
        raise UsageError(f"{option}: {twice[0]!r} stands twice; give one of them another name with NAME=...")
    return {n: thing for n, (_, _, thing) in zip(names, made, strict=True)}


def _folder(text: str) -> bool:
    from promptology.api.transferring import is_folder

    return is_folder(text)


def _prompt(text: str) -> Any:
    from promptology.prompts.saving import load

    return load(text) if _folder(text) else read_prompt(text)
