"""One arm over several seeds: the mean, an interval that is honest about seeds and items, one p, and a row per seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.metrics import Metric, resample
from promptology.evidence.fitting import Result
from promptology.evidence.measuring import Measured, primary
from promptology.evidence.statistics import (
    RESAMPLES,
    Interval,
    Paired,
    bootstrap_interval,
    bootstrap_p,
    over_resamples,
    over_seeds,
    paired,
    sign_flips,
)
from promptology.run.cost import ZERO, Cost

TEST = "t over seeds and items"
Array = NDArray[np.float64]


class Pooled(NamedTuple):
    """An arm over its seeds: mean score, the start's, their difference."""

    score: Interval
    start: Interval
    difference: Paired


class _Votes:
    """The metric of a duel: an output is already the score of its input."""

    name = "win share"
    decomposes = True
    needs: Mapping[str, Any] = MappingProxyType({})

    def item(self, prediction: Any, target: Any) -> float:
        """Return the vote."""
        return float(prediction)

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the share won."""
        return {self.name: float(np.mean(predictions)) if len(predictions) else float("nan")}


def pool(results: Sequence[Result], metric: Metric, rng: np.random.Generator) -> Pooled | None:
    """Return the figures of one arm from its runs, one per seed, on the items that every one of them answered.

    See `over_seeds` for interval and p. p is never smaller than the items alone allow with these very seeds: the exact
    randomisation test where items score 0 or 1, else the paired bootstrap. Where all seeds score alike on every item,
    the figures are those of a single seed.
    """
    found, start = _common(results)
    if len(found) < 2 or not found[0].n:
        return None
    if results[0].evidence.protocol == "duel":
        metric = _Votes()
    n = found[0].n
    if _alike(metric, found) and _alike(metric, start):
        return _single(results, metric, found[0], start[0], rng)
    after, before = (np.array([primary(metric, m.outputs, m.targets) for m in side]) for side in (found, start))
    draws = over_resamples(lambda rows: _figures(metric, found, start, rows), n, rng, RESAMPLES)
    draws = draws[~np.isnan(draws).any(axis=(1, 2))]
    return Pooled(
        _score(metric, found, after, draws[:, 0], rng),
        _score(metric, start, before, draws[:, 1], rng),
        _difference(metric, found, start, after - before, draws[:, 0] - draws[:, 1]),
    )


def pooled_score(measured: Sequence[Measured], metric: Metric, rng: np.random.Generator) -> Interval:
    """Return the mean score over seeds, of items that all of them answered, with an interval over seeds and items."""
    ids = set.intersection(*({*m.ids} for m in measured))
    found = [m.only(ids) for m in measured]
    if len(found) < 2 or not ids:
        return bootstrap_interval(metric, found[0].outputs, found[0].targets, rng)
    figures = np.array([primary(metric, m.outputs, m.targets) for m in found])

    def over_items(rows: NDArray[np.int64]) -> Array:
        return np.stack([resample(metric, m.outputs, m.targets, rows) for m in found], axis=1)

    draws = over_resamples(over_items, len(ids), rng, RESAMPLES)
    return _score(metric, found, figures, draws[~np.isnan(draws).any(axis=1)], rng)


def _common(results: Sequence[Result]) -> tuple[list[Measured], list[Measured]]:
    """Return found and start per measured seed, on the items that all of them share."""
    pairs: list[tuple[Measured, Measured]] = []
    duels = [e.found_measured for e in (r.evidence for r in results) if e.protocol == "duel" and e.found_measured]
    for evidence in (r.evidence for r in results):
        found, start = evidence.found_measured, evidence.start_measured
        if found is None and evidence.verdict == "start" and duels:
            found = _even(duels[0])  # a start needs no duel with itself: it is even on every input
        if found is not None and found.n:
            pairs.append((found, start or _even(found)))
    ids = set.intersection(*({*f.ids} & {*s.ids} for f, s in pairs)) if pairs else set()
    return [f.only(ids) for f, _ in pairs], [s.only(ids) for _, s in pairs]


def _even(votes: Measured) -> Measured:
    return replace(votes, outputs=[0.5] * votes.n)


def _single(
    results: Sequence[Result], metric: Metric, found: Measured, start: Measured, rng: np.random.Generator
) -> Pooled:
    """Return the figures of one seed for all: the run's own where it has no item beyond the common ones."""
    for e in (r.evidence for r in results):
        if e.n == found.n and e.found and e.start and e.difference:
            return Pooled(e.found, e.start, e.difference)
    return Pooled(
        bootstrap_interval(metric, found.outputs, found.targets, rng),
        bootstrap_interval(metric, start.outputs, start.targets, rng),
        paired(metric, found.outputs, start.outputs, found.targets, rng),
    )


def _scores(metric: Metric, m: Measured) -> list[Any]:
    """Return what makes two measurements the same: item scores, or outputs where the figure is no mean of scores."""
    if not metric.decomposes:
        return m.outputs
    return [metric.item(p, t) for p, t in zip(m.outputs, m.targets, strict=True)]


def _alike(metric: Metric, measured: Sequence[Measured]) -> bool:
    first = _scores(metric, measured[0])
    return all(_scores(metric, m) == first for m in measured[1:])


def _figures(metric: Metric, found: Sequence[Measured], start: Sequence[Measured], rows: NDArray[np.int64]) -> Array:
    """Return the figures of every resample, shape (R, 2, S); all seeds and both prompts see the same items."""
    sides = [[resample(metric, m.outputs, m.targets, rows) for m in side] for side in (found, start)]
    return np.moveaxis(np.array(sides), 2, 0)


def _score(
    metric: Metric, measured: Sequence[Measured], figures: Array, draws: Array, rng: np.random.Generator
) -> Interval:
    n = measured[0].n
    if _alike(metric, measured):
        return bootstrap_interval(metric, measured[0].outputs, measured[0].targets, rng)
    mean = over_seeds(figures, np.cov(draws, rowvar=False), n)
    if mean is None:
        return bootstrap_interval(metric, measured[0].outputs, measured[0].targets, rng)
    low, high = mean.low, mean.high
    if ((draws >= 0) & (draws <= 1)).all():  # a share stays one; the t interval does not know
        low, high = max(low, 0.0), min(high, 1.0)
    return Interval(mean.value, low, high, n)


def _difference(
    metric: Metric, found: Sequence[Measured], start: Sequence[Measured], figures: Array, draws: Array
) -> Paired:
    n = found[0].n
    changes = np.array(
        [np.subtract(_item_scores(metric, f), _item_scores(metric, s)) for f, s in zip(found, start, strict=True)]
    )
    sums = changes.sum(axis=0)
    better, worse = int((sums > 0).sum()), int((sums < 0).sum())
    whole = metric.decomposes and bool((changes * 2 == np.round(changes * 2)).all())
    least = sign_flips([round(2 * x) for x in sums]) if whole else bootstrap_p(np.round(draws.mean(axis=1), 12))
    mean = over_seeds(figures, np.cov(draws, rowvar=False), n)
    value = float(figures.mean())
    if mean is None:
        return Paired(value, value, value, least, TEST, better, worse, n)
    return Paired(mean.value, mean.low, mean.high, max(mean.p, least), TEST, better, worse, n)


def _item_scores(metric: Metric, m: Measured) -> list[float]:
    return [metric.item(p, t) for p, t in zip(m.outputs, m.targets, strict=True)]


def verdict_over(results: Sequence[Result]) -> str:
    """Return the verdict of an arm that was not tested: the start everywhere, or why nothing was measured."""
    verdicts = [r.evidence.verdict for r in results]
    return next((v for v in verdicts if v.startswith("not measured")), "start")


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """Return the mean over seeds, counts rounded up."""
    total = ZERO
    for cost in costs:
        total = total.plus(cost)
    return total.each(len(costs))
