"""Statistics of evidence: intervals over items, paired tests, correction over methods, sample sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.metrics import Metric, resample

RESAMPLES = 2000
LEVEL = 0.95
ALPHA = 0.05


class Interval(NamedTuple):
    """A figure with its 95 % interval on n items."""

    value: float
    low: float
    high: float
    n: int


class Paired(NamedTuple):
    """Found minus start on the same items: difference, its interval, p of `test`, items better and worse."""

    difference: float
    low: float
    high: float
    p: float
    test: str
    better: int
    worse: int
    n: int


def bootstrap_interval(
    metric: Metric,
    predictions: Sequence[Any],
    targets: Sequence[Any],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Return the metric's primary figure with a percentile bootstrap interval over items.

    Where every item is right, or every one wrong, no resample differs and the bootstrap is blind; the exact
    Clopper-Pearson interval stands in.
    """
    n = len(targets)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = next(iter(metric.aggregate(predictions, targets).values()))
    figures = resample(metric, predictions, targets, rng.integers(0, n, (resamples, n)))
    low, high = _quantiles(figures, level)
    if metric.decomposes and low == high and value in (0.0, 1.0):
        return binomial(round(value * n), n, level)
    return Interval(value, low, high, n)


def _quantiles(figures: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def binomial(wins: int, n: int, level: float = LEVEL) -> Interval:
    """Return a share with its exact (Clopper-Pearson) interval."""
    from scipy.stats import binomtest

    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    found = binomtest(wins, n).proportion_ci(level, "exact")
    return Interval(wins / n, float(found.low), float(found.high), n)


def paired(
    metric: Metric,
    found: Sequence[Any],
    start: Sequence[Any],
    targets: Sequence[Any],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Paired:
    """Compare two prompts on the same items.

    The interval is a paired bootstrap (the same resampled items for both). p is McNemar's exact test where items
    score 0 or 1 and the figure is their mean, else the two-sided paired bootstrap.
    """
    n = len(targets)
    if n == 0:
        return Paired(math.nan, math.nan, math.nan, math.nan, "no items", 0, 0, 0)
    mine = np.array([metric.item(p, t) for p, t in zip(found, targets, strict=True)])
    theirs = np.array([metric.item(p, t) for p, t in zip(start, targets, strict=True)])
    better, worse = int((mine > theirs).sum()), int((mine < theirs).sum())
    indices = rng.integers(0, n, (resamples, n))
    deltas = resample(metric, found, targets, indices) - resample(metric, start, targets, indices)
    low, high = _quantiles(deltas, level)
    value = _primary(metric, found, targets) - _primary(metric, start, targets)
    if metric.decomposes and set(np.unique([mine, theirs])) <= {0.0, 1.0}:
        p, test = mcnemar(better, worse), "exact McNemar"
    else:
        tail = min((deltas <= 0).sum(), (deltas >= 0).sum())
        p, test = float(min(1.0, 2 * (tail + 1) / (resamples + 1))), "paired bootstrap"
        if better == worse == 0:
            p = 1.0
    return Paired(value, low, high, p, test, better, worse, n)


def _primary(metric: Metric, predictions: Sequence[Any], targets: Sequence[Any]) -> float:
    return next(iter(metric.aggregate(predictions, targets).values()))


def mcnemar(better: int, worse: int) -> float:
    """Return the exact two-sided p of McNemar's test: a sign test on the discordant items."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected after Holm (1979); NaN stays NaN and is not counted."""
    known = sorted((p, i) for i, p in enumerate(ps) if not math.isnan(p))
    corrected = [math.nan] * len(ps)
    running = 0.0
    for rank, (p, i) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - rank)))
        corrected[i] = running
    return corrected


def verdict(pair: Paired, p: float) -> str:
    """Return better or worse only where the test and the interval agree, else no evidence."""
    if p < ALPHA and pair.low > 0:
        return "better"
    if p < ALPHA and pair.high < 0:
        return "worse"
    return "no evidence"


def items_needed(difference: float, disagreement: float) -> int:
    """Return the paired items that show a difference with 80 % power at 5 %: 7.84 d / difference squared.

    `disagreement` d: share of items on which the two prompts score differently.
    """
    return math.ceil(7.84 * disagreement / difference**2 - 1e-9)


def sample_size_hint(n: int, disagreement: float) -> str:
    """Return one sentence: what n items can show, and what 3 points need."""
    visible = 100 * math.sqrt(7.84 * disagreement / n)
    return (
        f"the prompts disagree on {disagreement:.0%} of the items: to see a difference of 3 points takes "
        f"{items_needed(0.03, disagreement):,} items, {n:,} show one of {visible:.1f} points"
    )
