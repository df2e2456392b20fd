"""Drawing splits: stratified by label, seeded, identical inputs never in two splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from promptology.data.items import Item

DEFAULT_SHARES: Mapping[str, float] = {"train": 0.4, "validation": 0.2, "test": 0.4}


def draw(items: Sequence[Item], shares: Mapping[str, float], seed: int) -> tuple[list[Item], list[Item], list[Item]]:
    """Return train, validation and test; shares are scaled to sum to 1."""
    weights = [shares["train"], shares["validation"], shares["test"]]
    train, validation, test = _partition(items, weights, seed)
    return train, validation, test


def hold_out(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Return (rest, held) with about `share` of the items held."""
    rest, held = _partition(items, [1.0 - share, share], seed)
    return rest, held


def _partition(items: Sequence[Item], weights: Sequence[float], seed: int) -> list[list[Item]]:
    """Split items by weights within each stratum; groups of identical inputs stay whole.

    A group goes to the split that is furthest below its share, first of its stratum and then overall, so that every
    stratum and the whole stay within one group of the shares.
    """
    rng = np.random.default_rng(seed)
    shares = np.asarray(weights, float) / sum(weights)
    strata = _strata(items)
    total = np.zeros(len(shares))
    chosen: dict[int, int] = {}
    for name in sorted(strata):
        groups = strata[name]
        mine = np.zeros(len(shares))
        size = sum(len(g) for g in groups)
        for g in rng.permutation(len(groups)):
            group = groups[g]
            # How far each split is from what it should hold of this stratum; the whole breaks ties.
            lack = shares * size - mine
            overall = shares * (total.sum() + len(group)) - total
            split = int(np.lexsort((-overall, -np.round(lack, 9)))[0])
            mine[split] += len(group)
            total[split] += len(group)
            chosen.update(dict.fromkeys(group, split))
    return [[item for i, item in enumerate(items) if chosen[i] == split] for split in range(len(shares))]


def _strata(items: Sequence[Item]) -> dict[str, list[list[int]]]:
    """Return groups of positions with identical inputs, by label; mostly unique labels are one stratum."""
    groups: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(json.dumps(dict(item.inputs), sort_keys=True, default=str), []).append(i)
    labels = [str(item._target) if item.labelled else "" for item in items]
    free_text = len(set(labels)) * 2 > len(labels)
    strata: dict[str, list[list[int]]] = {}
    for group in groups.values():
        strata.setdefault("" if free_text else labels[group[0]], []).append(group)
    return strata
