"""All words of Wordland: what a tokenizer needs so that each is one token."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kinds import KINDS
from promptology.zoo.wordland.wordings import WORDINGS


@cache
def vocabulary() -> tuple[str, ...]:
    """Return every word that texts, instructions, class names and descriptions of Wordland hold, sorted.

    Words of the library's own rendering ("Classes", "Answer", ...) are among them.
    """
    found: set[str] = set(words.lists("frames")["frames"]) | set(words.lists("frames")["rendering"])
    found.update(word for verb in words.VERBS for word in verb)
    for name, listed in words.lists("words").items():
        found.add(name)
        found.update(part for entry in listed for part in entry.split("/"))
    for theme, nouns in words.THEMES.items():
        found.add(theme)
        found.update(nouns)
    found.update(words.plural(noun) for theme in ("animal", "fruit", "tool") for noun in words.THEMES[theme])
    for kind in KINDS.values():
        found.update(spelled((*kind.class_names, *(c.description for c in kind.classes), *kind.fields)))
    for wordings in WORDINGS.values():
        found.update(spelled((*wordings.seen, *wordings.held_out)))
    return tuple(sorted(found))


def spelled(texts: Iterable[str]) -> set[str]:
    """Return the words of texts, as they are written."""
    return {word for text in texts for word in re.findall(r"[A-Za-z]+", text)}
