"""What a search scored, in sums that stay small: enough to tell how much of its best figure is luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
MOST = 20_000
"""Scored candidates that are kept, over all blocks; what comes later is left out."""


@dataclass
class Block:
    """Candidates that were scored on the same items.

    `means`: of each candidate, by its key; `columns`: sum over candidates for each item, shape (items,); `squares`: sum
    of squared scores; `filled`: scores that were missing and stand at their candidate's mean.
    """

    columns: Table
    means: dict[str, float] = field(default_factory=dict)
    squares: float = 0.0
    filled: int = 0
    low: float = np.inf
    high: float = -np.inf

    @property
    def items(self) -> int:
        """How many items each candidate was scored on."""
        return len(self.columns)


class Scored:
    """All blocks of a run, by the items they stand on."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self._kept = 0

    def note(self, items: str, candidates: Sequence[str], values: Table) -> None:
        """Note scores, shape (candidates, items), NaN where missing; candidates and items by their keys.

        A candidate without any score, or scored on these items before, is left out.
        """
        for key, row in zip(candidates, values, strict=True):
            missing = np.isnan(row)
            block = self.blocks.get(items)
            if missing.all() or self._kept >= MOST or (block is not None and key in block.means):
                continue
            if block is None:
                block = self.blocks[items] = Block(np.zeros(len(row)))
            mean = float(row[~missing].mean())
            filled = np.where(missing, mean, row)
            block.means[key] = mean
            block.columns += filled
            block.squares += float(filled @ filled)
            block.filled += int(missing.sum())
            block.low, block.high = min(block.low, float(filled.min())), max(block.high, float(filled.max()))
            self._kept += 1
