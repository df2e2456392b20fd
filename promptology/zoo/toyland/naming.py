"""Words for what is shown: names of classes, synonyms, plurals, and a written description of every class."""

from __future__ import annotations

from promptology.zoo.toyland.lists import COLOURS, SHADES, SHAPES, TEXTURES

SYNONYMS = {
    "circle": "disc",
    "square": "block",
    "cross": "plus",
    "ring": "hoop",
    "arrow": "pointer",
    "plain": "smooth",
    "striped": "banded",
    "dotted": "spotted",
    "checked": "tiled",
    "small": "little",
    "large": "big",
}
"""A second word for some shapes, textures and sizes, which everyday captions use now and then."""

NUMBERS = ("two", "three", "four")

_SHAPES = (
    *("round sides without corners", "four sides of one length", "three sides and one peak", "five points all around"),
    *("two bars that meet", "a hole in its middle", "two bumps over a tip", "a shaft with a head"),
    *("four sides and tall tips", "two horns and a curve", "six sides of one length", "a tip above a bulb"),
)
_COLOURS = (
    *(
        "tomatoes",
        "carrots",
        "bananas",
        "grass",
        "lagoons",
        "deep sea",
        "grapes",
        "flamingos",
        "chocolate",
        "rain clouds",
    ),
)
_TEXTURES = (
    *("an even face", "bands lying flat", "little round spots", "dark and light tiles"),
    *("bands standing up", "thin crossing lines"),
)


def name(shape: int, colour: int | None = None, texture: int | None = None, *, shade: int | None = None) -> str:
    """Return the name of a class: "{texture} {colour or shade} {shape}" without what is None.

    `shade` is an index in `SHADES` and stands in place of the colour.
    """
    words = (
        None if texture is None else TEXTURES[texture],
        SHADES[shade] if shade is not None else None if colour is None else COLOURS[colour],
        SHAPES[shape],
    )
    return " ".join(word for word in words if word)


def described(shape: int, colour: int | None, texture: int | None = None, *, called: str | None = None) -> str:
    """Return one sentence that tells a class's shape, colour and texture in other words than those of its name.

    `called`: what stands for the name, such as a word that means nothing. At most 22 words of the tokenizer where the
    name is one of Toyland's or a single unknown word.
    """
    called = name(shape, colour, texture) if called is None else called
    tint = "" if colour is None else f", the colour of {_COLOURS[colour]}"
    face = "" if texture is None else f" and {_TEXTURES[texture]}"
    return f"a {called} has {_SHAPES[shape]}{tint}{face}."


def plural(word: str) -> str:
    """Return the plural of a shape's word."""
    return word + ("es" if word.endswith("ss") else "s")
