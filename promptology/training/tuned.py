"""What is tuned of a model: adapters in its blocks, or a copy of all its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from promptology.errors import UsageError
from promptology.injection import Filling
from promptology.prompts.learned import Part
from promptology.prompts.sites import Weights
from promptology.run.engine import Run
from promptology.training.adapters import Adapters
from promptology.training.initial import array

ADAPTERS, FULL = "adapters", "full"


class Tuned(NamedTuple):
    """Parameters by name, what is attached of them, and the parts that are saved."""

    parameters: Mapping[str, Any]
    fillings: Callable[[], Sequence[Filling]]
    parts: Callable[[], Sequence[Part]]


def tuned(run: Run, body: Any, how: str, rank: int, std: float, *, head: bool, name: str) -> Tuned:
    """Return what is tuned: `how` is adapters (as `Adapters` makes them, with the model's own head or not), or full.

    The model itself stays as it is. Raises UsageError for another `how`.
    """
    if how == ADAPTERS:
        made = Adapters(run, body, rank, std=std, relu=False, head=head, name=name)
        return Tuned(made.parameters, made.fillings, made.parts)
    if how != FULL:
        raise UsageError(f"what is tuned is {ADAPTERS} or {FULL}, not {how!r}")
    movable = {*run.model().movable()}
    base = {n: p for n, p in body.model.named_parameters() if n in movable}
    theta = {n: torch.nn.Parameter(p.detach().float().clone()) for n, p in base.items()}
    fillings = [Filling(f"weight:{name}", p) for name, p in theta.items()]

    def parts() -> list[Part]:
        moved = [n for n, p in theta.items() if not torch.equal(p, base[n].float())] or list(theta)[:1]
        return [Weights("full", {}, {name: array(theta[name]) for name in moved})]

    return Tuned(theta, lambda: fillings, parts)
