"""Kind `procedure`: how a prompt is adapted to one unlabelled input when it is used, and forgotten after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from promptology.prompts.arrays import Tensors
from promptology.prompts.learned import kind


@kind("procedure")
@dataclass(frozen=True, eq=False)
class Procedure:
    """Steps that are taken anew for every input, from what the other parts of the prompt hold.

    `type` names the code in the registry `promptology.predict.adapting`, `options` are its settings, plain JSON; they
    hold the seed of all that is drawn, so that one input is always adapted to in the same way.
    """

    kind: ClassVar[str]
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return type and options."""
        return {"type": self.type, "options": dict(self.options)}

    def tensors(self) -> Tensors:
        """Return nothing: what it starts from stands in other parts."""
        return {}

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Procedure:
        """Rebuild the part."""
        return cls(str(doc["type"]), dict(doc["options"]))

    def lines(self) -> list[str]:
        """Return type and settings as a person reads them."""
        return [f"[procedure] {self.type}: " + ", ".join(f"{name} {value}" for name, value in self.options.items())]
