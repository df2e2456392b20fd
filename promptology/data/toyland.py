"""Tasks with images that are drawn on the spot: "toyland:KIND", one fixed picture for every item."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from promptology.data.images import Image
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.task import Task
from promptology.errors import UsageError

if TYPE_CHECKING:
    from promptology.zoo.toyland.tasks import Pictures

TOYLAND = "toyland:"
_LEARNED = {"seed": 0, "shots": 16, "validation": 16, "test": 32}
_DRAWN = {"domain": "clean", "strength": 1.0, "px": 32}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "base": {"halves": "disjoint", **_LEARNED, **_DRAWN},
    "new": {"halves": "disjoint", "seed": 0, "test": 32, **_DRAWN},
    "few-shot": {"seed": 0, "shots": 16, "test": 32, **_DRAWN},
    "fine": {"seed": 0, "shots": 1, "test": 24, "domain": "clean", "px": 32},
    "fine-new": {"seed": 0, "test": 24, "domain": "clean", "px": 32},
    "cross-domain": {"seed": 0, "shots": 16, "test": 16, "domain": "night", "px": 32},
    "seen": {"seed": 0, "test": 8, "domain": "clean", "px": 32},
    "unseen": {"seed": 0, "test": 8, "domain": "clean", "px": 32},
    "multi-label": {"seed": 0, "train": 256, "test": 256, "px": 32},
}
"""Kinds of tasks, and their parameters with the values they have where none are given."""
MOST = 10_000


def toyland_task(source: str, name: str | None = None, metric: Any = None) -> Task:
    """Return the task of "toyland:KIND", or of "toyland:KIND?seed=3&shots=4&domain=night".

    Kinds: base (classes to learn) and new (as many others; `halves` says how the two differ, see
    `promptology.zoo.toyland.tasks.base_to_novel`); few-shot; fine and fine-new (shades of colour); cross-domain (clean
    pictures to learn from, tests in `domain`); seen and unseen (combinations that the zoo's model saw, or never);
    multi-label. Parameters: those in KINDS; `shots`, `validation` and `test` are images a class (of multi-label, all
    images), `domain` a style or shift of Toyland, `strength` that of a shift in [0, 1]. Raises UsageError.
    """
    kind, _, rest = source.removeprefix(TOYLAND).partition("?")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1, 0.5)
        hint = f"did you mean {TOYLAND + near[0]!r}? " if near else ""
        raise UsageError(f"unknown task {source!r}: {hint}kinds of Toyland are {', '.join(KINDS)}")
    asked = settings(source, rest, KINDS[kind])
    made, splits = _MAKERS[kind](asked)
    return as_task(made, splits, name or source, metric)


def as_task(made: Pictures, splits: Mapping[str, str], name: str = "", metric: Any = None) -> Task:
    """Return pictures of Toyland as a task; `splits`: which of theirs serve as train, validation and test.

    The classes are those that the test pictures are told apart from. Raises UsageError where a split has others.
    """
    among = made.among[splits["test"]]
    classes = [made.classes[c] for c in among]
    items: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    for split, own in splits.items():
        several = made.labels[own].ndim == 2
        for n, (pixels, label) in enumerate(zip(made.images[own], made.labels[own], strict=True)):
            target = tuple(made.classes[c] for c in np.flatnonzero(label)) if several else made.classes[label]
            shown = ", ".join(target) if several else target
            image = Image(np.ascontiguousarray(pixels), f"{split} {n}: {shown}")
            items[split].append(Item(f"{split}-{n}", {"image": image}, target))
    labels = tuple(ClassLabel(name, made.descriptions[c]) for name, c in zip(classes, among, strict=True))
    output = "classes" if made.labels[splits["test"]].ndim == 2 else "class"
    signature = Signature((Field("image", "image"),), output, labels)
    return Task(**items, signature=signature, metric=metric, name=name or made.name)  # type: ignore[arg-type]


def settings(source: str, text: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters behind the question mark over their defaults; raises UsageError for one it cannot read."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
    except ValueError:
        pairs = [(text, "")]
    asked: dict[str, Any] = {}
    for name, value in pairs:
        if name not in known:
            raise UsageError(f"task {source!r}: there is no parameter {name!r}; there are {', '.join(known)}")
        if name in asked:
            raise UsageError(f"task {source!r}: {name} is given twice")
        if isinstance(known[name], int) and not (value.isascii() and value.isdigit() and int(value) <= MOST):
            raise UsageError(f"task {source!r}: {name} is a whole number from 0 to {MOST:,}, not {value!r}")
        try:
            asked[name] = type(known[name])(value)
        except ValueError:
            raise UsageError(f"task {source!r}: {name} is a number, not {value!r}") from None
    return {**known, **asked}


_Made = tuple["Pictures", dict[str, str]]


def _halves(asked: dict[str, Any], test: str) -> _Made:
    from promptology.zoo.toyland import tasks

    seed = asked.pop("seed")
    learned = {"train": "train", "validation": "validation"} if test == "base" else {}
    if test == "new":
        asked |= {"shots": 0, "validation": 0, "test": (0, asked["test"])}
    else:
        asked["test"] = (asked["test"], 0)
    return tasks.base_to_novel(seed, **asked), {**learned, "test": test}


def _few_shot(asked: dict[str, Any]) -> _Made:
    from promptology.zoo.toyland import tasks

    return tasks.few_shot(asked.pop("seed"), **asked), {"train": "train", "test": "test"}


def _fine(asked: dict[str, Any], test: str) -> _Made:
    from promptology.zoo.toyland import tasks

    made = tasks.fine(asked.pop("seed"), style=asked.pop("domain"), **asked)
    return made, {"train": "train", "test": "base"} if test == "base" else {"test": "new"}


def _cross_domain(asked: dict[str, Any]) -> _Made:
    from promptology.zoo.toyland import tasks

    domain = asked.pop("domain")
    made = tasks.cross_domain(asked.pop("seed"), **asked)
    if domain not in made.images or domain == "train":
        there = ", ".join(name for name in made.images if name != "train")
        raise UsageError(f"unknown domain {domain!r}; there are {there}")
    return made, {"train": "train", "test": domain}


def _triples(asked: dict[str, Any], seen: bool) -> _Made:
    from promptology.zoo.toyland import tasks

    return tasks.triples(asked.pop("seed"), seen=seen, each=asked.pop("test"), **asked), {"test": "test"}


def _multi_label(asked: dict[str, Any]) -> _Made:
    from promptology.zoo.toyland import tasks

    return tasks.multi_label(asked.pop("seed"), **asked), {"train": "train", "test": "test"}


_MAKERS: Mapping[str, Callable[[dict[str, Any]], _Made]] = {
    "base": lambda asked: _halves(asked, "base"),
    "new": lambda asked: _halves(asked, "new"),
    "few-shot": _few_shot,
    "fine": lambda asked: _fine(asked, "base"),
    "fine-new": lambda asked: _fine(asked, "new"),
    "cross-domain": _cross_domain,
    "seen": lambda asked: _triples(asked, True),
    "unseen": lambda asked: _triples(asked, False),
    "multi-label": _multi_label,
}
