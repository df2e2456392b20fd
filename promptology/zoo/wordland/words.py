"""The words of Wordland: nouns by theme, and the adjectives, verbs, names, places and numbers around them.

All are ordinary English, in small letters; each is one token of the tokenizers. No noun stands in two themes. The
lists lie beside this module as text.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

TOPICS = (
    "art",
    "computing",
    "cooking",
    "farming",
    "health",
    "law",
    "money",
    "music",
    "ocean",
    "politics",
    "school",
    "space",
    "sport",
    "travel",
)
"""Themes that a text can be about; all others are kinds of things."""


@cache
def lists(name: str) -> dict[str, tuple[str, ...]]:
    """Return the word lists of a file: each line is "list: word word ..."."""
    text = files("promptology.zoo.wordland").joinpath("lists", f"{name}.txt").read_text(encoding="utf-8")
    pairs = (line.split(":", 1) for line in text.splitlines() if line.strip())
    return {head.strip(): tuple(rest.split()) for head, rest in pairs}


def _pairs(name: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(entry.split("/")) for entry in _WORDS[name])


THEMES: dict[str, tuple[str, ...]] = lists("themes")
"""Theme to its 20 nouns, singular, disjoint, in alphabetical order of the themes."""
THINGS = tuple(theme for theme in THEMES if theme not in TOPICS)
"""Themes whose nouns are kinds of things: animal, bird, tool, ..."""
THEME_OF: dict[str, str] = {noun: theme for theme, nouns in THEMES.items() for noun in nouns}
NOUNS = tuple(THEME_OF)
THING_NOUNS = tuple(noun for theme in THINGS for noun in THEMES[theme])

_WORDS = lists("words")
WOMEN, MEN = _WORDS["women"], _WORDS["men"]
NAMES = WOMEN + MEN
CITIES, COLOURS, PLACES = _WORDS["cities"], _WORDS["colours"], _WORDS["places"]
NUMBERS = _WORDS["numbers"]
"""NUMBERS[n] is n in words, 0 to 20."""
DAYS, MONTHS = _WORDS["days"], _WORDS["months"]
POSITIVE, NEGATIVE = _WORDS["positive"], _WORDS["negative"]
PRAISED, BLAMED = _WORDS["praised"], _WORDS["blamed"]
OPPOSITE: dict[str, str] = {a: b for x, y in _pairs("opposites") for a, b in ((x, y), (y, x))}
"""Adjective to its opposite, both ways."""
ADJECTIVES = tuple(OPPOSITE)
SYNONYM: dict[str, str] = {a: b for x, y in _pairs("synonyms") for a, b in ((x, y), (y, x))}
"""Verb in the past tense to one of the same meaning, both ways."""
VERBS = _pairs("verbs")
"""Verbs that take an object, as (carry, carries, carried)."""
MOODS: dict[str, tuple[str, ...]] = {name: _WORDS[name] for name in ("anger", "fear", "joy", "sorrow")}
"""Mood to what people did in it."""
SEASONS: dict[str, tuple[str, ...]] = {name: _WORDS[name] for name in ("autumn", "spring", "summer", "winter")}
ROOMS: dict[str, tuple[str, ...]] = {
    name: _WORDS[name] for name in ("bathroom", "bedroom", "garage", "kitchen", "office")
}
HABITATS: dict[str, str] = {"forest": "animal", "garden": "insect", "sea": "fish", "sky": "bird"}
"""Place to the theme of what lives there."""
PROFESSIONS: dict[str, str] = {
    "banker": "money",
    "doctor": "health",
    "farmer": "farming",
    "lawyer": "law",
    "sailor": "ocean",
    "teacher": "school",
}
"""Profession to the theme of its work."""
_IRREGULAR: dict[str, str] = {one: many for one, many in _pairs("plurals")}


def plural(noun: str) -> str:
    """Return the plural of a noun."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def article(word: str) -> str:
    """Return the indefinite article that stands before a word."""
    return "an" if word[0] in "aeiou" else "a"


def content_words() -> dict[str, str]:
    """Return more than 700 distinct words that carry meaning, each with its theme or list."""
    found = dict(THEME_OF)
    for name, words in (
        *SEASONS.items(),
        *ROOMS.items(),
        *MOODS.items(),
        ("positive", POSITIVE),
        ("negative", NEGATIVE),
        ("quality", ADJECTIVES),
        ("colour", COLOURS),
        ("city", CITIES),
        ("place", PLACES),
    ):
        for word in words:
            found.setdefault(word, name)
    return found
