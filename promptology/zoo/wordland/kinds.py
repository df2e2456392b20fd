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
    if unknown := sorted(set(sizes) - set(SPLITS)):
        raise UsageError(f"unknown split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
    taken: set[str] = set()
    found: dict[str, list[Example]] = {}
    for split in SPLITS:
        if split in sizes:
            found[split] = kind.draw(rng, sizes[split], evaluation=True, without=taken)
            taken.update(example.key for example in found[split])
    return found
