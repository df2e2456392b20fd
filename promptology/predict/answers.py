"""Readout `answer`: a generated text, parsed into classes, spans or an order, or taken as the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from promptology.data.items import Item
from promptology.models.access import Answer, Message, Outcome, Request
from promptology.predict.predictor import OneShot, Predictions, readout
from promptology.prompts.outputs import choices_of, parse_answer
from promptology.prompts.render import renderer, with_cue
from promptology.run.cost import ZERO, Cost


@readout("answer")
class AnswerPredictor(OneShot):
    """Asks the model once per item and parses what it says."""

    @cached_property
    def _render(self) -> Callable[[Mapping[str, Any]], tuple[Message, ...]]:
        return renderer(self.learned, self.signature)

    def requests(self, items: Sequence[Item]) -> list[Request]:
        """Return one request per item, at temperature 0."""
        return self.handle.requests([self._asked(i) for i in items], **self.inside, **self._limits())

    def _asked(self, item: Item) -> Any:
        cue = str(self.learned.readout.options.get("cue", ""))
        asked = self.rewritten(self._render(item.inputs), item)
        return with_cue(asked, cue) if cue else asked

    def _limits(self) -> dict[str, Any]:
        """Return what the options say of an answer: the most tokens, where it ends, and that it is made of labels.

        `trie`: only class names, joined by the separator where several may apply, none twice (trie search, PTEC,
        arXiv:2309.12075): for models in this process. `before`: the blank that names begin with; `none`: "none" is one
        more.
        """
        options, limits = self.learned.readout.options, dict[str, Any]()
        if "max_tokens" in options:
            limits["max_tokens"] = int(options["max_tokens"])
        if "stop" in options:
            limits["stop"] = tuple(options["stop"])
        if options.get("trie"):
            found = choices_of(self.signature, str(options.get("before", "")), bool(options.get("none")))
            limits["choices"], limits["separator"] = found
        return limits

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Parse the answers; an answer that cannot be parsed is None, which every metric counts as wrong."""
        raw = [o.text if isinstance(o, Answer) else None for o in outcomes]
        cost = ZERO
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                cost = cost.plus(self._cost(outcome))
        outputs = [self._parse(text, item) for text, item in zip(raw, items, strict=True)]
        return self.settled(items, Predictions(outputs, [t is None for t in raw], raw, cost))

    def _cost(self, answer: Answer) -> Cost:
        return self.handle.cost_of(answer)

    def _parse(self, text: str | None, item: Item) -> Any:
        return None if text is None else parse_answer(text, self.signature, item.inputs)
