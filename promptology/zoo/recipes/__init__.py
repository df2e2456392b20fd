"""Recipes: how each embedded model is trained, one file a model or family."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from promptology.errors import UsageError
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
    """Return the recipe of a model. Raises UsageError for an unknown name, or where it cannot be imported."""
    if name not in WHERE:
        raise unknown(name, WHERE)
    where = WHERE[name]
    return (_imported(name, where) if isinstance(where, str) else where)()


def _imported(name: str, where: str) -> type[Recipe]:
    module, _, cls = where.partition(":")
    try:
        found: type[Recipe] = getattr(import_module(f"{__name__}.{module}"), cls)
        return found
    except ImportError as error:
        lacking = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and lacking not in ("", __name__.partition(".")[0]):
            extra = "image" if name.startswith("toy-") else "local"
            raise UsageError(f'the recipe of {name} needs {lacking}: pip install "promptology[{extra}]"') from None
        raise UsageError(f"the recipe of {name} cannot be imported: {error}") from error
