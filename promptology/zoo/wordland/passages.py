"""Running text, for language modelling: stories, remarks on what goes with what, and what words mean.

The same frames tie the class names of trained and of held-out kinds to their words, and everyday words to rarer ones
that held-out wordings use. No sentence of it is an input for evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from promptology.zoo.wordland import classifying, held_out, pairs, words
from promptology.zoo.wordland.kind import for_evaluation
from promptology.zoo.wordland.sentences import pick, sentence, some

RARER: Mapping[str, Sequence[str]] = {
    "amount": words.NUMBERS,
    "beast": words.THEMES["animal"],
    "creature": words.THEMES["animal"],
    "figure": words.NUMBERS,
    "hue": words.COLOURS,
    "human": words.NAMES,
    "implement": words.THEMES["tool"],
    "individual": words.NAMES,
    "quantity": words.NUMBERS,
    "shade": words.COLOURS,
    "town": words.CITIES,
    "weekday": words.DAYS,
}
"""Words for which there is a more usual one, as held-out wordings use them."""
USUAL: Mapping[str, Sequence[str]] = {
    "adjective": words.ADJECTIVES,
    "city": words.CITIES,
    "colour": words.COLOURS,
    "day": words.DAYS,
    "number": words.NUMBERS,
    "person": words.NAMES,
}
TAUGHT: Mapping[str, Sequence[str]] = {**words.THEMES, **USUAL, **RARER}
HELD_OUT: Mapping[str, Sequence[str]] = {
    name: signs for kind, classes in held_out.SIGNS.items() if kind != "mood" for name, signs in classes.items()
}

GOES_WITH = (
    "{head} makes one think of {a} and {b}.",
    "{a}, {b} and {c}: all of it is {head}.",
    "where there is {a}, there is {head}.",
    "{name} said that {a} and {b} go with {head}.",
    "in a book on {head} {name} read of {a}, {b} and {c}.",
    "without {a} and {b} there would be no {head}.",
)
"""Remarks on a head word and what belongs to it."""

MOODS = (
    "full of {head}, {name} {a} and {b}.",
    "{name} {a} and {b}: it was {head}.",
    "{head} came over {name}, who {a}.",
)

MEANINGS = (
    "{one} is the opposite of {two}.",
    "what is {one} is not {two}.",
    "{one} or {two}: one excludes the other.",
    "to be {one} is contrary to being {two}.",
)
SAME_MEANINGS = ("{one} means {two}.", "{one} is a synonym of {two}.", "{one} or {two}: both mean one thing.")

STORIES: Sequence[str] = (
    *classifying.THINGS_IN,
    *classifying.TENSES["past"],
    *classifying.TENSES["present"],
    *classifying.OPINIONS["plain"],
    "{name} {verbed} a {colour} {noun} in {city}.",
    "{name} and {name2} {verbed} {few} {plural} on {day}.",
    "first came {name}, then {name2}, and last of all {name3}.",
    "after {number} {plural} {name} was tired of the {place}.",
)


def unlabelled(rng: np.random.Generator, n: int, *, held_out: float = 0.4) -> list[str]:
    """Return n passages of two to four sentences each; no sentence is an input for evaluation.

    `held_out`: share of passages about classes of held-out kinds.
    """
    return [passage(rng, held_out) for _ in range(n)]


def passage(rng: np.random.Generator, held_out: float = 0.4) -> str:
    """Return a passage of one sort: what goes with a class of a held-out kind, with a theme, or a story."""
    shares = np.array([0.75 * held_out, 0.25 * held_out, *(share * (1 - held_out) for share in _OTHER_SHARES)])
    sort = int(rng.choice(len(_SORTS), p=shares / shares.sum()))
    made: list[str] = []
    size = int(rng.integers(2, 5))
    head = _SORTS[sort]
    subject = pick(rng, _SUBJECTS[head]) if head in _SUBJECTS else ""
    while len(made) < size:
        text = _sentence(rng, head, subject)
        if not for_evaluation(text) and text not in made:
            made.append(text)
    return " ".join(made)


_SORTS = ("held-out", "mood", "taught", "meaning", "story")
_OTHER_SHARES = (0.42, 0.16, 0.42)
"""Shares of the sorts that are not about held-out kinds, among themselves."""
_SUBJECTS: Mapping[str, Sequence[str]] = {
    "held-out": tuple(HELD_OUT),
    "mood": tuple(words.MOODS),
    "taught": tuple(TAUGHT),
}


def _sentence(rng: np.random.Generator, sort: str, subject: str) -> str:
    if sort == "meaning":
        if rng.random() < 0.5:
            one = pick(rng, words.ADJECTIVES)
            return sentence(rng, MEANINGS, one=one, two=words.OPPOSITE[one])
        one = pick(rng, tuple(words.SYNONYM))
        return sentence(rng, SAME_MEANINGS, one=one, two=words.SYNONYM[one])
    if sort == "story":
        return _story(rng)
    frames, members = (
        (MOODS, words.MOODS) if sort == "mood" else (GOES_WITH, HELD_OUT if sort == "held-out" else TAUGHT)
    )
    a, b, c = some(rng, members[subject], 3)
    return sentence(rng, frames, head=subject, a=a, b=b, c=c)


def _story(rng: np.random.Generator) -> str:
    """Return a sentence such as the trained kinds hold."""
    if rng.random() < 0.3:
        return classifying.topic(rng, pick(rng, words.TOPICS)).inputs["text"]
    if rng.random() < 0.15:
        return pairs.relation(rng, pick(rng, pairs.RELATIONS)).inputs["text"].replace("[", "").replace("]", "")
    return sentence(rng, STORIES)
