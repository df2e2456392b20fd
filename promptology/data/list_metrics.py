"""Metrics of answers that are lists: sets of classes, spans of the input, rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.metrics import ExactMatch, TokenF1
from promptology.data.scoring import ByItem, class_feedback, normalise, ratio, set_f1, times


class Jaccard(ByItem):
    """Mean over the items of shared classes divided by all classes of prediction and target; 1 where both are empty."""

    name = "jaccard"
    outputs = ("class", "classes")

    def item(self, prediction: Any, target: Any) -> float:
        """Intersection over union of the two sets."""
        if prediction is None:
            return 0.0
        said, real = (set(v) if isinstance(v, tuple) else {v} for v in (prediction, target))
        return len(said & real) / len(said | real) if said or real else 1.0

    def feedback(self, prediction: Any, target: Any) -> str:
        """Return what was said and what is right."""
        return class_feedback(prediction, target)


class SpanF1:
    """F1 of the spans, counted over all items; two spans are equal but for case, spaces and final punctuation."""

    name = "span_f1"
    decomposes = False
    needs: Mapping[str, Any] = MappingProxyType({})
    outputs = ("spans",)

    def item(self, prediction: Any, target: Any) -> float:
        """F1 of the two sets of spans; 1 where both are empty."""
        return set_f1(None if prediction is None else _forms(prediction), sorted(_forms(target)))

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return span F1, its precision and recall, token F1 and exact match."""
        names = (self.name, "span_precision", "span_recall")
        right, said, real = self._counts(predictions, targets).sum(axis=0) if len(targets) else [math.nan] * 3
        values = [_share(2 * right, said + real), _share(right, said), _share(right, real)]
        figures = dict(zip(names, values, strict=True))
        for beside in (TokenF1(), ExactMatch()):
            figures.update(beside.aggregate(predictions, targets))
        return figures

    def resampled(
        self, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the figure of each resample, shape (R,), from counts per item."""
        right, said, real = (times(indices, len(targets)) @ self._counts(predictions, targets)).T
        both = said + real
        return np.where(both > 0, ratio(2 * right, both), 1.0)

    def _counts(self, predictions: Sequence[Any], targets: Sequence[Any]) -> NDArray[np.float64]:
        """Return per item: spans that are right, said, wanted."""
        pairs = [(_forms(p or ()), _forms(t)) for p, t in zip(predictions, targets, strict=True)]
        return np.array([[len(said & real), len(said), len(real)] for said, real in pairs], float).reshape(-1, 3)


def _forms(spans: Sequence[Any]) -> set[str]:
    return {normalise(span) for span in spans}


def _share(over: float, under: float) -> float:
    """Return over / under; 1 where there was nothing to find and nothing was said."""
    return float(over / under) if under else 1.0


class KendallTau(ByItem):
    """Mean Kendall tau of the order said with the right one, rescaled from -1..1 to 0..1: 0.5 is a random order."""

    name = "kendall_tau"
    outputs: tuple[str, ...] = ("ranking",)

    def item(self, prediction: Any, target: Any) -> float:
        """(tau + 1) / 2, and 0 for an unparsable answer."""
        if prediction is None:
            return 0.0
        from scipy.stats import kendalltau

        places = _places(prediction, target)
        return (float(kendalltau(np.arange(len(places)), places).statistic) + 1) / 2

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the mean, and the other figures of rankings beside it."""
        figures = super().aggregate(predictions, targets)
        for beside in (NDCG(), MRR(), ExactMatch()):
            figures.update(beside.aggregate(predictions, targets))
        return figures


class NDCG(ByItem):
    """Mean normalised discounted cumulative gain: of n candidates, the right first is worth n - 1, the last 0."""

    name = "ndcg"
    outputs: tuple[str, ...] = ("ranking",)

    def item(self, prediction: Any, target: Any) -> float:
        """DCG of the order said, divided by that of the right one."""
        if prediction is None:
            return 0.0
        n = len(target)
        gains = n - 1 - _places(prediction, target)
        discounts = 1 / np.log2(np.arange(n) + 2)
        return float((gains * discounts).sum() / (np.arange(n - 1, -1, -1) * discounts).sum())


class MRR(ByItem):
    """Mean of 1 / the place at which the answer puts the candidate that should come first."""

    name = "mrr"
    outputs: tuple[str, ...] = ("ranking",)

    def item(self, prediction: Any, target: Any) -> float:
        """1 / place of the right first candidate."""
        return 0.0 if prediction is None else 1.0 / (list(prediction).index(target[0]) + 1)


def _places(prediction: Sequence[Any], target: Sequence[Any]) -> NDArray[np.int64]:
    """Return the right place of each candidate, in the order said."""
    place = {candidate: n for n, candidate in enumerate(target)}
    return np.array([place[candidate] for candidate in prediction])
