"""Mappings that the instruction alone selects: the same notes go in, and the wording says what is asked for.

An input is a line of notes in random order, such as "tall horse, monday, two red hammers, anna, paris." Every mapping
has an answer for every such line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.sentences import pick, shuffled, some

OTHERS, ALIKE = 3, 2
"""Options of an item beside the answer: what other mappings would answer, and words of the answer's sort not in the
notes, so that both the instruction and the notes must be read."""

Notes = Mapping[str, str]

ANSWERS: Mapping[str, Callable[[Notes], str]] = {
    "map-animal": lambda notes: notes["animal"],
    "map-city": lambda notes: notes["city"],
    "map-colour": lambda notes: notes["colour"],
    "map-day": lambda notes: notes["day"],
    "map-first": lambda notes: notes["text"].split()[0].strip(",."),
    "map-last": lambda notes: notes["text"].split()[-1].strip(",."),
    "map-next": lambda notes: words.NUMBERS[words.NUMBERS.index(notes["number"]) + 1],
    "map-number": lambda notes: notes["number"],
    "map-opposite": lambda notes: words.OPPOSITE[notes["adjective"]],
    "map-person": lambda notes: notes["name"],
    "map-tool": lambda notes: notes["tool"],
}


SORTS: tuple[Sequence[str], ...] = (
    words.ADJECTIVES,
    words.THEMES["animal"],
    words.CITIES,
    words.COLOURS,
    words.DAYS,
    words.NAMES,
    words.NUMBERS[2:14],
    tuple(words.plural(tool) for tool in words.THEMES["tool"]),
)
"""What notes are made of."""


class Selected:
    """Makes examples of one mapping."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, rng: np.random.Generator, target: str) -> Example:
        """Return notes and this mapping's answer, with options."""
        notes = notes_drawn(rng)
        answers = {name: answer(notes) for name, answer in ANSWERS.items()}
        right = answers[self.name]
        known = {*answers.values(), notes["adjective"]} - {right}
        sort = next(sort for sort in SORTS if right in sort)
        alike = some(rng, [word for word in sort if word not in known and word != right], ALIKE)
        options = shuffled(rng, [right, *some(rng, sorted(known), OTHERS), *alike])
        return Example({"text": notes["text"]}, right, options, notes)


def notes_drawn(rng: np.random.Generator) -> dict[str, str]:
    """Return a line of notes under "text", and what it is made of."""
    notes = {
        "adjective": pick(rng, words.ADJECTIVES),
        "animal": pick(rng, words.THEMES["animal"]),
        "city": pick(rng, words.CITIES),
        "colour": pick(rng, words.COLOURS),
        "day": pick(rng, words.DAYS),
        "name": pick(rng, words.NAMES),
        "number": pick(rng, words.NUMBERS[2:12]),
        "tool": words.plural(pick(rng, words.THEMES["tool"])),
    }
    parts = (
        notes["name"],
        notes["city"],
        notes["day"],
        f"{notes['adjective']} {notes['animal']}",
        f"{notes['number']} {notes['colour']} {notes['tool']}",
    )
    notes["text"] = ", ".join(shuffled(rng, parts)) + "."
    return notes


KINDS = tuple(Kind(name, Selected(name)) for name in ANSWERS)
