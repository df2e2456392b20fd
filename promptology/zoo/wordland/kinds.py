"""All kinds of Wordland by name, and splits of their examples.

Seeds: pre-training draws with `evaluation=False`, from generators of its own; `rows` draws with `evaluation=True`. An
input belongs to one of both parts by its checksum, so no seed of one can meet an input of the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from promptology.errors import UsageError
from promptology.zoo.wordland import classifying, held_out, mappings, pairs, reading
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.sentences import some

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in sorted(
        (*classifying.KINDS, *held_out.KINDS, *mappings.KINDS, *pairs.KINDS, *reading.KINDS), key=lambda k: k.name
    )
}
"""Name to kind, in alphabetical order."""
TRAINED = tuple(kind for kind in KINDS.values() if not kind.held_out)
HELD_OUT = tuple(kind for kind in KINDS.values() if kind.held_out)
HELD_OUT_CLASSIFICATION = tuple(kind for kind in HELD_OUT if kind.classes)
MAPPINGS = tuple(kind for kind in KINDS.values() if kind.name.startswith("map-"))
"""Kinds that the instruction alone selects."""

SPLITS = ("train", "validation", "test", "unlabeled")


def kind(name: str) -> Kind:
    """Return a kind. Raises UsageError for an unknown name."""
    if name not in KINDS:
        raise UsageError(f"unknown Wordland kind {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def rows(kind: Kind, seed: int, sizes: Mapping[str, int]) -> dict[str, list[Example]]:
    """Return splits of a kind with disjoint, distinct inputs, classes as equal as can be in each; for evaluation.

    `sizes`: examples of each of train, validation, test, unlabeled (whose answers are there, and not to be used).
    Splits that come first in that order do not depend on the sizes of later ones. Raises UsageError.
    """
    rng = _generator(kind, seed)
    taken: set[str] = set()
    found: dict[str, list[Example]] = {}
    for split in _wanted(sizes):
        found[split] = kind.draw(rng, sizes[split], evaluation=True, without=taken)
        taken.update(example.key for example in found[split])
    return found


def joined(
    kind: Kind, seed: int, sizes: Mapping[str, int], *, first: int = 12, most: int = 3
) -> dict[str, list[Example]]:
    """Return splits of multi-label examples: 1 to `most` sentences, equally likely, of as many different classes.

    `first`: so many classes of the kind take part, in alphabetical order. The answer is the class names in that order,
    parted by "; ", as `meta["classes"]` has them; no sentence stands in two examples. Raises UsageError.
    """
    names = tuple(sorted(kind.class_names)[:first])
    if len(names) < most:
        raise UsageError(f"Wordland kind {kind.name!r} has {len(names)} classes; {most} are to be joined")
    rng = _generator(kind, seed)
    taken: set[str] = set()
    found: dict[str, list[Example]] = {}
    for split in _wanted(sizes):
        found[split] = []
        for _ in range(sizes[split]):
            chosen = some(rng, names, int(rng.integers(1, most + 1)))
            parts = [kind.new(rng, name, True, taken) for name in chosen]
            taken.update(part.key for part in parts)
            right = tuple(sorted(chosen))
            text = " ".join(part.key for part in parts)
            found[split].append(Example({"text": text}, "; ".join(right), names, {"classes": right}))
    return found


def _wanted(sizes: Mapping[str, int]) -> list[str]:
    if unknown := sorted(set(sizes) - set(SPLITS)):
        raise UsageError(f"unknown split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    return [split for split in SPLITS if split in sizes]


def _generator(kind: Kind, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
