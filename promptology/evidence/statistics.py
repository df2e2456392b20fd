"""Statistics of evidence: intervals over items, paired tests, correction over methods, sample sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.scoring import Metric, figures_of, resample, score_of

RESAMPLES = 2000
LEVEL = 0.95
ALPHA = 0.05
POWER = 7.84
"""(1.96 + 0.84) squared: two-sided 5 %, power 80 %."""
FEW = 8
"""Distinct item scores up to which resamples are drawn as counts."""
CELLS = 4_000_000
"""Resampled positions held at a time."""


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
    value = _primary(metric, predictions, targets)
    items = _scores(metric, predictions, targets) if metric.decomposes else None
    if items is not None and math.isclose(value, float(items.mean()), abs_tol=1e-9) and few(items):
        figures = means_over_resamples(items, rng, resamples)
    else:
        figures = over_resamples(lambda rows: resample(metric, predictions, targets, rows), n, rng, resamples)
    low, high = _quantiles(figures, level)
    if metric.decomposes and getattr(metric, "share", True) and low == high and value in (0.0, 1.0):
        return binomial(round(value * n), n, level)
    return Interval(value, low, high, n)


Figure = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def over_resamples(figure: Figure, n: int, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Return the figure of every resample, some rows at a time: 2,000 x 100,000 indices are gigabytes."""
    rows = max(1, CELLS // n)
    sizes = [min(rows, resamples - at) for at in range(0, resamples, rows)]
    return np.concatenate([figure(rng.integers(0, n, (size, n))) for size in sizes])


def few(items: NDArray[np.float64]) -> bool:
    """Whether items take so few values that a resample's counts of them are quicker to draw than its items."""
    return len(np.unique(items[~np.isnan(items)])) <= FEW and not np.isnan(items).any()


def means_over_resamples(
    items: NDArray[np.float64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Return the mean of every resample of items that take few values, shape (resamples,).

    How often each value occurs in a resample is multinomial, so the counts are drawn in place of the items: the same
    distribution, whatever the number of items.
    """
    values, counts = np.unique(items, return_counts=True)
    drawn = rng.multinomial(len(items), counts / len(items), resamples)
    return np.asarray(np.round(drawn @ values / len(items), 12))


def _scores(metric: Metric, predictions: Sequence[Any], targets: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([score_of(metric, p, t) for p, t in zip(predictions, targets, strict=True)], float)


def _quantiles(figures: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return the interval's ends; resamples in which the figure is not defined are left out."""
    known = figures[~np.isnan(figures)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _primary(metric: Metric, predictions: Sequence[Any], targets: Sequence[Any]) -> float:
    return float(next(iter(figures_of(metric, predictions, targets).values())))


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

    The interval is a paired bootstrap (the same resampled items for both). p is McNemar's exact test where
    items score 0 or 1 and the figure is their mean, else the two-sided paired bootstrap.
    """
    n = len(targets)
    if n == 0:
        return Paired(math.nan, math.nan, math.nan, math.nan, "no items", 0, 0, 0)
    mine, theirs = _scores(metric, found, targets), _scores(metric, start, targets)
    better, worse = int((mine > theirs).sum()), int((mine < theirs).sum())
    value = _primary(metric, found, targets) - _primary(metric, start, targets)

    def difference(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        after, before = (resample(metric, said, targets, rows) for said in (found, start))
        return np.round(after - before, 12)  # a tie is a tie, whatever the last bit of two means says

    mean = metric.decomposes and math.isclose(value, float((mine - theirs).mean()), abs_tol=1e-9)
    if mean and few(mine - theirs):
        deltas = means_over_resamples(mine - theirs, rng, resamples)
    else:
        deltas = over_resamples(difference, n, rng, resamples)
    low, high = _quantiles(deltas, level)
    if not (mean and bool(np.isin([mine, theirs], (0.0, 1.0)).all())):
        return Paired(value, low, high, bootstrap_p(deltas), "paired bootstrap", better, worse, n)
    if n in (better, worse):
        low, high = _one_sided(n, level, 1 if better else -1)
    return Paired(value, low, high, mcnemar(better, worse), "exact McNemar", better, worse, n)


def bootstrap_p(deltas: NDArray[np.float64]) -> float:
    """Return twice the smaller tail beyond no difference; + 1: the data themselves are a resample too."""
    known = deltas[~np.isnan(deltas)]
    if not len(known):
        return math.nan
    tail = int(min((known <= 0).sum(), (known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))


def _one_sided(n: int, level: float, sign: int) -> tuple[float, float]:
    """Return the interval where all items changed the same way, which a bootstrap takes for certain."""
    bound = 2 * binomial(n, n, level).low - 1
    return (bound, 1.0) if sign > 0 else (-1.0, -bound)


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


def items_needed(difference: float = 0.03, disagreement: float = 0.15) -> int:
    """Return the paired items that show a difference with 80 % power at 5 %: 7.84 d / difference squared.

    `disagreement` d: share of items on which the two prompts score differently.
    """
    return math.ceil(POWER * disagreement / difference**2 - 1e-9)


def sample_size_hint(n: int, disagreement: float) -> str:
    """Return one sentence: what 3 points need and what n items show; empty without items or disagreement."""
    if n <= 0 or not disagreement > 0:
        return ""
    visible = math.sqrt(POWER * disagreement / n)
    shown = f"show one of {100 * visible:.1f} points"
    if visible > disagreement:  # no difference is larger than the share of items that differ
        shown = "are too few to show any"
    return (
        f"to see a difference of 3 points at this disagreement ({100 * disagreement:.0f} %) you need "
        f"{items_needed(0.03, disagreement):,} items; {n:,} {shown}"
    )


class OverSeeds(NamedTuple):
    """A mean over seeds with its 95 % interval, and the p of no difference from zero by the same t."""

    value: float
    low: float
    high: float
    p: float


def over_seeds(
    figures: Sequence[float] | NDArray[np.float64], covariance: NDArray[np.float64], n: int, level: float = LEVEL
) -> OverSeeds | None:
    """Return the mean of one figure per seed, all measured on the same n items; None where nothing varies.

    Another draw of seeds and another draw of items would both have moved the mean, so both stand in its variance: A,
    the variance of the figures over seeds divided by their number S, and B, what the items that all seeds share add,
    the mean covariance of two seeds. `covariance`, S x S, is that of the figures over draws of items. A + B is never
    taken smaller than the items alone say. The quantile is Student's t with Satterthwaite's degrees of freedom,
    (A + B)^2 / (A^2 / (S - 1) + B^2 / (n - 1)): about S - 1 where seeds disagree, about n - 1 where they agree. This
    is the analysis of several readers of the same cases (Obuchowski and Rockette 1995; degrees of freedom: Hillis,
    Statistics in Medicine 26, 2007), with seeds as readers and one contrast. A bootstrap over so few seeds would be too
    narrow, by (S - 1) / S in the variance and by z in place of t; a t over seeds alone takes the items for certain.
    """
    from scipy.stats import t

    seeds = len(figures)
    value = float(np.mean(figures))
    a = float(np.var(figures, ddof=1)) / seeds
    shared = float(covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))
    b = max(shared, float(covariance.mean()) - a, 0.0)
    if a + b < 1e-18:
        return None
    freedom = (a + b) ** 2 / (a**2 / (seeds - 1) + (b**2 / (n - 1) if n > 1 else 0.0))
    width = math.sqrt(a + b)
    reach = float(t.ppf((1 + level) / 2, freedom)) * width
    return OverSeeds(value, value - reach, value + reach, float(2 * t.sf(abs(value) / width, freedom)))


def sign_flips(sums: Sequence[int]) -> float:
    """Return the exact two-sided p of Fisher's randomisation test: each item's sum keeps its size, its sign is a coin.

    `sums`: per item, seeds on which it got better minus seeds on which it got worse. With one seed it is McNemar's
    exact test. Items of one size are one binomial, so the whole distribution is a few convolutions.
    """
    from scipy.stats import binom

    sizes: dict[int, int] = {}
    for size in map(abs, sums):
        if size:
            sizes[size] = sizes.get(size, 0) + 1
    chances = np.ones(1)  # of the sum of all items whose coin fell on plus
    for size, count in sizes.items():
        step = np.zeros(size * count + 1)
        step[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, step)
    total = len(chances) - 1
    far = np.abs(2 * np.arange(total + 1) - total) >= abs(int(np.sum(sums)))
    return min(1.0, float(chances[far].sum()))
