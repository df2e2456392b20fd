"""Readout `cloze`: the class whose words fill the gap of a sentence best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from promptology.data.items import Item
from promptology.errors import ArtifactError
from promptology.models.access import Answer, Outcome, Request
from promptology.predict.predictor import OneShot, Predictions, readout
from promptology.prompts.cloze import class_scores, cloze_of
from promptology.run.cost import ZERO
from promptology.run.handles import logprob


@readout("cloze")
class Cloze(OneShot):
    """Asks for log p(word) at the gap, one request per item and word (PET, arXiv:2001.07676).

    Options: `template`, with {mask} for the gap; `mask`, what stands for it in the text of this model ("": a causal
    model, whose gap is the end); `words` of each class, by its name (a class that has none there is its name);
    `aggregate` and `weights` as of `prompts.cloze.class_scores`; `before`: what stands between text and word. Scores
    are log-probabilities of the classes.
    """

    def requests(self, items: Sequence[Item]) -> list[Request]:
        """Return one request per item and word."""
        before = str(self._option("before", " "))
        words = [before + word for part in self._words for word in part]
        prompts = [self._render(item.inputs) for item in items]
        return [self.handle.scoring(prompt, word, **self.inside) for prompt in prompts for word in words]

    @cached_property
    def _words(self) -> list[list[str]]:
        known = self.learned.readout.options.get("words") or {}
        return [list(known.get(name) or [name]) for name in self.signature.class_names]

    @cached_property
    def _render(self) -> Any:
        if "template" not in self.learned.readout.options:
            raise ArtifactError("readout cloze lacks its option 'template'")
        template, mask = str(self._option("template", "")), str(self._option("mask", ""))
        most = self.handle.context or 0
        return cloze_of(template, mask, self.signature, most=most, count=self.handle.count_tokens)

    def _option(self, name: str, default: Any) -> Any:
        return self.learned.readout.options.get(name, default)

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Return the likeliest class of each item; one of which a word's value did not come is missing."""
        names, columns = self.signature.class_names, sum(map(len, self._words))
        came = [logprob(outcome) for outcome in outcomes]
        values = np.array([np.nan if v is None else v for v in came], np.float64).reshape(len(items), columns)
        missing = [bool(np.isnan(row).any()) for row in values]
        scores = class_scores(values, self._words, str(self._option("aggregate", "mean")), self._option("weights", ()))
        outputs = [None if gone else names[int(row.argmax())] for gone, row in zip(missing, scores, strict=True)]
        cost = ZERO
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                cost = cost.plus(self.handle.cost_of(outcome))
        return Predictions(outputs, missing, list(outputs), cost, scores.astype(np.float32))
