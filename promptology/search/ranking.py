"""The prompts a search has tried, each with its mean score on the items on which the search selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from promptology.data.items import Item
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.search.pool import Pool
from promptology.search.scoring import score


class Scored(NamedTuple):
    """A prompt with its mean score."""

    prompt: Learned
    score: float


def scored(run: Run, prompts: Sequence[Learned], items: Sequence[Item]) -> list[Scored]:
    """Score prompts on items in one batch; return them with their means, without those that no answer came for."""
    means = score(run, prompts, items).means
    return [Scored(p, float(m)) for p, m in zip(prompts, means, strict=True) if not np.isnan(m)]


def best(tried: Sequence[Scored], count: int) -> list[Scored]:
    """Return the best, at most so many; among equals the oldest comes first."""
    return sorted(tried, key=lambda h: -h.score)[:count]


def noted(pool: Pool, tried: Sequence[Scored]) -> None:
    """Let a pool remember what prompts scored, for a proposer that comes back with one of them."""
    for prompt, value in tried:
        pool.add(prompt.instruction, f"it scored {round(100 * value)} of 100")
