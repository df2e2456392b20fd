"""From a recipe to a model folder: train, save in half precision, measure, write the card; all or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from promptology.zoo.recipes import recipe as recipe_of
from promptology.zoo.recipes.course import Course, Recipe, settings

CARD = "card.json"


def build(
    name: str,
    folder: Path,
    *,
    device: str = "",
    measure: bool = True,
    report: Callable[[dict[str, float]], None] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train a zoo model into `folder` and return its card.

    The folder appears whole at the end, in one move; until then the state lies beside it in `.NAME.building`, from
    which the same call goes on. `changes`: other values of the recipe's fields. Raises UsageError.
    """
    recipe = recipe_of(name)
    for key, value in changes.items():
        setattr(recipe, key, value)
    state = folder.with_name(f".{folder.name}.building")
    spent = time.process_time()
    course = Course(recipe, state, device=device, report=report)
    model = course.run()
    made = state / "model"
    shutil.rmtree(made, ignore_errors=True)
    save(recipe, model, made)
    card = {
        "name": name,
        "class": type(model).__name__,
        "says": recipe.says,
        "data": recipe.data,
        "recipe": settings(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training": {
            "device": course.device.type,
            "threads": torch.get_num_threads(),
            "seconds": round(course.seconds),
            "process_seconds": round(time.process_time() - spent),
            "torch": torch.__version__.partition("+")[0],
        },
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(made.iterdir())},
    }
    if measure:
        card["ability"] = recipe.ability(made)
        card["bar"] = dict(recipe.bars)
    (made / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    old = state / "old"
    if folder.exists():
        os.replace(folder, old)
    os.replace(made, folder)
    shutil.rmtree(state)
    return card


def save(recipe: Recipe, model: Any, folder: Path) -> None:
    """Write a model folder: half-precision safetensors, config and processors."""
    model.to("cpu", torch.float16).save_pretrained(folder)
    for processor in recipe.processors():
        processor.save_pretrained(folder)
