"""What was learned inside a model, as fillings of its sites: the bridge from saved parts to a torch model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from promptology.models.access import Injected
from promptology.prompts.arrays import Tensors
from promptology.prompts.learned import Learned, Part
from promptology.prompts.sites import SiteModule, SiteTensors, Weights

INSIDE = (SiteTensors, SiteModule, Weights)
_made: WeakKeyDictionary[Learned, dict[str, Injected | None]] = WeakKeyDictionary()


def injected_of(learned: Learned, role: str = "model") -> Injected | None:
    """Return what a prompt puts into the model of a role, None where it puts nothing there.

    The digest (blake2b, 32 hexadecimal digits) covers the JSON of these parts, which holds the hash of their tensors:
    equal digests, equal fillings. Fillings are on the CPU in the type that was saved; whoever attaches them moves
    them. Several parts of one site keep their order. Made once for each `Learned`; loads torch.
    """
    roles = _made.setdefault(learned, {})
    if role not in roles:
        parts = [part for part in learned.parts if isinstance(part, INSIDE) and part.role == role]
        roles[role] = Injected(_digest(parts), tuple(_fillings(parts))) if parts else None
    return roles[role]


def _digest(parts: list[Any]) -> str:
    docs = [{"kind": part.kind, **part.to_json()} for part in parts]
    text = json.dumps(docs, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _fillings(parts: Sequence[Part]) -> list[Any]:
    from promptology.injection import Filling

    fillings: list[Any] = []
    for part in parts:
        if isinstance(part, SiteTensors):
            fillings.append(Filling(part.site, _torch({"": part.values})[""]))
        elif isinstance(part, SiteModule):
            fillings.append(Filling(part.site, _module(part.type, part.options, dict(part.arrays))))
        elif isinstance(part, Weights) and part.type == "full":
            fillings += [Filling(f"weight:{name}", tensor) for name, tensor in _torch(dict(part.arrays)).items()]
        elif isinstance(part, Weights):
            fillings += [Filling(f"linear:{path}", _behind(part, path)) for path in part.paths]
    return fillings


def _behind(part: Weights, path: str) -> Any:
    halves = {"A": part.arrays[f"{path}.A"], "B": part.arrays[f"{path}.B"]}
    if part.type == "adapter":
        return _module("adapter", part.options, halves)
    return _module("lora", {"alpha": part.alpha(path)}, halves)


def _module(name: str, options: Mapping[str, Any], arrays: Tensors) -> Any:
    from promptology.injection.modules import MODULES

    # What was learned is done learning: without this, every use would build a graph for gradients.
    return MODULES[name](dict(options), _torch(arrays)).eval().requires_grad_(False)


def _torch(arrays: Tensors) -> dict[str, Any]:
    import torch

    return {name: torch.tensor(array) for name, array in arrays.items()}
