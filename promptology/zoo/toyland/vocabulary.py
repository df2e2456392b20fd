"""All words of Toyland: a tokenizer that knows them needs one token for each."""

from __future__ import annotations

import re
from functools import cache

from promptology.zoo.toyland import captions, naming
from promptology.zoo.toyland.lists import COLOURS, SHADES, SHAPES, SIZES, TEXTURES
from promptology.zoo.toyland.templates import CLEAN, STYLED

MARKS = (".", ",", "!", "?", ":")


@cache
def attribute_words() -> tuple[str, ...]:
    """Return the words that name a colour, shade, texture or shape, synonyms and plurals with them, in order."""
    plain = (*COLOURS, *SHADES, *TEXTURES, *SHAPES)
    synonyms = [word for named, word in naming.SYNONYMS.items() if named not in SIZES]
    return tuple(sorted({*plain, *synonyms, *map(naming.plural, SHAPES)}))


@cache
def filler_words() -> tuple[str, ...]:
    """Return the words of the templates, which name nothing that is shown, in alphabetical order."""
    texts = [*CLEAN, *(template for wordings in STYLED.values() for template in wordings)]
    return tuple(sorted({word for text in texts for word in re.findall("[a-z]+", text)}))


@cache
def words() -> tuple[str, ...]:
    """Return every word that captions, descriptions and class names of Toyland can hold, in alphabetical order."""
    described = [
        naming.described(shape, colour, texture, called="thing item")
        for shape in range(len(SHAPES))
        for colour in range(len(COLOURS))
        for texture in range(len(TEXTURES))
    ]
    details = [*captions.AT, *captions.RELATIONS, *naming.NUMBERS, *SIZES, *(naming.SYNONYMS[s] for s in SIZES)]
    found = {word for text in (*described, *details) for word in re.findall("[a-z]+", text)}
    return tuple(sorted({*attribute_words(), *filler_words(), *found}))
