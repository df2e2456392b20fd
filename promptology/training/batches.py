"""Which items stand in which step's batch, as a function of the step alone, so that a training can go on anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from promptology.errors import UsageError

POOL = 16
"""Batches per pool within which items are sorted by length: the order stays random, padding nearly disappears."""


class Batches:
    """Batches of `size` items by step: every epoch is a new permutation in which each item stands exactly once.

    The batches of step k are a pure function of k and of the generator's state when this was made. A batch at the end
    of an epoch is filled from the next one, so all are of one size (`size` may exceed the number of items); with
    `drop_last` what fills no batch there is left out of this epoch. With `lengths` (one number per item, tokens say)
    items of similar length come together: within pools of `POOL` batches they are sorted, and the batches of a pool
    are shuffled.
    """

    def __init__(
        self,
        items: Sequence[Any],
        size: int,
        rng: np.random.Generator,
        lengths: Sequence[int] | None = None,
        *,
        drop_last: bool = False,
    ) -> None:
        if not items:
            raise UsageError("there are no items to learn from")
        if size < 1:
            raise UsageError(f"a batch of {size} items is too small")
        if lengths is not None and len(lengths) != len(items):
            raise UsageError(f"{len(lengths)} lengths were given for {len(items)} items")
        if drop_last and (size > len(items) or lengths is not None):
            raise UsageError(f"drop_last is for batches no larger than the {len(items)} items, without lengths")
        self.items, self.size, self._drop_last = items, size, drop_last
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._seed = int(rng.integers(2**63))
        self._epochs: dict[int, np.ndarray] = {}

    def __call__(self, k: int) -> list[Any]:
        """Return the items of step k, from 0."""
        return [self.items[i] for i in self.indices(k)]

    def indices(self, k: int) -> list[int]:
        """Return the indices of the items of step k."""
        if self._drop_last:
            epoch, at = divmod(k, len(self.items) // self.size)
            found: list[int] = self._epoch(epoch)[at * self.size : (at + 1) * self.size].tolist()
            return found
        found = []
        epoch, at = divmod(k * self.size, len(self.items))
        while len(found) < self.size:
            found += self._epoch(epoch)[at : at + self.size - len(found)].tolist()
            epoch, at = epoch + 1, 0
        return found

    def steps(self, epochs: float) -> int:
        """Return how many steps so many epochs take, rounded up."""
        return epochs_to_steps(epochs, len(self.items), self.size)

    def _epoch(self, epoch: int) -> np.ndarray:
        """Return the order of an epoch; only the last few are remembered."""
        if epoch not in self._epochs:
            rng = np.random.default_rng([self._seed, epoch])
            order = rng.permutation(len(self.items))
            if self._lengths is not None:
                order = self._bucketed(order, epoch, rng)
            while len(self._epochs) > 2:
                del self._epochs[min(self._epochs)]
            self._epochs[epoch] = order
        return self._epochs[epoch]

    def _bucketed(self, order: np.ndarray, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """Sort pools by length, and shuffle the whole batches of each; those cut by the epoch's ends stay there.

        Batches are cut from all epochs in a row, so the first one of an epoch may have begun in the epoch before.
        """
        assert self._lengths is not None
        begun = -(epoch * len(self.items)) % self.size
        head, rest = order[:begun], order[begun:]
        whole = len(rest) // self.size * self.size
        tail, parts = rest[whole:], [head]
        for at in range(0, whole, POOL * self.size):
            pool = rest[at : min(at + POOL * self.size, whole)]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches = pool.reshape(-1, self.size)
            parts.append(batches[rng.permutation(len(batches))].ravel())
        return np.concatenate([*parts, tail])


def epochs_to_steps(epochs: float, items: int, size: int) -> int:
    """Return how many batches of `size` cover so many epochs of `items`, rounded up; at least 1."""
    return max(1, -(-round(epochs * items) // size))
