"""What metrics share: the protocol, resampling, means over items, comparison of texts and sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError


@runtime_checkable
class Metric(Protocol):
    """Scores predictions against targets; larger is better, 1 is perfect.

    `name` is the primary figure's name. `decomposes`: the primary figure is the mean of `item` over the items, which
    is what racing and McNemar's test need. `needs`: per role, the protocol (by name) of the models it uses; such a
    metric offers `questions` and `graded` too, see `JudgeMetric`. A metric may offer `resampled(predictions, targets,
    indices)`, see `resample`, and `feedback(prediction, target) -> str`, see `Explains`; `outputs`, the kinds of
    output it scores (without it, all); `labels = False` where it needs no targets; `share = False` where its figure is
    no share of 0 to 1, so that 1 is not what is perfect; `identity`, what tells it from others of its name.
    """

    name: str
    decomposes: bool
    needs: Mapping[str, Any]

    def item(self, prediction: Any, target: Any) -> float:
        """Score one prediction; an unparsable one arrives as None and is wrong."""
        ...

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return named figures, the primary one first; they are NaN where there are no items."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A metric that says in words what is right or wrong about an answer, for methods that learn from errors."""

    def feedback(self, prediction: Any, target: Any) -> str:
        """Return a sentence or two on one prediction, which is None where the answer could not be read."""
        ...


def score_of(metric: Metric, prediction: Any, target: Any) -> float:
    """Return a metric's score of one prediction; raises UsageError where a metric of the user's own fails at it."""
    with _told(metric):
        value = float(metric.item(prediction, target))
    if not math.isfinite(value):
        raise UsageError(f"metric {metric.name} returned {value}, which is not a finite number")
    return value


def figures_of(metric: Metric, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
    """Return a metric's named figures; raises UsageError where a metric of the user's own fails."""
    with _told(metric):
        return metric.aggregate(predictions, targets)


@contextmanager
def _told(metric: Metric, what: str = "") -> Iterator[None]:
    """Tell whatever a user's metric raises in one line."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or "no message"
        raise UsageError(f"metric {metric.name}{what} failed with {type(error).__name__}: {why}") from error


def feedback_of(metric: Metric, prediction: Any, target: Any) -> str:
    """Return what a metric says about a prediction; of one that says nothing, the score.

    Raises UsageError where a metric of the user's own fails.
    """
    if not isinstance(metric, Explains):
        return f"Score {metric.item(prediction, target):.2f}, where 1 is perfect."
    with _told(metric, ": its feedback"):
        return str(metric.feedback(prediction, target))


def class_feedback(prediction: Any, target: Any) -> str:
    """Return what was said and what is right, of one class or of sets of classes (tuples)."""
    if isinstance(target, tuple):
        return _set_feedback(prediction, target)
    if prediction is None:
        return f"Wrong: no class can be read from it. Right is {target}."
    return f"Right: {target}." if prediction == target else f"Wrong: it says {prediction}. Right is {target}."


def _set_feedback(prediction: Any, target: tuple[Any, ...]) -> str:
    right = ", ".join(map(str, target)) or "none"
    if prediction is None:
        return f"Wrong: no classes can be read from it. Right is {right}."
    lacking = ", ".join(str(t) for t in target if t not in prediction)
    wrong = ", ".join(str(p) for p in prediction if p not in target)
    if not lacking and not wrong:
        return f"Right: {right}."
    faults = [f"it lacks {lacking}"] * bool(lacking) + [f"it should not say {wrong}"] * bool(wrong)
    return f"Wrong: {' and '.join(faults)}. Right is {right}."


def resample(
    metric: Metric, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the primary figure, shape (R,), for each row of resampled item positions, shape (R, n).

    Uses the metric's own `resampled` where it has one, else the scores of the items where the figure is their mean,
    else `aggregate` row by row.
    """
    fast = getattr(metric, "resampled", None)
    if fast is not None:
        return np.asarray(fast(predictions, targets, indices))
    if metric.decomposes:
        return _resampled_mean(metric, predictions, targets, indices)
    rows = [metric.aggregate([predictions[i] for i in row], [targets[i] for i in row]) for row in indices]
    return np.array([next(iter(row.values())) for row in rows], float)


def _resampled_mean(
    metric: Metric, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
) -> NDArray[np.float64]:
    items = np.array([metric.item(p, t) for p, t in zip(predictions, targets, strict=True)], float)
    return np.asarray(items[indices].mean(axis=1))


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing."""
    return float(np.mean(values)) if len(values) else math.nan


class ByItem:
    """A metric whose figure is the mean over the items."""

    name = ""
    decomposes = True
    needs: Mapping[str, Any] = MappingProxyType({})

    def item(self, prediction: Any, target: Any) -> float:
        """Score one prediction."""
        raise NotImplementedError

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the mean over the items."""
        return {self.name: mean([self.item(p, t) for p, t in zip(predictions, targets, strict=True)])}

    def resampled(
        self, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the mean of each resample, shape (R,); every item is scored once."""
        return _resampled_mean(self, predictions, targets, indices)


def times(indices: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Return how often each of n items stands in each resample, shape (R, n): sums over resamples are products."""
    flat = indices + np.arange(len(indices))[:, None] * n
    return np.bincount(flat.ravel(), minlength=len(indices) * n).reshape(len(indices), n).astype(float)


def ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return over / under, 0 where under is 0."""
    return np.asarray(np.divide(over, under, out=np.zeros_like(over, dtype=float), where=under > 0))


def set_f1(prediction: Any, target: Sequence[Any]) -> float:
    """Return F1 of two sets; 1 where both are empty, 0 for an unparsable answer."""
    if prediction is None:
        return 0.0
    said, real = set(prediction), set(target)
    return 2 * len(said & real) / (len(said) + len(real)) if said or real else 1.0


def references(target: Any) -> tuple[Any, ...]:
    """Return the right answers: several, or the one."""
    return target if isinstance(target, tuple) else (target,)


def normalise(text: Any) -> str:
    """Return a text without case, extra spaces and final punctuation."""
    return " ".join(str(text).casefold().split()).rstrip(".!?;:,…。！？ ")
