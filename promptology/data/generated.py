"""Tasks that are made up on the spot: "wordland:KIND", text tasks in everyday words with as many items as one likes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.task import Task
from promptology.errors import UsageError

if TYPE_CHECKING:
    from promptology.zoo.wordland.kind import Kind

WORDLAND = "wordland:"
SIZES: Mapping[str, int] = {"train": 200, "validation": 200, "test": 500, "unlabeled": 0}
"""Items of each split where no number is given."""
MOST = 100_000
"""Items of a split at most."""


def wordland_kinds() -> tuple[str, ...]:
    """Return the names of the kinds of text tasks, in alphabetical order."""
    from promptology.zoo.wordland.kinds import KINDS

    return tuple(KINDS)


def wordland_task(source: str, name: str | None = None, metric: Any = None) -> Task:
    """Return the task of "wordland:KIND", or of "wordland:KIND?seed=3&train=64&validation=100&test=500&unlabeled=600".

    Any of the parameters may be left out: seed 0, and the sizes in SIZES. One seed gives the same items always, and an
    earlier split does not depend on the size of a later one. No embedded model was trained on any of these items. The
    instruction is the first wording of the kind that pre-training used. Kinds without fixed classes have texts as
    answers; an item's choices, where it has some, are in `meta["options"]`.
    Raises UsageError for an unknown kind or parameter, and where a kind has not so many different items.
    """
    from promptology.zoo.wordland.kinds import KINDS

    kind_name, mark, rest = source.removeprefix(WORDLAND).partition("?")
    if kind_name not in KINDS:
        near = difflib.get_close_matches(kind_name, KINDS, 1, 0.5)
        hint = f"did you mean {WORDLAND + near[0]!r}? " if near else ""
        raise UsageError(f"unknown task {source!r}: {hint}kinds of Wordland are {', '.join(KINDS)}")
    asked = parameters(source, rest) if mark else {}
    seed = asked.pop("seed", 0)
    return kind_task(KINDS[kind_name], seed, {**SIZES, **asked}, name or WORDLAND + kind_name, metric)


def kind_task(kind: Kind, seed: int, sizes: Mapping[str, int], name: str = "", metric: Any = None) -> Task:
    """Return the task of a kind with these items of each split; see `wordland_task`, also for what it raises."""
    from promptology.zoo.wordland.kinds import rows

    drawn = {**dict.fromkeys(SIZES, ()), **rows(kind, seed, sizes)}
    splits = {
        split: [
            Item(
                f"{split}-{n}",
                dict(example.inputs),
                None if split == "unlabeled" else example.answer,
                {"options": example.options} if example.options and not kind.classes else {},
            )
            for n, example in enumerate(examples)
        ]
        for split, examples in drawn.items()
    }
    classes = tuple(ClassLabel(c.name, c.description, c.terms) for c in kind.classes)
    fields = tuple(Field(field) for field in kind.fields)
    signature = Signature(fields, "class" if classes else "text", classes, kind.wordings[0])
    return Task(
        splits["train"],
        splits["validation"],
        splits["test"],
        splits["unlabeled"],
        signature=signature,
        metric=metric,
        name=name or WORDLAND + kind.name,
    )


def parameters(source: str, text: str) -> dict[str, int]:
    """Return the parameters behind the question mark; raises UsageError for one that cannot be read."""
    known = ("seed", *SIZES)
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = [(text, "")]
    asked: dict[str, int] = {}
    for name, value in pairs:
        if name not in known:
            raise UsageError(f"task {source!r}: there is no parameter {name!r}; there are {', '.join(known)}")
        if name in asked:
            raise UsageError(f"task {source!r}: {name} is given twice")
        if not (value.isascii() and value.isdigit()) or int(value) > MOST:
            raise UsageError(f"task {source!r}: {name} is a whole number from 0 to {MOST:,}, not {value!r}")
        asked[name] = int(value)
    return asked
