"""Sentences from patterns with slots: "on {day} {name} sold a {adjective} {animal}"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar

import numpy as np

from promptology.zoo.wordland import words

T = TypeVar("T")

POOLS: Mapping[str, Sequence[str]] = {
    **words.THEMES,
    "adjective": words.ADJECTIVES,
    "blamed": words.BLAMED,
    "city": words.CITIES,
    "colour": words.COLOURS,
    "day": words.DAYS,
    "few": words.NUMBERS[2:10],
    "good": words.POSITIVE,
    "it": words.THING_NOUNS,
    "liked": words.PRAISED,
    "man": words.MEN,
    "month": words.MONTHS,
    "name": words.NAMES,
    "negative": words.NEGATIVE,
    "noun": words.THING_NOUNS,
    "number": words.NUMBERS[1:],
    "place": words.PLACES,
    "plural": tuple(words.plural(n) for theme in ("animal", "fruit", "tool") for n in words.THEMES[theme]),
    "positive": words.POSITIVE,
    "praised": words.PRAISED,
    "verb": tuple(v[0] for v in words.VERBS),
    "verbed": tuple(v[2] for v in words.VERBS),
    "verbs": tuple(v[1] for v in words.VERBS),
    "very": ("very", "really", "quite", "so", "rather"),
    "woman": words.WOMEN,
}
"""Slot to the words that can stand in it. A number behind a slot's name tells two slots of one pool apart."""


@cache
def _parts(pattern: str) -> tuple[tuple[str, str, str], ...]:
    """Return (text before, slot, pool) in order; the last slot is empty."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    pieces.append("")
    return tuple((pieces[i], pieces[i + 1], pieces[i + 1].rstrip("0123456789")) for i in range(0, len(pieces), 2))


def pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    """Return one of the values."""
    return values[int(rng.integers(len(values)))]


def some(rng: np.random.Generator, values: Sequence[T], n: int) -> list[T]:
    """Return n different values in random order."""
    return [values[int(i)] for i in rng.choice(len(values), n, replace=False)]


def shuffled(rng: np.random.Generator, values: Sequence[T]) -> tuple[T, ...]:
    """Return the values in random order."""
    return tuple(values[int(i)] for i in rng.permutation(len(values)))


def fill(rng: np.random.Generator, pattern: str, given: Mapping[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """Return the sentence and what stands in its slots. Slots that are not given are drawn, none of a word twice."""
    filled = dict(given or {})
    text: list[str] = []
    for before, slot, pool in _parts(pattern):
        text.append(before)
        if not slot:
            continue
        if slot not in filled:
            taken = set(filled.values())
            word = pick(rng, POOLS[pool])
            while word in taken:
                word = pick(rng, POOLS[pool])
            filled[slot] = word
        text.append(filled[slot])
    return articles("".join(text)), filled


def sentence(rng: np.random.Generator, patterns: Sequence[str], **given: str) -> str:
    """Return one of the patterns, filled."""
    return fill(rng, pick(rng, patterns), given)[0]


def articles(text: str) -> str:
    """Return a text with "an" before a vowel."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)
