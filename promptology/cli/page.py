"""page: write in the browser with a method that learns from edits."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.fitting import Set
from promptology.cli.options import Common, assignments, common
from promptology.cli.several import say_budget
from promptology.cli.showing import say

PAGE = """Write in the browser with a method that learns from your edits.

You put in a text, the model writes a draft, you change it; what your changes say of your taste goes into the next
drafts of similar texts. You see what was learned, and change it.

Example: promptology page cipher --prompt "Write a short message from these notes."
--model openai:gpt-4o-mini --encoder minilm

Example: promptology page cipher --task letters.csv --text notes --label sent --model openai:llama3@http://localhost:11434/v1
--encoder minilm --session letters --set k=3 --budget 500calls

The page stands on this machine alone, at the address that is printed. The session is kept in a file that survives
whatever happens; the same command takes it up. The prompt as learned so far is saved after every round (--out, default
beside the session), and is used without the page by

promptology apply FOLDER --model openai:gpt-4o-mini --encoder minilm "a text" """

NOT_HERE = (
    *(
        "task",
        "test",
        "unlabeled",
        "metric",
        "readout",
        "optimizer",
        "judge",
        "teacher",
        "evidence_share",
        "workers",
        "missing",
    ),
    *("noise_floor", "max_prompt_tokens", "split_seed", "json"),
)


def page(
    shared: Common,
    method: Annotated[str, typer.Argument(help="Name of a method that learns from a person.")] = "cipher",
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="FILE|FOLDER|NAME",
            help="Whose input columns are put in and whose prompt is the start, as in fit; its rows are not used. "
            "Without it: the columns that --text names (default: text) and --prompt.",
        ),
    ] = None,
    settings: Set = [],  # noqa: B006
    session: Annotated[
        str | None,
        typer.Option(
            "--session", metavar="NAME|FILE.json", help="Session to begin or to take up; default: one a task."
        ),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where the prompt is saved as it is learned.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="127.0.0.1, localhost or ::1.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 takes any free one.")] = 0,
    open_browser: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the page in a browser; default: where there is a screen."),
    ] = None,
) -> None:
    """Serve the page until interrupted."""
    from promptology.web import page as serve

    given: Any = _task(shared, task)
    model = shared.open(shared.model)
    say_budget(shared, model)
    encoder = f" --encoder {shlex.quote(shared.encoder)}" if shared.encoder else ""
    options = {
        name: value for name, value in shared.options().items() if name in ("seed", "cache", "price", "sampling")
    }
    serve(
        given,
        model,
        method,
        helpers=shared.helpers(),
        prompt=shared.start(),
        system=shared.system,
        settings=assignments(settings),
        budget=shared.budget,
        session=session,
        out=out_folder,
        host=host,
        port=port,
        open_browser=_screen() if open_browser is None else open_browser,
        say=say,
        command=f"promptology apply --model {shlex.quote(shared.model)}{encoder}",
        **options,
    )


def _screen() -> bool:
    """Whether a browser with a window can be opened: none that would take over the terminal."""
    there = sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ})
    return there and sys.stderr.isatty()


def _task(shared: Common, task: str | None) -> Any:
    """Return the task that was named, else one that is only a prompt and its fields."""
    if task:
        # Where the inputs are named, no column need look like what is to be written.
        label = "" if shared.label is None and shared.text else shared.label
        return replace(shared, task=task, label=label).load()
    from promptology.data.items import Field, Signature
    from promptology.data.task import Task

    names = [name.strip() for name in (shared.text or "text").split(",")]
    return Task(signature=Signature(fields=tuple(Field(name) for name in names)), name="writing")


app.command(help=PAGE)(common(page, without=NOT_HERE))
