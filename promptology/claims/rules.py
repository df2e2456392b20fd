"""When a claim counts as reproduced: the closed grammar of rules, read and evaluated.

Values are per seed and paired: the same seed is the same data, splits and initial prompt in every arm. Intervals are
two-sided 95 % t intervals of the mean over seeds, of the paired differences where two arms are compared; ratios are
taken on logs, so that their mean is the geometric mean of the seeds' ratios.

    better(a, b)               lower end of a - b above 0, better(a, b, by=x): above x
    not_worse(a, b, by=x)      lower end of a - b above -x
    ratio(a, b) <= x           upper end of a / b at most x
    at_least(a, x), at_most(a, x)   the whole interval on that side, the bound included
    metric: a                  names the metric where a claim has several
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from promptology.errors import UsageError

LEVEL = 0.95
NUMBER = r"(-?\d+(?:\.\d+)?)"
PAIR = r"(?:(\w+)\s*:\s*)?(\w+)\s*,\s*(\w+)"
ONE = r"(?:(\w+)\s*:\s*)?(\w+)"
DIFFERENCE = re.compile(rf"(better|not_worse)\(\s*{PAIR}\s*(?:,\s*by\s*=\s*{NUMBER})?\s*\)")
RATIO = re.compile(rf"(ratio)\(\s*{PAIR}\s*\)\s*<=\s*{NUMBER}")
SIDE = re.compile(rf"(at_least|at_most)\(\s*{ONE}\s*,\s*{NUMBER}\s*\)")

Measured = Mapping[str, Mapping[str, Sequence[float]]]
"""Values by arm and metric, one per seed, in the order of the seeds."""


class Interval(NamedTuple):
    """A mean over seeds with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Term:
    """One condition of a rule: `metric` is empty where it names none, `other` where it is about one arm."""

    kind: str
    metric: str
    arm: str
    other: str
    bound: float
    text: str

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that it names."""
        return (self.arm, self.other) if self.other else (self.arm,)


class Judged(NamedTuple):
    """A term with what was measured: the figure that it is about, its interval, and whether it holds."""

    rule: str
    value: float
    low: float
    high: float
    holds: bool


def parse(rule: str, arms: Collection[str]) -> tuple[Term, ...]:
    """Return the terms of a rule; raises UsageError where it is outside the grammar or names an unknown arm."""
    terms = tuple(_term(text.strip()) for text in re.split(r"\s+and\s+", rule))
    for term in terms:
        for arm in term.arms:
            if arm not in arms:
                raise UsageError(f"rule {term.text!r} is about an arm {arm!r}; there are {', '.join(arms)}")
    return terms


def _term(text: str) -> Term:
    if found := DIFFERENCE.fullmatch(text):
        kind, metric, arm, other, by = found.groups()
        if kind == "not_worse" and by is None:
            raise UsageError(f"rule {text!r} does not say by how much: not_worse(a, b, by=x)")
        return Term(kind, metric or "", arm, other, float(by or 0.0), text)
    if found := RATIO.fullmatch(text):
        kind, metric, arm, other, bound = found.groups()
        return Term(kind, metric or "", arm, other, float(bound), text)
    if found := SIDE.fullmatch(text):
        kind, metric, arm, bound = found.groups()
        return Term(kind, metric or "", arm, "", float(bound), text)
    raise UsageError(
        f"rule {text!r} is not understood; there are better(a, b), not_worse(a, b, by=x), ratio(a, b) <= x, "
        "at_least(a, x) and at_most(a, x)"
    )


def evaluate(terms: Sequence[Term], measured: Measured) -> list[Judged]:
    """Return every term with its figure: the difference, the ratio or the arm's own mean.

    A term that names no metric is about the first metric of its arms. Raises UsageError where an arm lacks the metric,
    and for a ratio of values that are not above 0.
    """
    return [_judged(term, measured) for term in terms]


def _judged(term: Term, measured: Measured) -> Judged:
    a = _values(term, term.arm, measured)
    if not term.other:
        one = interval(a)
        holds = one.low >= term.bound if term.kind == "at_least" else one.high <= term.bound
        return Judged(term.text, *one, holds)
    b = _values(term, term.other, measured)
    if term.kind == "ratio":
        if min(*a, *b) <= 0:
            raise UsageError(f"rule {term.text!r} is about a ratio, and a value is not above 0")
        ratios = [x / y for x, y in zip(a, b, strict=True)]
        ratio = interval(ratios)
        if ratio.low != ratio.high:  # exp(log(x)) is not always x, and equal seeds give the value itself
            ratio = Interval(*(math.exp(end) for end in interval([math.log(x) for x in ratios])))
        return Judged(term.text, *ratio, ratio.high <= term.bound)
    found = interval([x - y for x, y in zip(a, b, strict=True)])
    return Judged(term.text, *found, found.low > (term.bound if term.kind == "better" else -term.bound))


def _values(term: Term, arm: str, measured: Measured) -> Sequence[float]:
    metrics = measured[arm]
    name = term.metric or next(iter(metrics))
    if name not in metrics:
        raise UsageError(f"rule {term.text!r} is about {name!r}, and arm {arm!r} was measured by {', '.join(metrics)}")
    return metrics[name]


def interval(values: Sequence[float]) -> Interval:
    """Return the mean over seeds with its 95 % t interval; where all seeds are equal both ends are that value."""
    if min(values) == max(values):
        return Interval(*([float(values[0])] * 3))
    from scipy.stats import t

    x = np.asarray(values, float)
    mean = float(x.mean())
    reach = float(t.ppf((1 + LEVEL) / 2, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - reach, mean + reach)
