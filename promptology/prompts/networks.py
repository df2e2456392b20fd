"""Kind `network`: a small torch module that stands beside a frozen model and reads the vectors that the model gives.

A part holds numpy arrays and plain JSON, so that it is made, saved, shown and compared without torch. Its code is found
by the name of its type in a registry; what ships is imported when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from promptology.errors import ArtifactError, UsageError
from promptology.prompts.arrays import Array, Tensors, fingerprint, fixed_all, unaltered
from promptology.prompts.learned import Summary, kind

Make = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""From options and torch tensors to a module: `forward(inputs (n, d), labels (classes, d)) -> scores (n, classes)`."""
M = TypeVar("M", bound=Make)
NETWORKS: dict[str, Make] = {}
SHIPPED = {"label-attention": "promptology.predict.label_attention"}
"""Types that ship, and the module that registers each."""


def network(name: str) -> Callable[[M], M]:
    """Register what makes a network of options and tensors under a name."""

    def register(make: M) -> M:
        NETWORKS[name] = make
        return make

    return register


@kind("network")
@dataclass(frozen=True, eq=False)
class Network:
    """A small network that scores classes by the vectors of an input and of the classes' wordings.

    `type` names its code, `options` are its settings (plain JSON; `width`: of the vectors that it reads), `arrays` its
    tensors, `role` the model whose vectors these are. Raises ArtifactError for an unknown type, no tensors, and NaN.
    """

    kind: ClassVar[str]
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    role: str = "model"

    def __post_init__(self) -> None:
        if self.type not in {*NETWORKS, *SHIPPED}:
            known = ", ".join(sorted({*NETWORKS, *SHIPPED}))
            raise ArtifactError(f"unknown type of network {self.type!r}; this version knows {known}")
        if not self.arrays:
            raise ArtifactError(f"network {self.type} holds no tensors")
        object.__setattr__(self, "options", dict(self.options))
        object.__setattr__(self, "arrays", fixed_all(self.arrays, f"network {self.type}: tensor"))

    @property
    def place(self) -> tuple[str, ...]:
        """What tells this part from others of its kind."""
        return (self.role, self.type)

    @cached_property
    def digest(self) -> str:
        """Hash of the tensors."""
        return fingerprint(self.arrays)

    @cached_property
    def module(self) -> Any:
        """The torch module, in evaluation mode; nothing in it requires a gradient."""
        return make_network(self.type, self.options, self.arrays).eval().requires_grad_(False)

    def to_json(self) -> dict[str, Any]:
        """Return type, options, role, and shapes and hash of the tensors."""
        shapes = {name: list(array.shape) for name, array in self.arrays.items()}
        doc: dict[str, Any] = {"type": self.type, "options": dict(self.options), "role": self.role}
        return {**doc, "shapes": shapes, "digest": self.digest}

    def tensors(self) -> Tensors:
        """Return the network's tensors."""
        return dict(self.arrays)

    def summary(self) -> Summary:
        """Return the type and how many numbers there are."""
        numbers = sum(array.size for array in self.arrays.values())
        of = "" if self.role == "model" else f"{self.role}: "
        return Summary(f"[network] {of}{self.type}", None, f"{len(self.arrays)} tensors, {numbers:,} numbers")

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Network:
        """Rebuild the part; raises ArtifactError where its tensors are not the ones that were saved."""
        role = str(doc.get("role", "model"))
        return unaltered(cls(str(doc["type"]), doc.get("options", {}), tensors, role), doc)


def make_network(name: str, options: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """Return the torch module of a type, with these arrays copied into it. Raises UsageError where torch is missing."""
    try:
        import torch

        if name not in NETWORKS:
            importlib.import_module(SHIPPED[name])
    except ImportError:
        raise UsageError('a network needs torch; install it with pip install "promptology[local]"') from None
    return NETWORKS[name](dict(options), {key: torch.tensor(array) for key, array in arrays.items()})
