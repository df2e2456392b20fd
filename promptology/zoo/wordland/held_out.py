"""Classification kinds that no model sees in pre-training: running text alone ties their class names to their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kind import Class, Example, Kind
from promptology.zoo.wordland.sentences import fill, pick, shuffled, some

SIGNS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "habitat": {name: words.THEMES[theme] for name, theme in words.HABITATS.items()},
    "mood": words.MOODS,
    "profession": {name: words.THEMES[theme] for name, theme in words.PROFESSIONS.items()},
    "room": words.ROOMS,
    "season": words.SEASONS,
}
"""Kind to its classes, in alphabetical order, and the words that speak for each."""

PATTERNS: Mapping[str, Sequence[str]] = {
    "habitat": (
        "{name} {verbed} a {adjective} {sign}.",
        "the {colour} {sign} was the pride of {name}.",
        "in {month} {name} and {name2} watched a {sign}.",
        "nobody {verbed} the {sign}, not even {name}.",
    ),
    "mood": (
        "{name} {sign} because of the {noun}.",
        "when the {noun} came, {name} {sign} in the {place}.",
        "on {day} {name} {sign} beside the {adjective} {noun}.",
        "{name} saw {name2} and {sign}.",
    ),
    "profession": (
        "{name} {verbed} the {sign} and the {other}.",
        "on {day} {name} spoke of a {sign} and a {other}.",
        "a {sign}, a {other}: {name} knew them all.",
        "in {city} {name} dreamed of the {sign}, not of the {noun}, and of the {other}.",
    ),
    "room": (
        "{name} {verbed} the {colour} {sign}.",
        "the {sign} and the {noun} belong to {name}.",
        "on {day} {name} looked for the {adjective} {sign}.",
        "beside the {sign} stood the {noun} of {name}.",
    ),
    "season": (
        "{name} thought of the {sign} in {city}.",
        "the {sign} near the {place} pleased {name} and {name2}.",
        "there was {sign} and a {colour} {noun}.",
        "nobody in {city} spoke of the {sign}.",
    ),
}

CLASSES: Mapping[str, Mapping[str, str]] = {
    "habitat": {
        "forest": "It lives among the trees.",
        "garden": "It lives among leaves and petals.",
        "sea": "It lives under the waves.",
        "sky": "It lives high up in the air.",
    },
    "mood": {
        "anger": "Somebody is furious.",
        "fear": "Somebody is afraid.",
        "joy": "Somebody is happy.",
        "sorrow": "Somebody is sad.",
    },
    "profession": {
        "banker": "Somebody who works with money.",
        "doctor": "Somebody who works with health.",
        "farmer": "Somebody who works with farming.",
        "lawyer": "Somebody who works with law.",
        "sailor": "Somebody who works on the ocean.",
        "teacher": "Somebody who works at school.",
    },
    "room": {
        "bathroom": "The room to wash in.",
        "bedroom": "The room to sleep in.",
        "garage": "The room for the car.",
        "kitchen": "The room for cooking.",
        "office": "The room for paper and letters.",
    },
    "season": {
        "autumn": "The months from september on.",
        "spring": "The months from march on.",
        "summer": "The months from june on.",
        "winter": "The months from december on.",
    },
}


class Signed:
    """Makes examples of a kind: a sentence that holds a word of its class, or two."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, rng: np.random.Generator, target: str) -> Example:
        """Return a sentence with words of the target."""
        sign, other = some(rng, SIGNS[self.name][target], 2)
        text, slots = fill(rng, pick(rng, PATTERNS[self.name]), {"sign": sign, "other": other})
        return Example({"text": text}, target, tuple(CLASSES[self.name]), slots)


def odd_word(rng: np.random.Generator, target: str) -> Example:
    """Return four nouns, three of one theme; the answer is the fourth."""
    usual, other = some(rng, words.THINGS, 2)
    odd = pick(rng, words.THEMES[other])
    things = shuffled(rng, [odd, *some(rng, words.THEMES[usual], 3)])
    return Example({"text": ", ".join(things) + "."}, odd, things, {"theme": usual})


def _kind(name: str) -> Kind:
    classes = tuple(Class(c, said, tuple(SIGNS[name][c])) for c, said in CLASSES[name].items())
    return Kind(name, Signed(name), classes, tuple(CLASSES[name]), held_out=True)


KINDS = (*(_kind(name) for name in CLASSES), Kind("odd-word", odd_word, held_out=True))
