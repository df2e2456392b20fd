"""A model that only offers `Scores`, asked the way a model that generates is, so that one path meters both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from promptology.errors import ModelError
from promptology.models.access import Answer, Outcome, Request, Scores


class ByScore:
    """Answers requests with a `continuation` by the model's own `score`, in one call per batch."""

    def __init__(self, model: Scores) -> None:
        self._model = model
        self.name = model.name
        self.identity = str(getattr(model, "identity", model.name))
        self.local = bool(getattr(model, "local", False))
        self.simulated = bool(getattr(model, "simulated", False))

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome), each with its log-probability.

        A model that answers such requests itself, by `scored`, gets them as they are: with roles and learned parts.
        """
        own = getattr(self._model, "scored", None)
        if own is not None:
            yield from own(requests)
            return
        by_prompt: dict[str, list[int]] = {}
        for n, r in enumerate(requests):
            by_prompt.setdefault("\n\n".join(content for _, content in r.messages), []).append(n)
        choices = [[requests[n].continuation or "" for n in members] for members in by_prompt.values()]
        values = self._model.score(list(by_prompt), choices)
        if [len(row) for row in values] != [len(row) for row in choices]:
            raise ModelError(f"{self.name}: score must return one number for each choice of each prompt")
        for prompt, members, row in zip(by_prompt, by_prompt.values(), values, strict=True):
            for n, value in zip(members, row, strict=True):
                yield n, self._answer(prompt + (requests[n].continuation or ""), value)

    def _answer(self, text: str, value: Any) -> Answer:
        if math.isnan(number := float(value)):
            raise ModelError(f"{self.name}: score returned NaN")
        return Answer("", math.ceil(len(text.encode("utf-8", "replace")) / 4), 0, True, 1, False, number)
