"""Batches of bounded size: sorted by length, halved where memory ends, and the bound remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from promptology.errors import ModelError

log = logging.getLogger("promptology")
T = TypeVar("T")
Plan = Callable[[Iterable[int], Sequence[int], int], list[list[int]]]
"""Makes batches of inputs, given by index, of their lengths and of the number of tokens that one may have."""

CPU_TOKENS = 8192
"""Padded tokens of a batch without a GPU, where larger ones are no faster."""
LEAST, MOST = 1024, 1 << 18
ROWS = 1024
"""Rows of a batch, at most."""
SHARE = 0.4
"""Share of a GPU's free memory that the first estimate of a batch takes."""


class Memory:
    """How many padded tokens a batch may have on a device; `shrink` halves it for good."""

    def __init__(self, model: Any, device: Any) -> None:
        self.tokens = CPU_TOKENS if device.type != "cuda" else self._estimate(model, device)

    @staticmethod
    def _estimate(model: Any, device: Any) -> int:
        config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
        free, _ = torch.cuda.mem_get_info(device)
        width = int(getattr(config, "hidden_size", 1024))
        layers = int(getattr(config, "num_hidden_layers", 12))
        heads = int(getattr(config, "num_attention_heads", 1))
        shared = int(getattr(config, "num_key_value_heads", None) or heads)
        # Keys and values of every layer, and the working memory of one layer.
        per_token = (2 * layers * width * shared // heads + 24 * width) * model.dtype.itemsize
        return max(LEAST, min(MOST, int(SHARE * free / per_token)))

    def shrink(self, name: str, batch: Sequence[int], lengths: Sequence[int]) -> None:
        """Halve the bound after a batch that did not fit; raises ModelError where it held one row only."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            raise ModelError(
                f"{name}: one input of {lengths[batch[0]]} tokens does not fit into memory; "
                "shorten it, load the model with bits=4, or take another device"
            )
        self.tokens = max(1, len(batch) * max(lengths[i] for i in batch) // 2)
        log.warning("%s: out of memory; batches of at most %d tokens from now on", name, self.tokens)


def plan(order: Iterable[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return batches of a bounded number of padded tokens, the longest first, so that what does not fit fails early."""
    batches: list[list[int]] = []
    longest = 0
    for i in sorted(order, key=lambda i: -lengths[i]):
        if batches and len(batches[-1]) < ROWS and longest * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
            longest = lengths[i]
    return batches


def in_batches(
    memory: Memory,
    name: str,
    lengths: Sequence[int],
    run: Callable[[list[int]], Iterable[tuple[int, T]]],
    plan: Plan = plan,
) -> Iterator[tuple[int, T]]:
    """Yield (index, value) of all inputs, batch by batch; `run(batch)` yields those of one.

    What a batch had not yielded when memory ended is run again in smaller ones.
    """
    waiting = plan(range(len(lengths)), lengths, memory.tokens)
    while waiting:
        batch = waiting.pop(0)
        done: set[int] = set()
        try:
            for i, value in run(batch):
                done.add(i)
                yield i, value
            continue
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        memory.shrink(name, batch, lengths)
        rest = [i for some in (batch, *waiting) for i in some if i not in done]
        waiting = plan(rest, lengths, memory.tokens)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ended, on a GPU or without."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said
