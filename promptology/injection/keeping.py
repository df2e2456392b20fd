"""What is attached to a model now, and whether what was computed under it still holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_COUNT = itertools.count(1)
_ATTACHED: dict[int, list[tuple[Any, ...]]] = {}
_EPOCHS: dict[int, int] = {}


@contextmanager
def attached(model: Any, fillers: Sequence[Any]) -> Iterator[None]:
    """Note fillers as attached to a model for as long as the block lasts."""
    key, own = id(model.base_model), tuple(fillers)
    _ATTACHED.setdefault(key, []).append(own)
    _EPOCHS[key] = next(_COUNT)
    try:
        yield
    finally:
        left = [other for other in _ATTACHED.pop(key, []) if other is not own]
        if left:
            _ATTACHED[key] = left
            _EPOCHS[key] = next(_COUNT)
        else:
            _EPOCHS.pop(key, None)


def epoch(model: Any) -> int:
    """Return a number that changes with every attachment and detachment; 0 where nothing is attached."""
    return _EPOCHS.get(id(model.base_model), 0)


class Versions:
    """Tells whether a tensor that takes part in a forward pass was changed in place: weights, buffers and fillers.

    A change through `.data` is not counted by torch, and so not seen here.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.epoch = model, -1
        self.tensors: list[Tensor] = []

    def now(self) -> tuple[int, ...] | None:
        """Return the state of all tensors; None where torch does not count (inference tensors)."""
        if self.epoch != epoch(self.model):
            self.epoch = epoch(self.model)
            self.tensors = list(_tensors((self.model, *_ATTACHED.get(id(self.model.base_model), ()))))
        try:
            return (self.epoch, *(tensor._version for tensor in self.tensors))
        except RuntimeError:
            return None


def _tensors(parts: Any) -> Iterator[Tensor]:
    if isinstance(parts, Tensor):
        yield parts
    elif isinstance(parts, nn.Module):
        yield from itertools.chain(parts.parameters(), parts.buffers())
    elif isinstance(parts, list | tuple):
        for part in parts:
            yield from _tensors(part)
