"""Tasks of the simulated worlds "trap" and "chain": parcels, each with a mark, and the gate through which it leaves.

The gate follows from number and mark by a rule that nobody can guess: a model needs the rule in its prompt.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from promptology.data.generated import SIZES, parameters
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.task import Task
from promptology.errors import UsageError

SIMULATED = "simulated:"
GATES = ("north", "east", "south", "west")
MARKS = (
    "fragile",
    "frozen",
    "heavy",
    "urgent",
    "hollow",
    "folded",
    "sealed",
    "striped",
    "rolled",
    "stacked",
    "tinted",
    "woven",
)
WORLD_MARKS: Mapping[str, tuple[str, ...]] = {"trap": MARKS[:5], "chain": MARKS}
"""Marks that occur in each world; each has a rule of its own."""
PARCEL = re.compile(r"Parcel (\d{4}) is marked (\w+)\.")
INSTRUCTION = "Name the gate through which a parcel leaves."
SPLITS: Mapping[str, int] = {"train": 70, "validation": 50, "test": 80}
"""Items of each split where no number is given."""


def gate(number: int, mark: str) -> str:
    """Return the gate of a parcel: as many further on from its number as the mark's place in MARKS."""
    return GATES[(number + MARKS.index(mark) + 1) % len(GATES)]


def parcels_task(source: str, name: str | None = None, metric: Any = None) -> Task:
    """Return the task of "simulated:trap" or "simulated:chain?seed=3&train=70&validation=50&test=80".

    Any of the parameters may be left out. No two parcels have the same number; the marks of a split are as equally
    frequent as they can be. Raises UsageError for an unknown world or parameter, or more than 9,000 items.
    """
    world, mark, rest = source.removeprefix(SIMULATED).partition("?")
    if world not in WORLD_MARKS:
        near = difflib.get_close_matches(world, WORLD_MARKS, 1, 0.5)
        hint = f"did you mean {SIMULATED + near[0]!r}? " if near else ""
        raise UsageError(f"unknown task {source!r}: {hint}simulated worlds with a task are {', '.join(WORLD_MARKS)}")
    asked = parameters(source, rest) if mark else {}
    rng = np.random.default_rng(asked.pop("seed", 0))
    sizes = {**dict.fromkeys(SIZES, 0), **SPLITS, **asked}
    if sum(sizes.values()) > 9000:
        raise UsageError(f"task {source!r}: there are 9000 parcels, and {sum(sizes.values())} were asked for")
    numbers = iter(rng.permutation(9000) + 1000)
    splits: dict[str, list[Item]] = {}
    for split, size in sizes.items():
        marks = WORLD_MARKS[world]
        drawn = [marks[i % len(marks)] for i in rng.permutation(size)]
        splits[split] = [_item(f"{split}-{n}", int(next(numbers)), m, split) for n, m in enumerate(drawn)]
    signature = Signature((Field("text"),), "class", tuple(ClassLabel(g) for g in GATES), INSTRUCTION)
    return Task(**splits, signature=signature, metric=metric, name=name or SIMULATED + world)  # type: ignore[arg-type]


def _item(id: str, number: int, mark: str, split: str) -> Item:
    target = None if split == "unlabeled" else gate(number, mark)
    return Item(id, {"text": f"Parcel {number} is marked {mark}."}, target)
