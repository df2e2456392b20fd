"""Metrics: how one answer is scored and how a set of answers is summed up."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Signature
from promptology.errors import UsageError

_WORD = re.compile(r"\w+")


@runtime_checkable
class Metric(Protocol):
    """Scores predictions against targets; larger is better, 1 is perfect.

    `name` is the primary figure's name. `decomposes`: the primary figure is the mean of `item` over the items, which
    is what racing and McNemar's test need. `needs`: protocols of the models it uses, per role. A metric may offer
    `resampled(predictions, targets, indices)`, see `resample`, and a textual `feedback`.
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


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


class _ByItem:
    """A metric whose figure is the mean over the items."""

    name = ""
    decomposes = True
    needs: Mapping[str, Any] = MappingProxyType({})

    def item(self, prediction: Any, target: Any) -> float:
        raise NotImplementedError

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the mean over the items."""
        return {self.name: _mean([self.item(p, t) for p, t in zip(predictions, targets, strict=True)])}

    def resampled(
        self, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the mean of each resample, shape (R,); every item is scored once."""
        return _resampled_mean(self, predictions, targets, indices)


class Accuracy(_ByItem):
    """Share of items whose class is right; macro F1 beside it."""

    name = "accuracy"

    def item(self, prediction: Any, target: Any) -> float:
        """1 where the class is right."""
        return float(prediction is not None and prediction == target)

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return accuracy and macro F1."""
        return {**super().aggregate(predictions, targets), **F1("macro").aggregate(predictions, targets)}


class F1:
    """F1 over the classes that occur in the targets; a prediction of None matches no class.

    Macro: the mean of the classes' F1; micro: F1 of the counts summed over the classes. Equal to scikit-learn's
    `f1_score(labels=those classes, zero_division=0)`.
    """

    decomposes = False
    needs: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, average: str) -> None:
        self.average = average
        self.name = f"{average}_f1"

    def item(self, prediction: Any, target: Any) -> float:
        """1 where the class is right."""
        return float(prediction is not None and prediction == target)

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the figure."""
        if not len(targets):
            return {self.name: math.nan}
        every = np.arange(len(targets))[None]
        return {self.name: float(self.resampled(predictions, targets, every)[0])}

    def resampled(
        self, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the figure of each resample, shape (R,), from counts per class."""
        names = {name: n for n, name in enumerate(dict.fromkeys(targets))}
        truth = np.array([names[t] for t in targets])
        guess = np.array([names.get(p, len(names)) for p in predictions])
        rows, width = len(indices), len(names) + 1

        def count(labels: NDArray[np.int64]) -> NDArray[np.float64]:
            flat = labels + np.arange(rows)[:, None] * width
            return np.bincount(flat.ravel(), minlength=rows * width).reshape(rows, width)[:, :-1].astype(float)

        hits = np.where(truth == guess, truth, len(names))
        right, real, said = count(hits[indices]), count(truth[indices]), count(guess[indices])
        present = real > 0
        if self.average == "micro":
            both = ((real + said) * present).sum(axis=1)
            return np.asarray(np.divide(2 * right.sum(axis=1), both, out=np.zeros(rows), where=both > 0))
        f1 = np.divide(2 * right, real + said, out=np.zeros_like(right), where=real + said > 0)
        return np.asarray((f1 * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1))


class ExactMatch(_ByItem):
    """Share of texts equal to the target after normalisation: case, spaces, final punctuation."""

    name = "exact_match"

    def item(self, prediction: Any, target: Any) -> float:
        """1 where the texts are equal."""
        return float(prediction is not None and normalise(prediction) == normalise(target))


class TokenF1(_ByItem):
    """Mean F1 of the words that prediction and target share (as in SQuAD)."""

    name = "token_f1"

    def item(self, prediction: Any, target: Any) -> float:
        """F1 of the two bags of words."""
        if prediction is None:
            return 0.0
        said, real = (_WORD.findall(str(text).casefold()) for text in (prediction, target))
        if not said or not real:
            # Texts without a word (an emoji, a sign) would otherwise all be equal.
            return float(said == real and normalise(prediction) == normalise(target))
        left: dict[str, int] = {}
        for word in real:
            left[word] = left.get(word, 0) + 1
        shared = 0
        for word in said:
            if left.get(word, 0):
                left[word] -= 1
                shared += 1
        return 2 * shared / (len(said) + len(real))


class FunctionMetric(_ByItem):
    """The mean of a user's function `fn(prediction, target) -> float`; an unparsable answer scores 0."""

    def __init__(self, fn: Callable[[Any, Any], float], name: str | None = None) -> None:
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", type(fn).__name__))

    def item(self, prediction: Any, target: Any) -> float:
        """Return the function's value; raises UsageError where it fails or returns no finite number."""
        if prediction is None:
            return 0.0
        try:
            value = self.fn(prediction, target)
        except Exception as error:  # whatever a user's function raises is told in one line
            why = f"failed with {type(error).__name__}: {_line(error)}"
            raise UsageError(self._fault(why, prediction, target)) from error
        try:
            score = math.nan if isinstance(value, str | bytes) else float(value)
        except Exception:  # whatever a tensor or an array of another library raises
            score = math.nan
        if not math.isfinite(score):
            why = f"returned {_short(value)}, which is not a finite number,"
            raise UsageError(self._fault(why, prediction, target))
        return score

    def _fault(self, why: str, prediction: Any, target: Any) -> str:
        return f"metric {self.name} {why} on prediction {_short(prediction)}, target {_short(target)}"


def normalise(text: Any) -> str:
    """Return a text without case, extra spaces and final punctuation."""
    return " ".join(str(text).casefold().split()).rstrip(".!?;:,…。！？ ")


def _line(error: BaseException) -> str:
    """Return an error's message as one line."""
    return " ".join(str(error).split()) or "no message"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


METRICS: dict[str, Callable[[], Metric]] = {
    "accuracy": Accuracy,
    "macro_f1": lambda: F1("macro"),
    "micro_f1": lambda: F1("micro"),
    "exact_match": ExactMatch,
    "token_f1": TokenF1,
}


def metric(name: str) -> Metric:
    """Return a metric by name (`macro_f1` or `macro-f1`), or a function by "module:function"; raises UsageError."""
    if ":" in name:
        return FunctionMetric(_import(name), name.rpartition(":")[2])
    key = name.strip().lower().replace("-", "_")
    if key in METRICS:
        return METRICS[key]()
    near = difflib.get_close_matches(key, METRICS, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown metric {name!r}: {hint}there are {', '.join(METRICS)}, or your own module:function")


def as_metric(value: Metric | str | Callable[..., float]) -> Metric:
    """Return a metric from a name, "module:function", a function, or a metric; raises UsageError for anything else."""
    if isinstance(value, str):
        return metric(value)
    if isinstance(value, type) and isinstance(value, Metric):  # a class has the protocol's attributes too
        raise UsageError(f"{value.__name__} is a class; give an object of it: {value.__name__}(...)")
    if isinstance(value, Metric):
        return value
    if callable(value):
        return FunctionMetric(value)
    raise UsageError(f"a {type(value).__name__} is not a metric; give a name or a function of prediction and target")


def _import(source: str) -> Callable[[Any, Any], float]:
    """Import "module:function" from the current folder or the Python path."""
    module_name, _, name = source.rpartition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()  # the file may be younger than what Python knows of its folder
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the user's code
        why = f"{type(error).__name__}: {_line(error)}"
        raise UsageError(
            f"metric {source!r}: cannot import {module_name!r} from {here} or the Python path: {why}"
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # the module may have removed it
            sys.path.remove(here)
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"metric {source!r}: {module_name} has no function {name!r}")
    return found  # type: ignore[no-any-return]


def default_metric(signature: Signature) -> Metric:
    """Return accuracy for classes, exact match for texts."""
    return Accuracy() if signature.output == "class" else ExactMatch()
