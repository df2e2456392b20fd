"""From a recipe to a model folder: train, save in half precision, measure, write the card; all or nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from promptology.errors import PromptologyError, StoreError, UsageError
from promptology.run.locking import locked
from promptology.zoo.folders import CARD, README, sha256
from promptology.zoo.recipes import recipe as recipe_of
from promptology.zoo.recipes.cards import readme
from promptology.zoo.recipes.course import Course, Recipe, settings

Report = Callable[[dict[str, float]], None]


def build(
    name: str,
    folder: Path,
    *,
    device: str = "",
    measure: bool = True,
    report: Report | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train a zoo model into `folder` and return its card.

    The folder appears whole at the end, in one move, in place of an older one; until then the state lies beside it in
    `.NAME.building`, from which the same call goes on. `changes`: other values of the recipe's fields. `measure`: False
    leaves the abilities open, for `measured`. Raises UsageError for an unknown name or field, a place that holds
    something else, or a second build at the same place, ModelError where the loss is not finite, StoreError where the
    disk takes no more.
    """
    recipe = changed(recipe_of(name), changes)
    folder = folder.expanduser().resolve()
    if folder.exists() and not (folder / CARD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and is no model folder of the zoo; give another one")
    state = state_of(folder)
    taken = UsageError(f"{name} is being built in {folder} by another process; wait for it or stop it")
    try:
        with locked(state / "lock", taken):
            _put_back(folder, state)
            return _build(recipe, folder, state, device, measure, report)
    except (OSError, SafetensorError) as error:
        raise no_room(state, error) from None
    finally:
        with suppress(OSError):  # the state of a build that did not end, or another build that begins right now
            state.rmdir()


def state_of(folder: Path) -> Path:
    """Return where the state of a build lies until the folder is whole."""
    return folder.with_name(f".{folder.name}.building")


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Set fields of a recipe; raises UsageError for a field or kind of value that it has not."""
    for key, value in changes.items():
        if key not in settings(recipe):
            raise UsageError(f"recipe {recipe.name} has no field {key!r}; there are {', '.join(settings(recipe))}")
        before = getattr(recipe, key)
        given = tuple(value) if isinstance(before, tuple) and isinstance(value, list) else value
        given = float(given) if isinstance(before, float) and isinstance(given, int) else given
        if type(given) is not type(before):
            raise UsageError(f"recipe {recipe.name}: {key} takes values such as {before!r}, not {value!r}")
        setattr(recipe, key, given)
    return recipe


def _build(
    recipe: Recipe, folder: Path, state: Path, device: str, measure: bool, report: Report | None
) -> dict[str, Any]:
    course = Course(recipe, state, device=device, report=report)
    model = course.run()
    made = state / "model"
    shutil.rmtree(made, ignore_errors=True)
    save(recipe, model, made)
    card = {
        "name": recipe.name,
        "class": type(model).__name__,
        "says": recipe.says,
        "data": recipe.data,
        "recipe": settings(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training": {
            "device": course.device.type,
            "threads": torch.get_num_threads(),
            "seconds": round(course.seconds),
            "process_seconds": round(course.process_seconds),
            "torch": torch.__version__.partition("+")[0],
        },
        "files": {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(made.iterdir())},
        "ability": recipe.ability(made) if measure else {},
        "bar": dict(recipe.bars),
        "limits": recipe.limits,
    }
    write_card(card, made)
    if folder.exists():
        os.replace(folder, state / "old")
    os.replace(made, folder)
    shutil.rmtree(state / "old", ignore_errors=True)
    for left in state.iterdir():
        if left.name != "lock":
            left.unlink()
    return card


def save(recipe: Recipe, model: Any, folder: Path) -> None:
    """Write a model folder: half-precision safetensors, config and processors."""
    model.to("cpu", torch.float16).save_pretrained(folder)
    for processor in recipe.processors():
        processor.save_pretrained(folder)


def measured(folder: Path, card: Mapping[str, Any], ability: Mapping[str, float]) -> dict[str, Any]:
    """Write abilities, and the words and bars of today's recipe, into card and README; return the card."""
    recipe = recipe_of(card["name"])
    texts = {"says": recipe.says, "data": recipe.data, "limits": recipe.limits}
    new = {**card, **texts, "ability": dict(ability), "bar": dict(recipe.bars)}
    try:
        write_card(new, folder)
    except OSError as error:
        raise no_room(folder, error) from None
    return new


def write_card(card: Mapping[str, Any], folder: Path) -> None:
    """Write the card, and the README made from it, each whole or not at all."""
    texts = {CARD: json.dumps(card, indent=2, ensure_ascii=False) + "\n", README: readme(card)}
    for name, text in texts.items():
        draft = folder / f".{name}.part"
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, folder / name)
        finally:
            draft.unlink(missing_ok=True)


def _put_back(folder: Path, state: Path) -> None:
    """Undo a replacement that a kill cut in half: the older folder was moved away and the new one not yet here."""
    old = state / "old"
    if old.is_dir() and not folder.exists():
        os.replace(old, folder)
    shutil.rmtree(old, ignore_errors=True)


def no_room(folder: Path, error: Exception) -> PromptologyError:
    """Return the error of a disk that takes no more, or of a folder that may not be written."""
    why = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
    where = getattr(error, "filename", None) or folder
    return StoreError(
        f"{where}: {why}; free some space or take another folder; the same command goes on from the last state"
    )
