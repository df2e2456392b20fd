"""Readout `label-likelihood`: the class whose name is the likeliest continuation of the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from promptology.data.items import ClassLabel, Item, Signature
from promptology.errors import ArtifactError
from promptology.models.access import Answer, Outcome, Request
from promptology.predict.predictor import OneShot, Predictions, readout
from promptology.predict.vectors import label_values
from promptology.prompts.learned import Learned
from promptology.prompts.render import fill, messages, with_cue
from promptology.prompts.start import LIKELIHOOD, NORMALISE
from promptology.run.cost import ZERO, Cost
from promptology.run.handles import Handle, logprob


@readout("label-likelihood")
class LabelLikelihood(OneShot):
    """Asks for log p(class name | prompt and cue), one request per item and class.

    Options: `cue` stands behind the rendered prompt; `choice` is the wording of a class and holds {label} or
    {description}; `normalise`: "none" takes the sum over the name's tokens, "bytes" divides it by the name's length.
    An item with a class whose value did not come is missing. Ties go to the class that stands first.
    """

    def __init__(self, learned: Learned, handles: Mapping[str, Handle], signature: Signature) -> None:
        super().__init__(learned, handles, signature)
        if "differentiable" in self.handle.access:
            # A masked model reads a class at one token; that it cannot is said before anything is learned.
            body = self.handle.frozen()
            for label in signature.classes if body.kind == "masked" else ():
                body.continuation((), self._choice(label))

    def requests(self, items: Sequence[Item]) -> list[Request]:
        """Return one request per item and class."""
        cue, choices = self._option("cue"), [self._choice(c) for c in self.signature.classes]
        asked = [self.rewritten(messages(self.learned, i.inputs, self.signature), i) for i in items]
        prompts = [with_cue(one, cue) for one in asked]
        return [self.handle.scoring(prompt, choice, **self.inside) for prompt in prompts for choice in choices]

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Return the class with the highest log-probability for each item, and all of them as scores."""
        names = self.signature.class_names
        came = [logprob(outcome) for outcome in outcomes]
        values = np.array([np.nan if v is None else v for v in came], np.float64).reshape(len(items), len(names))
        missing = [bool(np.isnan(row).any()) for row in values]
        scores = values / self._lengths()
        outputs = [None if gone else names[int(row.argmax())] for gone, row in zip(missing, scores, strict=True)]
        cost = ZERO
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                cost = cost.plus(self._cost(outcome))
        return self.settled(items, Predictions(outputs, missing, list(outputs), cost, scores.astype(np.float32)))

    def _cost(self, answer: Answer) -> Cost:
        return self.handle.cost_of(answer)

    def _option(self, name: str) -> str:
        return str(self.learned.readout.options.get(name, LIKELIHOOD[name]))

    def _choice(self, label: ClassLabel) -> str:
        choice = fill(self._option("choice"), label_values(label))
        if not choice.strip():
            raise ArtifactError(f"readout label-likelihood: the wording of class {label.name!r} is empty")
        return choice

    def _lengths(self) -> Any:
        how = self._option("normalise")
        if how not in NORMALISE:
            raise ArtifactError(f"readout label-likelihood: normalise is one of {', '.join(NORMALISE)}, not {how!r}")
        return np.array([len(self._choice(c).encode()) if how == "bytes" else 1 for c in self.signature.classes])
