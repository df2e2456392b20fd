"""zoo: the embedded models: what there is, building one, measuring them, and what their data look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptology.cli.app import app
from promptology.cli.showing import Watcher, columns, out, out_json, say
from promptology.errors import UsageError

if TYPE_CHECKING:
    from promptology.zoo.recipes.checking import Checked

ZOO = """The embedded models: small real networks that every method can be tried on, with no network and no key.

Example: promptology evaluate --task wordland:topic --model zoo:word-t5"""
LIST = """List the embedded models, where they lie, and the kinds of tasks that go with them.

Examples: promptology zoo list

promptology zoo list --json"""
BUILD = """Train an embedded model from its recipe: fixed seed, generated data, no network.

A build that was interrupted goes on where it was. The model is there when it is whole. Without --out it becomes the
user's own zoo:NAME, which is used where the package has none; a build in a folder is opened by hf:FOLDER.

Examples: promptology zoo build word-mlm

promptology zoo build word-icl --out mine --threads 2"""
CHECK = """Measure what the embedded models can do, against the least that was asked of them.

A model below its bar is shown as it is. The exit code is 2 where a model is not there or not whole.

Examples: promptology zoo check

promptology zoo check word-mlm word-t5 --json"""
GALLERY = """Write a page of Toyland's pictures and of samples of every kind of Wordland's tasks.

Example: promptology zoo gallery --out gallery.html"""

zoo = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(zoo, name="zoo", help=ZOO)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@zoo.command(name="list", help=LIST)
def list_(as_json: Json = False) -> None:
    """List the models."""
    from promptology.data.generated import wordland_kinds
    from promptology.data.toyland import KINDS
    from promptology.zoo.folders import MODELS

    models, kinds = [_entry(name) for name in MODELS], wordland_kinds()
    if as_json:
        return out_json(
            {"models": models, "tasks": [*(f"wordland:{k}" for k in kinds), *(f"toyland:{k}" for k in KINDS)]}
        )
    rows = [["model", "class", "parameters", "weights", "what it does"]]
    for e in models:
        size = ("", "") if e["parameters"] is None else (f"{e['parameters']:,}", f"{e['bytes'] / 1e6:.1f} MB")
        rows.append([f"zoo:{e['name']}", e["class"], *size, e["says"]])
    lines = columns(rows)
    out(lines[0])
    for e, line in zip(models, lines[1:], strict=True):
        out(line)
        if e["where"] is None:
            out(f"  not there: promptology zoo build {e['name']}")
        else:
            out(f"  {e['fault'] or e['where'] + ' (' + e['origin'] + ')'}")
    out(
        f"\ntasks  wordland:KIND[?seed=0&train=200&validation=200&test=500&unlabeled=0], KIND one of {', '.join(kinds)}"
    )
    out("       toyland:KIND[?NAME=VALUE&...], pictures, KIND with its own parameters one of")
    for kind, known in KINDS.items():
        out(f"         {kind}: {', '.join(f'{name}={value}' for name, value in known.items())}")


def _entry(name: str) -> dict[str, Any]:
    from promptology.zoo.folders import MODELS, RELEASED, card, find, locate
    from promptology.zoo.recipes.cards import weight_bytes

    model, folder = MODELS[name], find(name)
    entry = {
        "name": name,
        "class": model.cls,
        "says": model.says,
        "parameters": None,
        "bytes": None,
        "where": str(folder) if folder else None,
        "origin": None if folder is None else "released" if folder == RELEASED / name else "built here",
        "fault": "",
    }
    try:
        about = card(locate(name), name)
        return {**entry, "parameters": about["parameters"], "bytes": weight_bytes(about)}
    except UsageError as error:
        return {**entry, "fault": str(error)}


@zoo.command(help=BUILD)
def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, see `promptology zoo list`.")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to put it; default: the user's own zoo.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Build it anew although it is there.")] = False,
    device: Annotated[
        str, typer.Option("--device", metavar="cpu|cuda", help="Default: a GPU where there is one.")
    ] = "",
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads of torch; 0: as torch chooses.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as one JSON document.")] = False,
) -> None:
    """Build a model."""
    from promptology.models.local.loading import pick_device, torch_modules
    from promptology.zoo.folders import known

    known(name)
    folder, card = _there(name, out_folder, again)
    if card is not None:
        return out_json(card) if as_json else say(f"{name} is there already: {folder}; --again builds it anew")
    torch, _ = torch_modules()
    if device:
        device = str(pick_device(device))
    from promptology.zoo.recipes import recipe
    from promptology.zoo.recipes.building import build as train

    if threads:
        torch.set_num_threads(threads)
    watcher = Watcher()
    try:
        card = train(name, folder, device=device, report=_progress(watcher, name, recipe(name).steps))
    finally:
        watcher.close()
    if as_json:
        return out_json(card)
    _show(card)
    out(f"\nfolder  {folder}")


def _there(name: str, out_folder: Path | None, again: bool) -> tuple[Path, dict[str, Any] | None]:
    """Return where a build goes, and the card of the model that is there and stays.

    Raises UsageError where one is there and is not whole, or where the released one would be used all the same.
    """
    from promptology.zoo.folders import CARD, RELEASED, card, check, find, own

    folder = out_folder or find(name) or own(name)
    if again and folder == RELEASED / name:
        raise UsageError(
            f"{name} is released with this package, and that one is used; --out FOLDER builds one of your own, "
            "which hf:FOLDER opens"
        )
    if again or not (folder.is_dir() if out_folder is None else (folder / CARD).is_file()):
        return folder, None
    check(folder, name)
    return folder, card(folder, name)


def _progress(watcher: Watcher, name: str, steps: int) -> Callable[[dict[str, float]], None]:
    def report(at: dict[str, float]) -> None:
        left = at["seconds"] / at["step"] * (steps - at["step"]) / 60
        watcher.bar.show(
            f"{name}  step {at['step']:,} of {steps:,}  loss {at['loss']:.3f}  right {at['accuracy']:.0%}  "
            f"stage {at['stage']}  {f'{left:.0f} min' if left >= 1 else '< 1 min'} left"
        )

    return report


def _show(card: dict[str, Any]) -> None:
    from promptology.zoo.recipes.cards import weight_bytes

    out(f"{card['name']}: {card['class']}, {card['parameters']:,} parameters, {weight_bytes(card) / 1e6:.1f} MB")
    out(f"trained in {card['training']['seconds'] / 60:.1f} minutes on {card['training']['device']}\n")
    for line in columns([HEAD, *_abilities(card["ability"], card["bar"])]):
        out(line)


HEAD = ["ability", "measured", "bar", "reached"]


def _abilities(ability: dict[str, float], bar: dict[str, float]) -> list[list[str]]:
    from promptology.zoo.recipes.cards import below

    short = below(ability, bar)
    names = [*bar, *(name for name in ability if name not in bar)]
    return [
        [
            name,
            f"{ability[name]:.3f}" if name in ability else "-",
            f"{bar[name]:.3f}" if name in bar else "",
            "" if name not in bar else "no" if name in short else "yes",
        ]
        for name in names
    ]


@zoo.command(help=CHECK)
def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models; default: all.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Write what was measured into the models' cards.")] = False,
    as_json: Json = False,
) -> int:
    """Measure the models."""
    from promptology.models.local.loading import torch_modules
    from promptology.zoo.folders import MODELS, known

    for name in names or []:
        known(name)
    torch_modules()
    from promptology.zoo.recipes.checking import check as measure

    watcher = Watcher(quiet=True)  # every opened model would say where it runs
    found = []
    try:
        for name in names or MODELS:
            watcher.bar.show(f"measuring {name}")
            found.append(measure(name, save=save))
    finally:
        watcher.close()
    if as_json:
        out_json({"models": [one.to_json() for one in found]})
    else:
        _show_checked(found)
    for one in found:
        if one.fault:
            say(f"promptology: {one.fault}")
    return 2 if any(one.fault for one in found) else 0


def _show_checked(found: list[Checked]) -> None:
    rows = [["model", *HEAD]]
    for one in found:
        if one.fault:
            rows.append([one.name, "not there" if "is not there" in one.fault else "not whole", "", "", "no"])
        rows += [[one.name, *row] for row in _abilities(dict(one.ability), dict(one.bar)) if not one.fault]
    for line in columns(rows):
        out(line)


@zoo.command(help=GALLERY)
def gallery(
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="Where to write it.")] = Path(
        "gallery.html"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of what is drawn.")] = 0,
) -> None:
    """Write the gallery."""
    from promptology.zoo.recipes.gallery import write

    write(out_file, seed)
    out(str(out_file))
