"""Recipes: how each embedded model is trained, one file a model or family."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from promptology.data.extras import require
from promptology.zoo.folders import unknown

if TYPE_CHECKING:
    from promptology.zoo.recipes.course import Recipe

WHERE: dict[str, str | type[Recipe]] = {
    "toy-clip": "toy_clip:ToyClip",
    "word-icl": "word_icl:WordIcl",
    "word-instruct": "word_instruct:WordInstruct",
    "word-mlm": "word_mlm:WordMlm",
    "word-steps": "word_steps:WordSteps",
    "word-t5": "word_t5:WordT5",
}
"""Model name to module and class, so that only the recipe asked for is imported; or to a class."""


def recipe(name: str) -> Recipe:
    """Return the recipe of a model. Raises UsageError for an unknown name, or where a package is not installed."""
    if name not in WHERE:
        raise unknown(name, WHERE)
    where = WHERE[name]
    if isinstance(where, str):
        module, _, cls = where.partition(":")
        extra = "image" if name.startswith("toy-") else "local"
        where = cast("type[Recipe]", getattr(require(f"{__name__}.{module}", extra, f"the recipe of {name}"), cls))
    return where()
