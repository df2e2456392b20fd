"""evaluate, fit, compare."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.options import Common, assignments, command_line, common, origin
from promptology.cli.several import evaluate_several, fit_stages, more_tasks, nonce_of, say_budget
from promptology.cli.showing import Watcher, out, out_json, say
from promptology.errors import UsageError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would cost, call nothing.")]
Also = Annotated[
    list[str],
    typer.Option(
        "--also", metavar="NAME=SPEC", help="A further task: its score too, and the harmonic mean; may be repeated."
    ),
]
Set = Annotated[list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Setting of the method; may be repeated.")]

EVALUATE = """Measure one prompt: score with a 95 % interval, parse rate, cost; of images also the calibration error.

Example: promptology evaluate --task tickets.csv --text message --label queue
--model openai:llama3@http://localhost:11434/v1 --prompt prompt.txt

With --also a saved prompt is measured on further tasks too, bound to the classes of each, with the harmonic mean.

Example: promptology evaluate --prompt prompts/base --task base.csv --also novel=novel.csv --model minilm"""

FIT = """Learn a better prompt with one method, with evidence and a ledger.

Example: promptology fit --task tickets.csv --text message --label queue
--model openai:gpt-4o-mini --method spo --prompt prompt.txt --budget 300calls

A small model may do the task while a larger one writes the prompts: promptology fit --task tickets.csv --label queue
--model openai:gpt-4o-mini --optimizer openai:gpt-4o --method gepa --set metric_calls=500 --budget 1500calls

With --protocol prequential the training items are a stream: block by block they are predicted, the predictions are
stored, the labels open, and the method learns from all items seen so far. The score over the stream is the evidence.

Example: promptology fit --task log.csv --text message --label queue --model minilm --method linear-probe
--protocol prequential --blocks 10 --order file

With --protocol stages several tasks are learned one after another, --task first, and every task is scored after every
stage: average accuracy, backward and forward transfer, forgetting.

Example: promptology fit --task 2023.csv --protocol stages --stage 2024=2024.csv --stage 2025=2025.csv --model minilm
--method linear-probe"""

COMPARE = """Compare methods at equal budget on the same sealed items.

With --seeds every arm runs once per seed; its row is the mean, with an interval over seeds and items.

With --workers ray the runs are Ray tasks, on this machine or on the cluster that RAY_ADDRESS names. The results are
the same; runs that ask the same at the same time may each pay it, and --rpm is shared out among them.

Examples: promptology compare --task tickets --model minilm
--method manual,knn-demos,template-search

promptology compare --task tickets --model openai:gpt-4o-mini --method spo,random-search
--budget 500calls --seeds 3 --workers ray:4"""


@app.command(help=EVALUATE)
@common
def evaluate(
    shared: Common,
    split: Annotated[str, typer.Option("--split", help="test (its opening is counted), validation or train.")] = "test",
    also: Also = [],  # noqa: B006
) -> None:
    """Measure one prompt."""
    from promptology import api
    from promptology.evidence.guards import NOT_ASKED, OPENED, lines
    from promptology.evidence.report import format_cost
    from promptology.prompts.saving import is_prompt_folder, load

    shared.refuse_ray("evaluate")
    watcher = Watcher()
    task, model = shared.load(), shared.open(shared.model)
    if shared.budget is None:
        say(f"note: no --budget given; each of {len(getattr(task, split, ()))} {split} items is asked once")
    saved = shared.prompt is not None and is_prompt_folder(shared.prompt)
    prompt: Any = load(shared.prompt or "") if saved else shared.start()
    if also:
        return evaluate_several(shared, more_tasks(shared, task, also, "--also"), model, prompt, split)
    try:
        result = api.evaluate(
            task,
            model,
            prompt,
            system=shared.system,
            split=split,
            budget=shared.budget,
            progress=watcher.progress,
            helpers=shared.helpers(),
            command=command_line(sys.argv[1:]),
            **shared.options(),
        )
    finally:
        watcher.close()
    if shared.json:
        return out_json(result.document)
    s, m = result.score, result.measured
    tag = " (simulated model)" if result.document["model"]["simulated"] else ""
    name = next(iter(result.metrics))
    out(f"{name:<16} {s.value:.3f}   95 % interval {s.low:.3f} to {s.high:.3f}   {s.n} {split} items{tag}")
    for other, value in list(result.metrics.items())[1:]:
        out(f"{other:<16} {value:.3f}")
    out(f"{'parse rate':<16} {m.parse_rate:.3f}   {m.missing} missing")
    out(f"{'cost':<16} {format_cost(result.charged.to_json())}   paid now: {format_cost(result.paid.to_json())}")
    out(f"{'per prediction':<16} {format_cost(m.per_prediction.to_json())}")
    asked = result.guards.noise is not None or getattr(model, "local", False)
    said = [w for w in result.guards.warnings if OPENED not in w]
    for note in [*said, *lines(result.document["guards"]), *([] if asked else [NOT_ASKED])]:
        out(f"note: {note}")
    openings = result.document["task"]["test_openings"]
    if split == "test" and openings > 1:
        out(f"{'test openings':<16} {openings}: prompts chosen by this figure look better than they are")


@app.command(help=FIT)
@common
def fit(
    shared: Common,
    method: Annotated[str, typer.Option("--method", help="Name of a method, see `promptology methods`.")] = "spo",
    settings: Set = [],  # noqa: B006
    out_folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to save the prompt folder.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="holdout, duel, prequential or stages; default: what the labels allow."),
    ] = None,
    blocks: Annotated[
        int | None, typer.Option("--blocks", help="prequential: blocks that the stream is cut into (default 10).")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--order", metavar="seed|file", help="prequential: shuffled by --seed, or as it stands."),
    ] = None,
    stage: Annotated[
        list[str],
        typer.Option("--stage", metavar="NAME=SPEC", help="stages: a task learned after --task; may be repeated."),
    ] = [],  # noqa: B006
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what failed in an earlier process.")
    ] = False,
    expect: Annotated[str, typer.Option("--expect", hidden=True)] = "",
    dry_run: DryRun = False,
) -> None:
    """Learn a better prompt."""
    from promptology import api
    from promptology.evidence.report import format_table, write

    shared.refuse_ray("fit")
    if (protocol == "stages") != bool(stage):
        raise UsageError("--protocol stages and --stage NAME=SPEC go together: --task is learned first")
    if stage and (blocks is not None or order is not None):
        raise UsageError("--blocks and --order do not go with --protocol stages")
    if dry_run and protocol in ("stages", "prequential"):
        raise UsageError(f"--dry-run plans one fit and its evidence; it cannot plan --protocol {protocol}")
    task, model = shared.load(), shared.open(shared.model)
    if dry_run:
        return show_plan(shared, [_plan(shared, task, model, method, assignments(settings))])
    if stage:
        tasks = more_tasks(shared, task, stage, "--stage")
        more = {"retry_failed": retry_failed, "expect": expect, "out": out_folder, "settings": assignments(settings)}
        return fit_stages(shared, tasks, model, method, more)
    watcher = Watcher()
    argv, nonce = sys.argv[1:], nonce_of(shared)
    options = {**shared.options(), "nonce": nonce}
    say_budget(shared, model)
    try:
        result = api.fit(
            task,
            model,
            method,
            helpers=shared.helpers(),
            prompt=shared.start(),
            system=shared.system,
            budget=shared.budget,
            settings=assignments(settings),
            out=out_folder,
            observe=watcher.observe,
            progress=watcher.progress,
            command=command_line(argv),
            protocol=protocol,
            blocks=blocks,
            order=order,
            retry_failed=retry_failed,
            expect=expect,
            origin=origin(argv, nonce),
            **options,
        )
    finally:
        watcher.close()
    write(result.document, result.folder / "report.html")
    folder = out_folder or result.folder / "prompt"
    if shared.json:
        return out_json({**result.document, "prompt_folder": str(folder), "report": str(result.folder / "report.html")})
    out(format_table(result.document))
    _say_notes(result.document, model)
    out(f"\nprompt  {folder}\nreport  {result.folder / 'report.html'}")


@app.command(help=COMPARE)
@common
def compare(
    shared: Common,
    method: Annotated[list[str], typer.Option("--method", help="Methods to compare: A,B,C, or repeat it.")],
    settings: Annotated[
        list[str], typer.Option("--set", metavar="METHOD.FIELD=VALUE", help="Setting of one method.")
    ] = [],  # noqa: B006
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="N|A,B,C", help="Run every arm with N seeds from --seed on, or with these."),
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="Where to write the report.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Compare methods."""
    from promptology import api
    from promptology.api.running import parse_seeds
    from promptology.evidence.report import format_table, write

    method = [name.strip() for given in method for name in given.split(",")]
    by_name = settings_by_method(settings, method)
    known, runner = parse_seeds(seeds, shared.seed), shared.on_ray()
    task, model = shared.load(), shared.open(shared.model)
    if dry_run:
        return show_plan(shared, [_plan(shared, task, model, m, by_name.get(m, {})) for m in method], known)
    watcher = Watcher()
    argv, nonce = sys.argv[1:], nonce_of(shared)
    say_budget(shared, model)
    try:
        result = api.compare(
            task,
            model,
            method,
            helpers=shared.helpers(),
            prompt=shared.start(),
            system=shared.system,
            budget=shared.budget,
            settings=by_name,
            seeds=known,
            workers=runner,
            observe=watcher.observe,
            progress=watcher.progress,
            command=command_line(argv),
            origin=origin(argv, nonce),
            **{**shared.options(), "seed": known[0], "nonce": nonce},
        )
    finally:
        watcher.close()
    report = out_file or result.folder / "report.html"
    write(result.document, report)
    if shared.json:
        return out_json({**result.document, "report": str(report)})
    out(format_table(result.document))
    _say_notes(result.document, model, named=True)
    out(f"\nreport  {report}")


def _say_notes(document: Mapping[str, Any], model: Any, named: bool = False) -> None:
    """Print what is to be known about each arm; how often the test split was opened stands below the table already."""
    from promptology.evidence.guards import NOT_ASKED, OPENED, lines

    for arm in document["arms"]:
        seed = f"seed {arm['seeds'][0]['seed']}: " if arm.get("seeds") else ""
        said = [w for w in arm["warnings"] if OPENED not in w]
        for note in [*said, *(seed + line for line in lines(arm["guards"]))]:
            out(f"note: {arm['method']}: {note}" if named else f"note: {note}")
    unasked = all(arm["score"] and arm["guards"]["noise"] is None for arm in document["arms"])
    if unasked and document["protocol"] == "holdout" and not getattr(model, "local", False):
        out(f"note: {NOT_ASKED}")


def settings_by_method(settings: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings METHOD.FIELD=VALUE by method and field; raises UsageError for a method that is not run."""
    found: dict[str, dict[str, str]] = {}
    for name, value in assignments(settings).items():
        slug, dot, key = name.partition(".")
        if not dot or slug not in methods:
            raise UsageError(f"--set {name}: in a comparison write METHOD.FIELD=VALUE with one of {', '.join(methods)}")
        found.setdefault(slug, {})[key] = value
    return found


def _plan(shared: Common, task: Any, model: Any, method: str, settings: dict[str, str]) -> dict[str, Any]:
    from promptology import api

    return api.plan(
        task,
        model,
        method,
        settings=settings,
        prompt=shared.start(),
        system=shared.system,
        budget=shared.budget,
        **shared.options(),
    )


def show_plan(shared: Common, plans: list[dict[str, Any]], seeds: Sequence[int] = ()) -> None:
    """Print plans without running them; each is for one of the seeds."""
    from promptology.evidence.report import format_cost

    if shared.json:
        return out_json({"plans": plans, **({"seeds": list(seeds)} if len(seeds) > 1 else {})})
    if len(seeds) > 1:
        out(f"each method runs once with each of the seeds {', '.join(map(str, seeds))}; one of these runs:")
    for p in plans:
        learning = format_cost(p["learning"]) or "nothing" if p["learning"] else "not predicted by this method"
        out(f"{p['method']}: learning {learning}; evidence at most {format_cost(p['evidence_at_most'])}")
        out(f"  settings: {', '.join(f'{k}={v}' for k, v in p['settings'].items()) or 'none'}")
        items = p["evidence_items"]
        evidence = f"evidence on {items['test']} of {p['task']['sizes'].get('test', 0)} test items"
        part = p["affordable"]
        search = "" if part is None else "the whole search, " if part >= 1 else f"{100 * part:.0f} % of the search, "
        out(f"  budget {p['budget']}: {search}{evidence}, {items['validation']} validation items for the choice")
