"""What claims about cost measure: CPU time of arms in turn, and the memory that a loss keeps for its gradients."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

REPEATS, UNMEASURED = 30, 5


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread for as long as the block lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    arms: Mapping[str, Callable[[], object]], repeats: int = REPEATS, unmeasured: int = UNMEASURED
) -> dict[str, float]:
    """Return the median process CPU time of each arm's work, in milliseconds.

    The arms take turns forth and back (A, B, B, A), so that a machine that changes its pace does so for all of them.
    `repeats`: measured ones of each arm, after `unmeasured` ones.
    """
    for work in arms.values():
        for _ in range(unmeasured):
            work()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for n in range(repeats):
        for name in [*arms] if n % 2 == 0 else [*arms][::-1]:
            began = time.process_time()
            arms[name]()
            times[name].append(1000 * (time.process_time() - began))
    return {name: statistics.median(some) for name, some in times.items()}


class _Kept:
    """A tensor that a step of a backward pass holds on to; it goes when that step does."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor


def kept_bytes(model: Any, make: Callable[[], Any]) -> int:
    """Return the bytes of the distinct tensors that the loss `make()` keeps for its backward pass.

    Tensors that share their memory count once, those of the model's own weights and buffers not at all.
    """
    from torch.autograd.graph import saved_tensors_hooks

    alive: weakref.WeakSet[_Kept] = weakref.WeakSet()

    def pack(tensor: Any) -> _Kept:
        kept = _Kept(tensor.detach())  # an output that held on to its own step would never go
        alive.add(kept)
        return kept

    with saved_tensors_hooks(pack, lambda kept: kept.tensor):
        loss = make()
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    memory = [kept.tensor.untyped_storage() for kept in alive]
    sizes = {m.data_ptr(): m.nbytes() for m in memory if m.data_ptr() not in own}
    del loss  # held until here: without it nothing is kept
    return sum(sizes.values())
