"""Abilities against bars: what a model that lies here can do now, measured anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from promptology.errors import UsageError
from promptology.zoo.folders import card, known, locate
from promptology.zoo.recipes import recipe
from promptology.zoo.recipes.cards import below, weight_bytes


class Checked(NamedTuple):
    """A model's abilities and bars: shares, and differences of shares. `fault`: why it could not be measured."""

    name: str
    cls: str
    parameters: int
    bytes: int
    ability: Mapping[str, float]
    bar: Mapping[str, float]
    fault: str = ""

    @property
    def reached(self) -> bool:
        """Whether every bar is reached."""
        return not self.fault and not below(self.ability, self.bar)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "name": self.name,
            "class": self.cls,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "ability": dict(self.ability),
            "bar": dict(self.bar),
            "reached": self.reached,
        }


def check(name: str, *, save: bool = False) -> Checked:
    """Measure a model; `save` writes what was found into its card. One that is not there, or not whole, has a fault.

    Raises UsageError for an unknown name.
    """
    made = recipe(name)
    try:
        folder = locate(name)
    except UsageError as error:
        return Checked(name, known(name).cls, 0, 0, {}, dict(made.bars), str(error))
    about = card(folder, name)
    ability = {key: float(value) for key, value in made.ability(folder).items()}
    if save:
        from promptology.zoo.recipes.building import measured

        about = measured(folder, about, ability)
    return Checked(name, about["class"], about["parameters"], weight_bytes(about), ability, dict(made.bars))
