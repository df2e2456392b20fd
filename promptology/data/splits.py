"""Drawing splits: stratified by label, seeded, identical inputs never in two splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item, identity
from promptology.data.targets import listed
from promptology.errors import UsageError

DEFAULT_SHARES: Mapping[str, float] = {"train": 0.4, "validation": 0.2, "test": 0.4}

Groups = list[list[int]]


def draw(items: Sequence[Item], shares: Mapping[str, float], seed: int) -> tuple[list[Item], list[Item], list[Item]]:
    """Return train, validation and test in the original order; shares are scaled to sum to 1."""
    scaled = scale(shares)
    train, validation, test = _partition(items, [scaled["train"], scaled["validation"], scaled["test"]], seed)
    return train, validation, test


def hold_out(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Return (rest, held) in the original order, with about `share` of the items held."""
    if not 0 <= share <= 1:
        raise UsageError(f"the share held out is {share}; it must lie between 0 and 1")
    rest, held = _partition(items, [1.0 - share, share], seed)
    return rest, held


def scale(shares: Mapping[str, float]) -> dict[str, float]:
    """Return the shares of train, validation and test scaled to sum to 1; raises UsageError for unusable ones."""
    if set(shares) != set(DEFAULT_SHARES):
        raise UsageError(f"shares name {', '.join(map(str, shares)) or 'nothing'}; name {', '.join(DEFAULT_SHARES)}")
    values = np.array([shares[split] for split in DEFAULT_SHARES], float)
    if not np.isfinite(values).all() or (values < 0).any() or values.sum() == 0:
        raise UsageError(f"shares are {dict(shares)}; they must be numbers of 0 or more, not all 0")
    return dict(zip(DEFAULT_SHARES, (values / values.sum()).tolist(), strict=True))


def _partition(items: Sequence[Item], weights: Sequence[float], seed: int) -> list[list[Item]]:
    """Split items by weights (they sum to 1) within each stratum; groups of identical inputs stay whole."""
    rng = np.random.default_rng(seed)
    strata = _strata(items)
    quotas = _quotas(strata, np.asarray(weights, float))
    total = quotas.sum(axis=0)
    lack = total.copy()
    home = np.zeros(len(items), int)
    for groups, quota in zip(strata, quotas, strict=True):
        left = quota.copy()
        filled = np.zeros(len(left), bool)
        # Large groups first: small ones then fill what is left. Among equals the order is random.
        order = sorted(rng.permutation(len(groups)).tolist(), key=lambda g: -len(groups[g]))
        for n, g in enumerate(order):
            split = _neediest(left, lack / np.maximum(total, 1), ~filled & (quota > 0), len(order) - n)
            home[groups[g]] = split
            filled[split] = True
            left[split] -= len(groups[g])
            lack[split] -= len(groups[g])
    return [[items[i] for i in np.flatnonzero(home == split).tolist()] for split in range(len(weights))]


def _neediest(left: NDArray[np.int64], lack: NDArray[np.float64], empty: NDArray[np.bool_], groups: int) -> int:
    """Return the split that needs a group most: by what its stratum lacks, then by the part the whole lacks.

    When only as many groups are left as splits without one, those splits come first.
    """
    must = empty if empty.any() and groups <= empty.sum() else np.ones(len(left), bool)
    return int(np.lexsort((-lack, -left, ~must))[0])


def _quotas(strata: Sequence[Groups], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many items of each stratum go to each split, shape (strata, splits).

    Every entry is its exact share rounded down or up, and rows sum to the strata's sizes. Within that, a stratum with
    a group for every split reaches every split, and then the columns come as near as they can to the splits' shares of
    all items: rounding each stratum on its own would add up (of 50 classes with 2 items none would be in validation).
    """
    sizes = np.array([sum(map(len, groups)) for groups in strata], int)
    exact = sizes[:, None] * shares
    base = np.floor(exact + 1e-9).astype(int)
    part = exact - base
    open_ = part > 1e-9
    up = np.zeros(exact.shape, bool)
    fixed = np.zeros(exact.shape, bool)
    for row, groups in enumerate(strata):
        by_part = [int(c) for c in np.argsort(-part[row], kind="stable") if open_[row, c]]
        reach = len(groups) >= np.count_nonzero(shares)
        first = [c for c in by_part if reach and base[row, c] == 0]
        for column in [*first, *(c for c in by_part if c not in first)][: sizes[row] - base[row].sum()]:
            up[row, column] = True
            fixed[row, column] = column in first
    least = (base + fixed).sum(axis=0)
    _balance(up, open_, fixed, part, _totals(int(sizes.sum()), shares, least) - base.sum(axis=0))
    return np.asarray(base + up)


def _totals(size: int, shares: NDArray[np.float64], least: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the splits' sizes: their shares, but not under `least`; the others then share what is left."""
    totals = _round(size * shares)
    bound = np.zeros(len(shares), bool)
    while (least > totals).any() and not bound.all():
        bound |= least > totals
        totals[bound] = least[bound]
        if shares[~bound].sum() > 0:
            rest = size - int(least[bound].sum())
            totals[~bound] = _round(rest * shares[~bound] / shares[~bound].sum())
    return totals


def _round(exact: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round to integers with the same sum, by largest remainder."""
    base = np.floor(exact + 1e-9).astype(int)
    missing = round(float(exact.sum())) - int(base.sum())
    base[np.argsort(base - exact, kind="stable")[:missing]] += 1
    return base


def _balance(
    up: NDArray[np.bool_],
    open_: NDArray[np.bool_],
    fixed: NDArray[np.bool_],
    part: NDArray[np.float64],
    wanted: NDArray[np.int64],
) -> None:
    """Move rounded-up entries of `up` between columns until column sums are `wanted`, or nothing can move.

    A move goes straight from a column that has too many to one that has too few, or by way of a third one; with
    three columns there are no longer ways.
    """

    def movable(a: int, b: int) -> NDArray[np.int64]:
        rows = np.flatnonzero(up[:, a] & ~fixed[:, a] & open_[:, b] & ~up[:, b])
        return rows[np.argsort(part[rows, a] - part[rows, b], kind="stable")]

    columns = range(up.shape[1])
    moved = True
    while moved:
        moved = False
        for a, b in ((a, b) for a in columns for b in columns if a != b):
            for way in ([a, b], *([a, c, b] for c in columns if c not in (a, b))):
                over = up.sum(axis=0) - wanted
                steps = [(x, y, movable(x, y)) for x, y in pairwise(way)]
                count = max(0, min(over[a], -over[b], *(len(rows) for _, _, rows in steps)))
                for x, y, rows in steps:
                    up[rows[:count], x], up[rows[:count], y] = False, True
                moved |= count > 0


def _strata(items: Sequence[Item]) -> list[Groups]:
    """Return groups of positions with identical inputs, by label, sorted by it; unlabelled items come last.

    Where most labels are unique they are free text, and all labelled items are one stratum. An item of several
    classes belongs to the stratum of its rarest one, so that rare classes reach every split; one of none has its own.
    """
    groups: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(json.dumps(dict(item.inputs), sort_keys=True, default=identity), []).append(i)
    labels = strata_keys(items)
    named = [label for label in labels if label is not None]
    free_text = len(set(named)) * 2 > len(named)
    strata: dict[tuple[bool, str], Groups] = {}
    for group in groups.values():
        label = labels[group[0]]
        key = (label is None, "" if label is None or free_text else label)
        strata.setdefault(key, []).append(group)
    return [strata[key] for key in sorted(strata)]


def strata_keys(items: Sequence[Item]) -> list[str | None]:
    """Return what each item is drawn by: its label, or the rarest of its labels; None where it has none."""
    lists = [listed(item._target) for item in items]
    counts = Counter(str(name) for names in lists if names is not None for name in dict.fromkeys(names))
    keys: list[str | None] = []
    for item, names in zip(items, lists, strict=True):
        if names is None:
            keys.append(str(item._target) if item.labelled else None)
        else:
            keys.append(min((str(n) for n in names), key=lambda n: (counts[n], n), default=""))
    return keys
