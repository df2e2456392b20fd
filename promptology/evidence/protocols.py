"""Protocols of evidence: `holdout` on the sealed test split, `duel` where there are no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import BudgetEnded
from promptology.evidence.measuring import Measured, affordable, measure, part_of, primary, shuffled
from promptology.evidence.statistics import (
    Interval,
    Paired,
    binomial,
    bootstrap_interval,
    paired,
    sample_size_hint,
    verdict,
)
from promptology.feedback.judges import Duel, Votes, compare_outputs
from promptology.predict import Predictions, bind, predict_many
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned
from promptology.run.cost import ZERO, Cost
from promptology.run.engine import Run
from promptology.run.meter import Meter

VALIDATION_SHARE = 0.34
"""Share of what is left for evidence that may go into the choice between start and found."""
NOT_MEASURED = "not measured: budget"
UNREADABLE = "not measured: no vote of the judge could be read"
NO_LABELS = "not measured: no labels and no judge"


@dataclass(frozen=True)
class Evidence:
    """What the sealed split says about start and found: scores with intervals, the paired test, the verdict.

    `verdict` is better, worse, no evidence, start (nothing was changed) or "not measured: ..." with the reason.
    """

    protocol: str
    metric: str
    verdict: str
    n: int = 0
    start: Interval | None = None
    found: Interval | None = None
    difference: Paired | None = None
    start_measured: Measured | None = None
    found_measured: Measured | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    hint: str = ""
    openings: int = 0
    notes: tuple[str, ...] = ()
    curve: tuple[dict[str, Any], ...] = ()
    """Of a stream, by block: items seen before it, its n, the score of what was learned from them, the start's."""

    @property
    def per_prediction(self) -> Cost:
        """Cost of one prediction by the found prompt."""
        return self.found_measured.per_prediction if self.found_measured else ZERO

    def __str__(self) -> str:
        if self.found is None or self.start is None:
            return f"{self.verdict} ({self.protocol})"
        before, after = self.start, self.found
        span = f"[{after.low:.3f}, {after.high:.3f}]"
        text = f"{self.metric}: {before.value:.3f} -> {after.value:.3f} {span} on {self.n} items"
        if self.difference is not None and self.verdict != "start":
            text += (
                f", difference {self.difference.difference:+.3f}, {self.difference.test} p = {self.difference.p:.3g}"
            )
        return f"{text}: {self.verdict}"


class Choice(NamedTuple):
    """The better of start and found on validation, and how it was decided."""

    learned: Learned
    note: str


def choose(run: Run, meter: Meter, found: Learned) -> Choice:
    """Return the better of start and found on labelled validation items (a tie keeps what was found).

    The sealed test never chooses. Without labels, budget or a difference, what was found stands.
    """
    start = run.start
    if found.same_as(start):
        return Choice(found, "the search returned the start")
    items = choosing_items(run.task)
    if not items:
        return Choice(found, "no labelled validation items: the found prompt was taken as it is")
    items = shuffled(items, run.task)
    predictors = [bind(p, run.model(), dict(run.roles)) for p in (start, found)]
    judge = referee(run.task.metric, run.roles, run.task.signature)
    with part_of(meter, VALIDATION_SHARE):
        both = measure(meter, predictors, items, judge)
    if both is None:
        return Choice(found, "no budget for validation: the found prompt was taken as it is")
    n = both[0].asked
    before, after = (primary(run.task.metric, m.outputs, m.targets) for m in both)
    if before > after:
        return Choice(start, f"the start is better on {n} validation items ({before:.3f} > {after:.3f}): it was kept")
    return Choice(found, f"found {after:.3f}, start {before:.3f} on {n} validation items")


def choosing_items(task: Task) -> list[Item]:
    """Return the items on which start and found are compared: validation, or, where no labels are needed, inputs."""
    labelled = [i for i in task.validation if i.labelled]
    return labelled if labelled or getattr(task.metric, "labels", True) else [*task.validation, *task.unlabeled]


def holdout(run: Run, meter: Meter, found: Learned, rng: np.random.Generator) -> Evidence:
    """Score start and found on the largest random test subset that the budget covers, and test the difference.

    A judge's grades need no labels: then the test split may be unlabelled inputs, which the search never saw.
    """
    task, metric = run.task, run.task.metric
    same = found.same_as(run.start)
    prompts = [found] if same else [run.start, found]
    predictors = [bind(p, run.model(), dict(run.roles)) for p in prompts]
    items = shuffled(task.test, task)
    judge = referee(metric, run.roles, task.signature)
    name = next(iter(metric.aggregate([], [])))
    if affordable(meter, predictors, items[:1], judge) == 0:
        return Evidence("holdout", name, NOT_MEASURED)
    openings = meter.store.open_test(task.items_fingerprint(), meter.run)
    truth = {item.id: item for item in task.open_test()}
    both = measure(meter, predictors, [truth[i.id] for i in items], judge)
    if both is None:
        return Evidence("holdout", name, NOT_MEASURED, openings=openings)
    n = both[0].asked
    start, best = both[0], both[-1]
    unread = sum(m.ungraded for m in both)
    common = set(start.ids) & set(best.ids)
    start, best = start.only(common), best.only(common)
    pair = paired(metric, best.outputs, start.outputs, best.targets, rng)
    disagreement = (pair.better + pair.worse) / max(pair.n, 1)
    return Evidence(
        "holdout",
        name,
        "start" if same else verdict(pair, pair.p),
        best.n,
        bootstrap_interval(metric, start.outputs, start.targets, rng),
        bootstrap_interval(metric, best.outputs, best.targets, rng),
        pair,
        start,
        best,
        metric.aggregate(best.outputs, best.targets),
        sample_size_hint(best.n, disagreement) if disagreement and getattr(metric, "share", True) else "",
        openings,
        (
            *([] if n == len(items) else [f"{n} of {len(items)} test items: what the budget covered"]),
            *([f"{unread} grades of the judge could not be read: those items are missing"] if unread else []),
        ),
    )


def duel(run: Run, meter: Meter, found: Learned, rng: np.random.Generator) -> Evidence:
    """Let the judge compare found and start on inputs that the search never used, in both orders.

    The score is the share of inputs won, ties counting half; p is the exact sign test on decided inputs.
    """
    if found.same_as(run.start):
        return Evidence("duel", "win share", "start")
    items = shuffled(run.task.test, run.task)
    predictors = [bind(p, run.model(), dict(run.roles)) for p in (run.start, found)]
    with part_of(meter, 0.5):  # the other half is for two votes on each input
        n = affordable(meter, predictors, items)
    try:
        before, after = predict_many(predictors, items[:n])
    except BudgetEnded:
        return Evidence("duel", "win share", NOT_MEASURED)
    votes = None
    while n and votes is None:
        votes = _votes(run, items[:n], before, after)
        n //= 2  # outputs longer than thought: fewer inputs are judged
    if votes is None:
        return Evidence("duel", "win share", NOT_MEASURED)
    asked, void = sum(map(sum, votes)), sum(v.void for v in votes)
    if void == asked:
        return Evidence("duel", "win share", UNREADABLE)
    notes = (f"{void} of {asked} votes of the judge could not be read and count for neither side",) if void else ()
    values = np.sign([v.challenger - v.incumbent for v in votes])
    ids = [item.id for item in items[: len(votes)]]
    return replace(_duel_evidence(values, rng, after, ids), notes=notes)


def _votes(run: Run, items: Sequence[Item], before: Predictions, after: Predictions) -> list[Votes] | None:
    """Return the two votes on each input, won only where found is preferred in both; None where it costs too much."""
    duels = [
        Duel([item], [new], [old], [False, True])
        for item, new, old in zip(items, after.raw[: len(items)], before.raw[: len(items)], strict=True)
    ]
    judge = run.model("judge" if run.has("judge") else "model")
    try:
        return compare_outputs(judge, duels, run.task.signature, requirements=run.start.instruction)
    except BudgetEnded:
        return None


def _duel_evidence(values: np.ndarray, rng: np.random.Generator, after: Predictions, ids: list[str]) -> Evidence:
    """Return evidence from +1 (found won), 0 or -1 per input."""
    from scipy.stats import binomtest

    n = len(values)
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    share = float((values + 1).mean() / 2)
    resampled = ((values[rng.integers(0, n, (2000, n))] + 1) / 2).mean(axis=1)
    low, high = (float(q) for q in np.quantile(resampled, [0.025, 0.975]))
    if wins + losses == 0 or low == high:
        _, low, high, _ = binomial(round(share * n), n)
    p = float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
    pair = Paired(share - 0.5, low - 0.5, high - 0.5, p, "exact sign test", wins, losses, n)
    votes = [float(v + 1) / 2 for v in values]
    each = after.cost.each(len(after.outputs))
    found = Measured(votes, [None] * n, ids, sum(after.missing), after.parse_rate, each)
    half = Interval(0.5, 0.5, 0.5, n)
    metrics: dict[str, Any] = {"win share": share, "won": wins, "lost": losses, "tied": n - wins - losses}
    hint = sample_size_hint(n, (wins + losses) / n) if wins + losses else ""
    return Evidence(
        "duel",
        "win share",
        verdict(pair, p),
        n,
        half,
        Interval(share, low, high, n),
        pair,
        None,
        found,
        metrics,
        hint,
    )


def has_scores(task: Task) -> bool:
    """Whether the test split can be scored: it has labels, or items for a metric that needs none."""
    return task.labelled or bool(task.test and not getattr(task.metric, "labels", True))


def gather(task: Task, run: Run, meter: Meter, found: Learned, protocol: str | None = None) -> Evidence:
    """Return evidence by the protocol the task allows: holdout with test labels, or where the metric needs none.

    Else a duel, where models generate.
    """
    rng = np.random.default_rng(int(task.items_fingerprint(), 16) ^ run.seed)
    if protocol == "holdout" or (protocol is None and has_scores(task)):
        return holdout(run, meter, found, rng)
    if "generates" in run.model().access and run.task.test:
        return duel(run, meter, found, rng)
    return Evidence("duel", "win share", NO_LABELS)
