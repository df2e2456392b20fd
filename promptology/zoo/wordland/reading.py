"""Kinds whose answer is read out of the text or reckoned from it: who has it, what stands beside a name, how many."""

from __future__ import annotations

import numpy as np

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.sentences import fill, pick, shuffled, some

HANDED = (
    "{giver} sold the {adjective} {noun} to {taker} in {city}.",
    "in {city} {giver} gave {taker} a {colour} {noun}.",
    "{taker} got a {adjective} {noun} from {giver} in {city}.",
    "on {day} {taker} borrowed the {noun} from {giver}, who lives in {city}.",
    "the {colour} {noun} went from {giver} to {taker} in {city}.",
)
FEWEST, MOST = 0, 4
"""Things to be counted in a list, least and most."""
COUNTS = words.NUMBERS[FEWEST : MOST + 1]
RESULTS = words.NUMBERS[:10]


def extraction(rng: np.random.Generator, target: str) -> Example:
    """Return a sentence in which a thing changes hands; the answer has it in the end."""
    return _handed(rng, "taker")


def giver(rng: np.random.Generator, target: str) -> Example:
    """Return a sentence in which a thing changes hands; the answer had it before."""
    return _handed(rng, "giver")


def _handed(rng: np.random.Generator, asked: str) -> Example:
    one, two = some(rng, words.NAMES, 2)
    text, slots = fill(rng, pick(rng, HANDED), {"giver": one, "taker": two})
    options = shuffled(rng, (one, two, slots["noun"], slots["city"]))
    return Example({"text": text}, slots[asked], options, slots)


def lookup(rng: np.random.Generator, target: str) -> Example:
    """Return who has what, and a name; the answer is what this one has."""
    n = int(rng.integers(2, 5))
    people, things = some(rng, words.NAMES, n), some(rng, words.THING_NOUNS, n)
    text = ", ".join(f"{person} has a {thing}" for person, thing in zip(people, things, strict=True))
    asked = int(rng.integers(n))
    return Example({"text": f"{text}.", "name": people[asked]}, things[asked], shuffled(rng, things), {"n": n})


def counting(rng: np.random.Generator, target: str) -> Example:
    """Return a list of things, as many animals among them as the target says."""
    n = words.NUMBERS.index(target)
    others = [noun for noun in words.THING_NOUNS if words.THEME_OF[noun] != "animal"]
    things = some(rng, words.THEMES["animal"], n) + some(rng, others, int(rng.integers(2, 5)))
    return Example({"text": ", ".join(shuffled(rng, things)) + "."}, target, COUNTS, {"n": n})


def comparison(rng: np.random.Generator, target: str) -> Example:
    """Return what two people have; the answer is the one who has more."""
    (one, two), (a, b) = some(rng, words.NAMES, 2), some(rng, range(2, 13), 2)
    things = words.plural(pick(rng, words.THEMES["fruit"]))
    text = f"{one} has {words.NUMBERS[a]} {things} and {two} has {words.NUMBERS[b]}."
    return Example({"text": text}, one if a > b else two, shuffled(rng, (one, two)), {"numbers": (a, b)})


def arithmetic(rng: np.random.Generator, target: str) -> Example:
    """Return a small story of adding and taking away; the answer is what is left, as a word."""
    result = words.NUMBERS.index(target)
    while True:
        start, more = int(rng.integers(2, 6)), int(rng.integers(1, 6))
        if 0 <= (less := start + more - result) <= 5:
            break
    name, things = pick(rng, words.NAMES), words.plural(pick(rng, words.THEMES["fruit"]))
    text = f"{name} had {words.NUMBERS[start]} {things} and found {words.NUMBERS[more]} more"
    text += f", then lost {words.NUMBERS[less]}." if less else "."
    return Example({"text": text}, target, RESULTS, {"numbers": (start, more, -less)})


ANY_WORD = (
    *words.content_words(),
    *words.THEMES,
    *(name for group in (words.MOODS, words.SEASONS, words.ROOMS, words.PROFESSIONS, words.HABITATS) for name in group),
)
"""Words that a list of words is drawn from: names of classes, of held-out kinds too, are words like others."""


def second(rng: np.random.Generator, target: str) -> Example:
    """Return a few words in a row; the answer is the second."""
    listed = some(rng, ANY_WORD, int(rng.integers(3, 6)))
    return Example({"text": " ".join(listed) + "."}, listed[1], shuffled(rng, listed), {"n": len(listed)})


KINDS = (
    Kind("arithmetic", arithmetic, targets=RESULTS),
    Kind("comparison", comparison),
    Kind("counting", counting, targets=COUNTS),
    Kind("extraction", extraction),
    Kind("giver", giver, held_out=True),
    Kind("lookup", lookup, fields=("text", "name")),
    Kind("second", second),
)
