"""What a kind of text task is, and how its examples are drawn.

Every input belongs to one of two parts, by a checksum of its text: a quarter of all inputs is for evaluation, the rest
for pre-training. So no evaluation, whatever its seed, meets an input that a model was trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from promptology.errors import UsageError
from promptology.zoo.wordland.wordings import WORDINGS

EVALUATION = 4
"""One input in so many is for evaluation."""
FRUITLESS = 2000
"""Draws without a new input after which a kind counts as used up."""


@dataclass(frozen=True)
class Example:
    """One item: the text of each field, the right answer, and the answers that are scored.

    `options` hold the answer once, in an order that says nothing; they are empty where the answer is free text. `meta`
    holds what an example was made of.
    """

    inputs: Mapping[str, str]
    answer: str
    options: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The input as one text."""
        return "\n".join(self.inputs.values())


@dataclass(frozen=True)
class Class:
    """A class: the name that is the answer, a one-sentence description, words that speak for it."""

    name: str
    description: str
    terms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of task. `make`: from a generator and the wanted target to an example; `targets`: drawn equally often.

    `classes`: fixed class names, where there are such; `fields`: names of the input fields; `held_out`: no model sees
    the kind in pre-training.
    """

    name: str
    make: Callable[[np.random.Generator, str], Example]
    classes: tuple[Class, ...] = ()
    targets: tuple[str, ...] = ("",)
    fields: tuple[str, ...] = ("text",)
    held_out: bool = False

    @property
    def wordings(self) -> tuple[str, ...]:
        """Instructions that pre-training uses; the first of a kind with few classes names them all."""
        return WORDINGS[self.name].seen

    @property
    def held_out_wordings(self) -> tuple[str, ...]:
        """Instructions for the same task that pre-training never shows."""
        return WORDINGS[self.name].held_out

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in their order."""
        return tuple(c.name for c in self.classes)

    def draw(
        self, rng: np.random.Generator, n: int, *, evaluation: bool = False, without: Collection[str] = ()
    ) -> list[Example]:
        """Return n examples with distinct inputs, of one part, none of them in `without`; targets as equal as can be.

        Raises UsageError where the kind has not so many.
        """
        found: list[Example] = []
        taken = set(without)
        for target in balanced(rng, self.targets, n):
            found.append(self.new(rng, target, evaluation, taken))
            taken.add(found[-1].key)
        return found

    def new(self, rng: np.random.Generator, target: str, evaluation: bool, without: Collection[str]) -> Example:
        """Return an example of a target and one part whose input is not in `without`. Raises UsageError."""
        for _ in range(FRUITLESS):
            example = self.make(rng, target)
            if for_evaluation(example.key) is evaluation and example.key not in without:
                return example
        raise UsageError(f"Wordland kind {self.name!r} has no more inputs of one part than about {len(without)}")


def for_evaluation(text: str) -> bool:
    """Return whether an input is for evaluation; false: for pre-training."""
    return zlib.crc32(text.encode()) % EVALUATION == 0


def balanced(rng: np.random.Generator, values: Sequence[str], n: int) -> list[str]:
    """Return n of the values in random order, their counts differing by one at most."""
    rounds = [values[i] for _ in range(-(-n // len(values))) for i in rng.permutation(len(values))]
    return [rounds[i] for i in rng.permutation(n)]
