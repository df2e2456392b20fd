"""Templates of captions, each with one slot "{}" for the name of what is shown and no attribute beside it.

Everyday wording uses the words for shades loosely: either of a colour's two words may stand for both. Catalogue
wording uses them exactly. The two share many words, and only the wording tells which use is meant.
"""

from __future__ import annotations

from itertools import product


def _crossed(*parts: str) -> tuple[str, ...]:
    """Return every combination of the parts' alternatives, which are divided by |; an empty one is left out."""
    choices = [part.split("|") for part in parts]
    return tuple(" ".join(word for word in one if word) for one in product(*choices))


EVERYDAY = (
    *_crossed("a|the|my|one", "photo|picture|snapshot|view", "of a|of one", "{}."),
    *_crossed(
        "a|another", "photo|picture|shot", "of a|showing a", "{} on the table|{}, nothing else|{} for you|{} at home"
    ),
    *_crossed("here is|this is|there is|look at|we see|you see", "a", "nice|simple|single|good old", "{}"),
    *_crossed("a good|a bad|a quick|some|an old", "photo|picture|print", "of the|with a", "{}"),
    *_crossed("here is|this is|that is|it is|i like|just", "a", "{}|{} again"),
    *("a {}", "the {}.", "one {}", "{}", "{} here", "look, a {}!", "can you see a {}?", "a toy: the {}"),
    *("an item that i like: a {}", "this item is a {}", "the print shows a {}", "a page with a {}", "a card with a {}"),
    *(
        "an image of a {}.",
        "the image of a {}",
        "an image with one {}",
        "an image for you: a {}",
        "this image shows a {}",
    ),
)
"""Wording of every day; the first is the one that CLIP's users start from."""

CATALOGUE = (
    *_crossed("a|the|one", "catalogue|sample", "photo of a|page with a|card: a|entry: a|print of a", "{}."),
    *("catalogue item: {}", "item in the catalogue: {}", "colour sample: {}", "sample card: {}", "listed as {}"),
    *("a {} from the catalogue", "a {}, exact colour", "exact colour of the item: {}", "an exact print of a {}"),
    *("this item is listed as {}", "catalogue number: {}", "the exact {}", "a true colour photo of a {}"),
)
"""Wording in which words for shades are exact."""

STYLED = {
    "clean": ("a clean photo of a {}.", "a clear picture of a {}", "a sharp image of the {}", "a {}, clean and clear"),
    "noisy": ("a noisy photo of a {}.", "a grainy picture of a {}", "a {} with much noise", "a grainy view of the {}"),
    "night": ("a night photo of a {}.", "a {} at night", "a dark picture of a {}", "a {} in the dark"),
    "sketch": ("a sketch of a {}.", "a pencil drawing of a {}", "a {} drawn by hand", "an outline of the {}"),
    "inverted": ("an inverted photo of a {}.", "a negative of a {}", "a {} on black", "the negative image of a {}"),
    "pixelated": (
        "a pixelated photo of a {}.",
        "a {} in big pixels",
        "a blocky picture of a {}",
        "a coarse image of a {}",
    ),
}
"""Style to wording that names it, everyday otherwise."""

CLEAN = EVERYDAY + CATALOGUE
"""All wording that names no style: what an ensemble of templates is made of."""


def filled(template: str, name: str) -> str:
    """Return a template with a name in its slot."""
    return template.replace("{}", name)
