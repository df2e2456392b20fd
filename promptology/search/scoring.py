"""Scoring: a set of candidates on a set of items, paired and cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item, digest
from promptology.data.scoring import score_of
from promptology.errors import UsageError
from promptology.predict import bind, predict_many
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned
from promptology.run.engine import Run


class Scores(NamedTuple):
    """Item scores, shape (candidates, items), NaN where the answer is missing."""

    values: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean score per candidate over the items that every candidate answered, so that the comparison is paired.

        Where there is no such item, each candidate's own mean. A candidate without any answer is NaN and leaves the
        comparison of the others paired.
        """
        answered = ~np.isnan(self.values).all(axis=1)
        complete = ~np.isnan(self.values[answered]).any(axis=0)
        used = self.values[:, complete] if complete.any() else self.values
        counts = (~np.isnan(used)).sum(axis=1)
        sums = np.nansum(used, axis=1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    @property
    def order(self) -> list[int]:
        """Candidates from best to worst; ties and equal means keep the order of submission, NaN comes last."""
        means = self.means
        return [int(i) for i in np.argsort(-np.where(np.isnan(means), -np.inf, means), kind="stable")]


def score(run: Run, candidates: Sequence[Learned], items: Sequence[Item]) -> Scores:
    """Score candidates on items by the task's metric, in one batch, all on the same items.

    Where the metric needs a model, its grades are a second batch; an answer without a grade is missing. The run notes
    the figures (`run.scored`), so that evidence can tell how much of the best one is luck.
    """
    scores = scores_of(run, candidates, items)
    keys = [digest(c.to_json()["parts"]) for c in candidates]
    run.scored.note(digest([item.id for item in items]), keys, scores.values)
    return scores


def scores_of(run: Run, candidates: Sequence[Learned], items: Sequence[Item]) -> Scores:
    """Return the scores without a note: for items that take no part in the search."""
    predictors = [bind(c, run.model(), {r: h for r, h in run.roles.items() if r != "model"}) for c in candidates]
    metric = run.task.metric
    values = np.full((len(candidates), len(items)), np.nan)
    many = predict_many(predictors, items)
    judge = referee(metric, run.roles, run.task.signature)
    for row, predictions in enumerate(judge.judge(many, items) if judge else many):
        for column, item in enumerate(items):
            if not predictions.missing[column]:
                values[row, column] = score_of(metric, predictions.outputs[column], item.target)
        run.lineage.scored(candidates[row], values[row])
    return Scores(values)


def selection_items(run: Run) -> tuple[Item, ...]:
    """Return the items on which a search selects: labelled validation, else train; a judge needs no labels.

    Raises UsageError where the task has no such item outside its test split.
    """
    for items in (run.task.validation, run.task.train):
        labelled = tuple(i for i in items if i.labelled)
        if labelled:
            return labelled
    if not getattr(run.task.metric, "labels", True) and (inputs := unlabelled_inputs(run)):
        return inputs
    raise UsageError(
        f"task {run.task.name!r} has no labelled training or validation items, and this method selects by label; "
        "add labels, use --metric judge, or a method that needs none such as spo"
    )


def unlabelled_inputs(run: Run) -> tuple[Item, ...]:
    """Return the inputs a method may look at without labels: unlabelled, train and validation items."""
    return (*run.task.unlabeled, *run.task.train, *run.task.validation)
