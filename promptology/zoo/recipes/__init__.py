"""Recipes: how each embedded model is trained, one file a model or family."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from promptology.errors import UsageError

if TYPE_CHECKING:
    from promptology.zoo.recipes.course import Recipe

WHERE = {
    "toy-clip": "toy_clip:ToyClip",
    "word-icl": "word_icl:WordIcl",
    "word-instruct": "word_instruct:WordInstruct",
    "word-mlm": "word_mlm:WordMlm",
    "word-steps": "word_steps:WordSteps",
    "word-t5": "word_t5:WordT5",
}
"""Model name to module and class."""


def recipe(name: str) -> Recipe:
    """Return the recipe of a model. Raises UsageError for an unknown name."""
    if name not in WHERE:
        raise UsageError(f"unknown zoo model {name!r}; there are {', '.join(WHERE)}")
    module, _, cls = WHERE[name].partition(":")
    made: Recipe = getattr(import_module(f"promptology.zoo.recipes.{module}"), cls)()
    return made
