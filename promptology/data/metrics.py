"""Metrics by name, those of classes and texts: how one answer is scored and how a set of answers is summed up."""

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Signature
from promptology.data.scoring import (
    ByItem,
    Metric,
    class_feedback,
    normalise,
    ratio,
    references,
    resample,
    set_f1,
    times,
)
from promptology.errors import UsageError

__all__ = [
    "F1",
    "FITTING",
    "METRICS",
    "Accuracy",
    "ExactMatch",
    "FunctionMetric",
    "Metric",
    "TokenF1",
    "as_metric",
    "default_metric",
    "metric",
    "must_fit",
    "normalise",
    "resample",
]

_WORD = re.compile(r"\w+")


def must_fit(metric: Metric, signature: Signature) -> None:
    """Raise UsageError where a metric cannot score this kind of output, with the names of those that can."""
    kinds = getattr(metric, "outputs", None)
    if kinds is None or signature.output in kinds:
        return
    what = {"class": "one class", "classes": "sets of classes", "text": "texts", "spans": "spans", "ranking": "orders"}
    raise UsageError(
        f"metric {metric.name} scores {' or '.join(what.get(k, k) for k in kinds)}; the answers of this task are "
        f"{what.get(signature.output, signature.output)}: use {', '.join(FITTING.get(signature.output, ()))}"
    )


FITTING: Mapping[str, tuple[str, ...]] = {
    "class": ("accuracy", "macro_f1", "micro_f1", "judge"),
    "classes": ("micro_f1", "macro_f1", "exact_match", "jaccard", "judge"),
    "text": ("exact_match", "token_f1", "rouge_l", "bleu", "edit_cost", "judge"),
    "spans": ("span_f1", "token_f1", "exact_match", "judge"),
    "ranking": ("kendall_tau", "ndcg", "mrr", "exact_match", "judge"),
}
"""Metrics by kind of output, the default first."""


class Accuracy(ByItem):
    """Share of items whose class is right; macro F1 beside it."""

    name = "accuracy"

    def item(self, prediction: Any, target: Any) -> float:
        """1 where the class is right."""
        return float(prediction is not None and prediction == target)

    def feedback(self, prediction: Any, target: Any) -> str:
        """Return what was said and what is right."""
        return class_feedback(prediction, target)

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return accuracy and macro F1."""
        return {**super().aggregate(predictions, targets), **F1("macro").aggregate(predictions, targets)}


class F1:
    """F1 over the classes; a prediction of None matches no class. Items have one class each, or any number.

    Macro: the mean over the classes that occur in the targets; micro: F1 of the counts summed over those classes, or,
    where items have any number, over all that occur in targets or predictions. Equal to scikit-learn's
    `f1_score(labels=those classes, zero_division=0)`. For items with several classes the other figures stand beside.
    """

    decomposes = False
    needs: Mapping[str, Any] = MappingProxyType({})
    outputs = ("class", "classes", "text")

    def __init__(self, average: str) -> None:
        self.average = average
        self.name = f"{average}_f1"

    def item(self, prediction: Any, target: Any) -> float:
        """1 where the class is right; where there may be several, F1 of the two sets (1 where both are empty)."""
        if isinstance(target, tuple):
            return set_f1(prediction, target)
        return float(prediction is not None and prediction == target)

    def feedback(self, prediction: Any, target: Any) -> str:
        """Return what was said and what is right."""
        return class_feedback(prediction, target)

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the figure; for items with several classes, the other F1, exact match and Jaccard too."""
        if not len(targets):
            return {self.name: math.nan}
        every = np.arange(len(targets))[None]
        figures = {self.name: float(self.resampled(predictions, targets, every)[0])}
        if isinstance(targets[0], tuple):
            other = F1("macro" if self.average == "micro" else "micro")
            figures[other.name] = float(other.resampled(predictions, targets, every)[0])
            for beside in (ExactMatch(), metric("jaccard")):
                figures.update(beside.aggregate(predictions, targets))
        return figures

    def resampled(
        self, predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the figure of each resample, shape (R,), from counts per class."""
        if len(targets) and isinstance(targets[0], tuple):
            right, real, said = _label_counts(predictions, targets, indices)
        else:
            right, real, said = _class_counts(predictions, targets, indices)
        if self.average == "micro":
            return ratio(2 * right.sum(axis=1), (real + said).sum(axis=1))
        present = real > 0
        return np.asarray((ratio(2 * right, real + said) * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1))


Counts = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _class_counts(predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]) -> Counts:
    """Return hits, targets and predictions per resample and class, shape (R, classes), of items with one class.

    Predictions of a class that no target of the resample has do not count.
    """
    names = {name: n for n, name in enumerate(dict.fromkeys(targets))}
    truth = np.array([names[t] for t in targets])
    guess = np.array([names.get(p, len(names)) for p in predictions])
    rows, width = len(indices), len(names) + 1

    def count(labels: NDArray[np.int64]) -> NDArray[np.float64]:
        flat = labels + np.arange(rows)[:, None] * width
        return np.bincount(flat.ravel(), minlength=rows * width).reshape(rows, width)[:, :-1].astype(float)

    hits = np.where(truth == guess, truth, len(names))
    right, real, said = count(hits[indices]), count(truth[indices]), count(guess[indices])
    return right, real, said * (real > 0)


def _label_counts(predictions: Sequence[Any], targets: Sequence[Any], indices: NDArray[np.int64]) -> Counts:
    """Return the same of items with any number of classes: all classes that occur anywhere count."""
    guesses = [p if isinstance(p, tuple) else () for p in predictions]
    names = {name: n for n, name in enumerate(dict.fromkeys(n for some in (*targets, *guesses) for n in some))}
    truth, said = np.zeros((2, len(targets), len(names)))
    for i, (real, guess) in enumerate(zip(targets, guesses, strict=True)):
        truth[i, [names[n] for n in real]] = 1
        said[i, [names[n] for n in guess]] = 1
    drawn = times(indices, len(targets))
    return drawn @ (truth * said), drawn @ truth, drawn @ said


class ExactMatch(ByItem):
    """Share of texts equal to the target, or to one of several right ones, but for case, spaces, final punctuation.

    Answers that are lists (classes, spans, a ranking) are right where all of the list is.
    """

    name = "exact_match"

    def item(self, prediction: Any, target: Any) -> float:
        """1 where the texts are equal."""
        if prediction is None:
            return 0.0
        if isinstance(prediction, tuple) and isinstance(target, tuple):
            return float([normalise(p) for p in prediction] == [normalise(t) for t in target])
        return float(any(normalise(prediction) == normalise(t) for t in references(target)))


class TokenF1(ByItem):
    """Mean F1 of the words that prediction and target share (as in SQuAD), over the best of several right texts.

    Of spans, the words of all of them are compared.
    """

    name = "token_f1"

    def item(self, prediction: Any, target: Any) -> float:
        """F1 of the two bags of words."""
        if prediction is None:
            return 0.0
        if isinstance(prediction, tuple) and isinstance(target, tuple):
            return self._pair(" ".join(prediction), " ".join(target))
        return max(self._pair(prediction, t) for t in references(target))

    def _pair(self, prediction: Any, target: Any) -> float:
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


class FunctionMetric(ByItem):
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


def _line(error: BaseException) -> str:
    """Return an error's message as one line."""
    return " ".join(str(error).split()) or "no message"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _lazy(module: str, name: str) -> Callable[[], Metric]:
    """Return what makes a metric of another file, which is imported when it is asked for."""
    return lambda: getattr(importlib.import_module(f"promptology.data.{module}"), name)()


METRICS: dict[str, Callable[[], Metric]] = {
    "accuracy": Accuracy,
    "macro_f1": lambda: F1("macro"),
    "micro_f1": lambda: F1("micro"),
    "exact_match": ExactMatch,
    "token_f1": TokenF1,
    "jaccard": _lazy("list_metrics", "Jaccard"),
    "span_f1": _lazy("list_metrics", "SpanF1"),
    "kendall_tau": _lazy("list_metrics", "KendallTau"),
    "ndcg": _lazy("list_metrics", "NDCG"),
    "mrr": _lazy("list_metrics", "MRR"),
    "rouge_l": _lazy("text_metrics", "RougeL"),
    "bleu": _lazy("text_metrics", "Bleu"),
    "edit_cost": _lazy("edits", "EditCost"),
    "judge": _lazy("judging", "JudgeMetric"),
}


def metric(name: str) -> Metric:
    """Return a metric by name (`macro_f1` or `macro-f1`), or a user's by "module:name"; raises UsageError.

    What is named there is a function of prediction and target, or an object that is a metric.
    """
    if ":" in name:
        found = _import(name)
        return as_metric(found) if isinstance(found, Metric) else FunctionMetric(found, name.rpartition(":")[2])
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


def _import(source: str) -> Any:
    """Import a function, or an object that is a metric, from the current folder or the Python path."""
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
    if not callable(found) and not isinstance(found, Metric):
        raise UsageError(f"metric {source!r}: {module_name} has no function {name!r}")
    return found


def default_metric(signature: Signature) -> Metric:
    """Return accuracy for classes, micro F1 where several apply, span F1, Kendall's tau, exact match for texts."""
    return metric(FITTING.get(signature.output, ("exact_match",))[0])
