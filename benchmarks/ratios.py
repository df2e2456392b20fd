"""Statistics of repeats: medians or means, and their ratios, with a bootstrap interval over the pairs of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

DRAWS = 10_000


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return plain JSON."""
        return self._asdict()


def bootstrap(figure: Callable[..., float], *sides: Sequence[float], centre: str = "median") -> Estimate:
    """Return a figure of medians with a percentile interval; the n-th runs of all sides are drawn together.

    `figure` takes one median per side, or one mean where `centre` is "mean". Runs of one pair share whatever else the
    machine was doing, or the case they were given, so they stay together.
    """
    import numpy as np

    middle = np.mean if centre == "mean" else np.median
    runs = np.array(sides, float)
    value = float(figure(*middle(runs, axis=1)))
    if runs.shape[1] < 2:
        return Estimate(value, value, value)
    drawn = np.random.default_rng(0).integers(0, runs.shape[1], (DRAWS, runs.shape[1]))
    middles = middle(runs[:, drawn], axis=2)
    low, high = np.quantile([figure(*column) for column in middles.T], [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def median(runs: Sequence[float]) -> Estimate:
    """Return the median of one side's runs with its interval."""
    return bootstrap(lambda m: m, runs)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Return median of ours divided by median of theirs with its interval."""
    return bootstrap(lambda a, b: a / b, ours, theirs)
