"""Adapters in every block and a model's own head, as parameters, as what is attached, and as parts that are saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from promptology.errors import UsageError
from promptology.injection import Filling
from promptology.injection.modules import Adapter
from promptology.prompts.sites import Weights
from promptology.run.engine import Run
from promptology.training.initial import array
from promptology.training.layers import block_outputs, head_weights


class Adapters:
    """Adapters behind the last layer of each block's attention and feed-forward part, and the head's own layers.

    LiST, arXiv:2110.06274: out + B (A out), A and B drawn from N(0, std^2), so that the model starts practically as it
    was; before dropout, residual and norm. `rank` 0: the head alone; `head`: whether it is trained. `name` tells one
    draw from another. Raises UsageError where nothing would be trained.
    """

    def __init__(self, run: Run, body: Any, rank: int, *, std: float, relu: bool, head: bool, name: str) -> None:
        if rank < 0:
            raise UsageError(f"adapters of rank {rank} cannot be; take 1 or more, or 0 for none")
        rng, device = run.rng(f"adapters/{name}"), body.device
        self.modules: dict[str, Adapter] = {}
        self.rank, self.relu = rank, relu
        for layer in block_outputs(body.model) if rank else ():
            halves = (rng.normal(0.0, std, shape) for shape in ((rank, layer.outputs), (layer.outputs, rank)))
            drawn = [torch.tensor(half, dtype=torch.float32, device=device) for half in halves]
            self.modules[layer.path] = Adapter(drawn[0], drawn[1], relu)
        own = head_weights(body.model) if head else {}
        self.head = {name: nn.Parameter(p.detach().float().clone()) for name, p in own.items()}
        if not self.parameters:
            raise UsageError("there is nothing to train: give adapters a rank above 0")

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """All that is trained, by name."""
        halves = {f"{path}.{half}": getattr(m, half) for path, m in self.modules.items() for half in "AB"}
        return {**halves, **self.head}

    def fillings(self, instead: Mapping[str, Tensor] | None = None) -> list[Filling]:
        """Return what is attached; `instead`: tensors in the place of the parameters, by their names."""
        given = instead or self.parameters
        behind: list[Any] = [self.modules[path] for path in self.modules]
        if instead is not None:
            behind = [_With(m, {h: given[f"{path}.{h}"] for h in "AB"}) for path, m in self.modules.items()]
        fillings = [Filling(f"linear:{path}", m) for path, m in zip(self.modules, behind, strict=True)]
        return fillings + [Filling(f"weight:{name}", given[name]) for name in self.head]

    def parts(self) -> list[Weights]:
        """Return what is saved."""
        halves = {f"{path}.{half}": array(getattr(m, half)) for path, m in self.modules.items() for half in "AB"}
        options = {"rank": self.rank, "relu": self.relu}
        head = {name: array(p) for name, p in self.head.items()}
        found = [Weights("adapter", options, halves)] if halves else []
        return [*found, Weights("full", {}, head)] if head else found


class _With(nn.Module):
    """A module that computes with other tensors than its own, derivatives along them included."""

    def __init__(self, inner: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.__dict__.update(inner=inner, tensors=dict(tensors))

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """Return what the module gives with them."""
        found: Tensor = torch.func.functional_call(self.inner, self.tensors, (x, out))
        return found
