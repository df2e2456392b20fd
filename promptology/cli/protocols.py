"""protocol: how far what methods learn carries."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from promptology.cli.app import app
from promptology.cli.fitting import settings_by_method
from promptology.cli.options import Common, command_line, common, origin
from promptology.cli.several import more_tasks, nonce_of, say_budget
from promptology.cli.showing import Watcher, out, out_json
from promptology.errors import UsageError

PROTOCOL = """Learn from a few items a class, and test how far it carries: a table of methods, means over seeds.

base-to-novel: learn on the first half of the classes, test both halves, with their harmonic mean (--on NAME=SPEC gives
the new classes instead). few-shot: learn with 1, 2, 4, 8 and 16 items a class. cross-dataset: learn on --task, test on
it and on the tasks of --on. domain-shift: the same, with tasks of the same classes.

Examples: promptology protocol base-to-novel --task IMAGES/ --model hf:FOLDER_OR_ID --method zero-shot,linear-probe

promptology protocol domain-shift --task photos/ --on sketches=drawings/ --model hf:FOLDER_OR_ID --method coop,maple"""

LEFT_OUT = ("noise_floor", "seed")


@app.command(help=PROTOCOL)
@functools.partial(common, without=LEFT_OUT)
def protocol(
    shared: Common,
    name: Annotated[str, typer.Argument(metavar="base-to-novel|few-shot|cross-dataset|domain-shift")],
    method: Annotated[list[str], typer.Option("--method", help="Methods: A,B,C, or repeat it.")],
    on: Annotated[
        list[str], typer.Option("--on", metavar="NAME=SPEC", help="A further task to test on; may be repeated.")
    ] = [],  # noqa: B006
    shots: Annotated[
        str | None,
        typer.Option("--shots", metavar="K|A,B,C", help="Training items a class (default 16; few-shot: 1,2,4,8,16)."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="N|A,B,C", help="So many from 1 on, or these (default 1,2,3)."),
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="METHOD.FIELD=VALUE", help="Setting of one method.")
    ] = [],  # noqa: B006
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Where to write the report.")
    ] = None,
) -> None:
    """Measure generalisation."""
    from promptology import api

    shared.refuse_ray("protocol")
    methods = [one.strip() for given in method for one in given.split(",")]
    by_name = settings_by_method(settings, methods)
    task, model = shared.load(), shared.open(shared.model)
    first, *rest = more_tasks(shared, task, on, "--on").items()
    watcher, argv, nonce = Watcher(), sys.argv[1:], nonce_of(shared)
    say_budget(shared, model)
    try:
        result = api.protocol(
            name,
            first[1],
            model,
            methods,
            on=dict(rest),
            shots=_shots(shots),
            seeds=seeds,
            settings=by_name,
            helpers=shared.helpers(),
            prompt=shared.start(),
            system=shared.system,
            budget=shared.budget,
            observe=watcher.observe,
            progress=watcher.progress,
            command=command_line(argv),
            origin=origin(argv, nonce),
            **{**shared.options(), "nonce": nonce},
        )
    finally:
        watcher.close()
    report = result.report(out_file or result.folder / "report.html")
    if shared.json:
        return out_json({**result.document, "report": str(report)})
    out(str(result))
    out(f"\nreport  {report}")


def _shots(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,6}", part) for part in parts):
        raise UsageError(f"--shots {text!r} is not understood; give a number of items a class, or several (1,2,4)")
    return [int(part) for part in parts]
