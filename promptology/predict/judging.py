"""Metrics that need a model: their questions go through metered handles, one batch for all predictions of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from promptology.data.items import Item, Signature
from promptology.data.scoring import Metric
from promptology.errors import AccessError
from promptology.models.access import Request
from promptology.predict.predictor import Predictions, Predictor
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import input_text
from promptology.run.cost import ZERO, Cost
from promptology.run.handles import Handle

BYTES = 4
"""Bytes per token at most that are reserved for an answer that is not there yet."""
SHORT = 256
"""The same for an answer that is read from embeddings: names of classes."""


class Referee(NamedTuple):
    """A metric with the handle of the model that it needs, for the items of one task.

    `sample`: 1 asks everything as a second sample, for a second opinion of the same judge.
    """

    metric: Any
    handle: Handle
    signature: Signature
    sample: int = 0

    def judge(self, many: Sequence[Predictions], items: Sequence[Item]) -> list[Predictions]:
        """Return the predictions of several prompts on the same items, each answer graded.

        An answer whose grade is missing or cannot be read is missing; one that could not be parsed stays as it is.
        """
        questions = [self._questions([self._shown(p, i, item) for i, item in enumerate(items)], items) for p in many]
        asked = [q for some in questions for q in some if q is not None]
        replies = iter(self.handle.generate(asked, **self._settings()) if asked else [])
        graded: list[Predictions] = []
        for predictions, some in zip(many, questions, strict=True):
            outputs, missing, unread = list(predictions.outputs), list(predictions.missing), 0
            for i, question in enumerate(some):
                if question is None:
                    continue
                reply = next(replies)
                outputs[i] = self.metric.graded(outputs[i], reply)
                missing[i] = outputs[i] is None
                unread += outputs[i] is None and reply is not None
            graded.append(replace(predictions, outputs=outputs, missing=missing, ungraded=unread))
        return graded

    def worst(self, predictors: Sequence[Predictor], item: Item) -> Cost:
        """Return the most that grading these prompts' answers to an item can cost, each as long as it may be."""
        total = ZERO
        for predictor in predictors:
            sizes = [r.max_tokens * BYTES for r in predictor.requests([item])] or [SHORT]
            requests = self._requests(self._questions(["x" * sizes[0]], [item]))
            total = total.plus(self.handle.worst(requests, []))
        return total

    def _shown(self, predictions: Predictions, i: int, item: Item) -> str | None:
        output = predictions.outputs[i]
        return None if output is None or predictions.missing[i] else answer_text(output, self.signature, item.inputs)

    def _questions(self, outputs: Sequence[str | None], items: Sequence[Item]) -> list[str | None]:
        sources = [input_text(item.inputs, self.signature) for item in items]
        targets = [self._target(item) for item in items]
        questions: list[str | None] = self.metric.questions(outputs, sources, targets, self.signature.instruction)
        return questions

    def _target(self, item: Item) -> str:
        return answer_text(item.target, self.signature, item.inputs) if item.labelled and not item.sealed else ""

    def _requests(self, questions: Sequence[str | None]) -> list[Request]:
        return self.handle.requests([q for q in questions if q is not None], **self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"temperature": 0.0, "max_tokens": self.metric.max_tokens, "sample": self.sample}


def referee(metric: Metric, handles: Mapping[str, Handle], signature: Signature) -> Referee | None:
    """Return who grades for a metric, None where it needs no model; raises AccessError where its model is lacking."""
    for role, access in metric.needs.items():
        if role not in handles or access not in handles[role].access:
            raise AccessError(
                f"metric {metric.name} needs a model that {access} as {role!r}; give --{role} MODEL (in Python, "
                f"helpers={{{role!r}: model}})"
            )
        return Referee(metric, handles[role], signature)
    return None
