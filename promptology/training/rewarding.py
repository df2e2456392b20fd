"""What hints are worth to a black-box model: it answers with them, and the task's metric scores its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from promptology.data.items import Item
from promptology.data.keyphrases import occurs, stops, words
from promptology.models.access import Message
from promptology.predict import bind
from promptology.predict.judging import referee
from promptology.predict.rewriting import Writer, shown
from promptology.prompts.learned import Learned
from promptology.prompts.rewriter import Rewriter
from promptology.run.cost import ZERO, Cost
from promptology.run.engine import Run
from promptology.training.rollouts import text_of

SEPARATOR = ";"
"""What ends a keyword of a hint."""


class Given(Writer):
    """A writer whose texts are there already, by the id of the item."""

    def __init__(self, part: Rewriter, hints: dict[str, str]) -> None:
        self.part, self.hints = part, hints

    def write(self, items: Sequence[Item]) -> None:
        """Write nothing."""

    def hint(self, item: Item) -> str | None:
        """Return the text that was given for an item."""
        return self.hints[item.id]

    def cost(self, item: Item) -> Cost:
        """Return nothing: who wrote it was charged for it."""
        return ZERO

    def show(self, asked: Sequence[Message], item: Item) -> tuple[Message, ...]:
        """Return the messages of an item with its text."""
        return shown(self.part, asked, self.part.cut(self.hints[item.id]))

    def most(self, items: Sequence[Item], known: set[Any]) -> Cost:
        """Return nothing."""
        return ZERO


def worths(
    run: Run, learned: Learned, items: Sequence[Item], hints: Sequence[str], samples: int = 1, temperature: float = 0.0
) -> list[float | None]:
    """Return the metric's score of the model's answer to each item with its hint, the mean over `samples` answers.

    All answers are one batch. Missing ones are left out; None where none of an item's came or its score is no number.
    An empty hint is not shown.
    """
    part = learned.part(Rewriter)
    assert part is not None
    rows = [Item(str(n), item.inputs, item.target, item.meta) for n, item in enumerate(items)]
    predictor = bind(learned, run.model(), {r: h for r, h in run.roles.items() if r != "model"})
    predictor.writer = Given(part, dict(zip([row.id for row in rows], hints, strict=True)))  # type: ignore[attr-defined]
    asked = run.model().requests(predictor.requests(rows), samples=samples, temperature=temperature)
    several = [row for row in rows for _ in range(samples)]
    predictions = predictor.read(several, run.model().outcomes(asked))
    judge = referee(run.task.metric, run.roles, run.task.signature)
    if judge:
        predictions = judge.judge([predictions], several)[0]
    found: list[float | None] = []
    for n in range(len(rows)):
        some = range(n * samples, (n + 1) * samples)
        came = [
            float(run.task.metric.item(predictions.outputs[k], several[k].target))
            for k in some
            if not predictions.missing[k]
        ]
        mean = float(np.mean(came)) if came else float("nan")
        found.append(mean if np.isfinite(mean) else None)
    return found


def keyword_rewards(
    body: Any, tokens: Sequence[int], references: Sequence[str], hit: float, miss: float
) -> dict[int, float]:
    """Return what each keyword of a hint is worth, at the token that ends it: `hit` where a reference holds it.

    Else -`miss`: for one that no reference holds, a stop word, one that stood there before, nothing at all.
    """
    found: dict[int, float] = {}
    before: set[tuple[str, ...]] = set()
    for at, token in enumerate(tokens):
        if SEPARATOR not in str(body.tokenizer.decode([token])):
            continue
        phrase = text_of(body, tokens[: at + 1]).split(SEPARATOR)[-2].strip()
        key = tuple(words(phrase))
        good = bool(key) and not stops(phrase) and key not in before and any(occurs(phrase, r) for r in references)
        found[at] = hit if good else -miss
        before.add(key)
    return found
