"""Readouts on embeddings: nearest label text, and the vote of the nearest demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import ClassLabel, Item, Signature
from promptology.errors import ArtifactError
from promptology.models.access import Outcome, Vectors
from promptology.predict.predictor import OneShot, Predictions, readout
from promptology.prompts.learned import Demonstrations
from promptology.prompts.outputs import answer_text, parse_answer
from promptology.prompts.render import fill, input_text
from promptology.prompts.start import MARGIN
from promptology.run.cost import Cost


class VectorPredictor(OneShot):
    """What both readouts share: items as vectors, classes as columns of a score matrix."""

    def _option(self, name: str) -> Any:
        try:
            return self.learned.readout.options[name]
        except KeyError:
            raise ArtifactError(f"readout {self.learned.readout.type} lacks its option {name!r}") from None

    def _inputs(self, items: Sequence[Item]) -> list[str]:
        template = str(self.learned.readout.options.get("input_template", "{input}"))
        return [fill(template, {"input": input_text(i.inputs, self.signature)}) for i in items]

    def _vectors(self, items: Sequence[Item]) -> Vectors:
        return self.handle.embed(self._inputs(items))

    def _scores(self, vectors: Vectors) -> NDArray[np.float32]:
        raise NotImplementedError

    def read(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> Predictions:
        """Return the class with the highest score for each item, or, where several may apply, all that do."""
        names = self.signature.class_names
        if not items:
            return Predictions([], [], [])
        scores = self._scores(self._vectors(items))
        if self.signature.output == "classes":
            outputs: list[Any] = [tuple(names[j] for j in np.flatnonzero(row)) for row in self._apply(scores)]
        else:
            outputs = [names[j] for j in scores.argmax(axis=1)]
        raw: list[str | None] = [answer_text(output, self.signature) for output in outputs]
        return Predictions(outputs, [False] * len(items), raw, self._cost(items), scores)

    def _cost(self, items: Sequence[Item]) -> Cost:
        """Return what the predictions cost, each made by itself: passes, or calls of a server that embeds."""
        if self.handle.called:
            return self.handle.cost_of_texts(self._inputs(items))
        return Cost(passes=self._passes(items))

    def _passes(self, items: Sequence[Item]) -> int:
        """Return the passes that the vectors of items take."""
        return len(items)

    def _apply(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which classes apply, shape of the scores."""
        raise NotImplementedError


@readout("nearest-label")
class NearestLabel(VectorPredictor):
    """Cosine of the input with the wording of each class; `label_template` holds {label} or {description}.

    Where several classes may apply, those whose cosine is within `margin` of the best one's do.
    """

    def texts(self, items: Sequence[Item]) -> list[str]:
        """Return label wordings and inputs."""
        return [*self._labels(), *self._inputs(items)]

    def _labels(self) -> list[str]:
        template = str(self._option("label_template"))
        return [fill(template, label_values(c)) for c in self.signature.classes]

    def _scores(self, vectors: Vectors) -> NDArray[np.float32]:
        return vectors @ self.handle.embed(self._labels()).T

    def _apply(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        margin = float(self.learned.readout.options.get("margin", MARGIN))
        return np.asarray(scores >= scores.max(axis=1, keepdims=True) - margin)


def label_values(label: ClassLabel) -> dict[str, str]:
    """Return what {label} and {description} stand for; a class without a description is described by its name."""
    return {"label": label.name, "description": label.description or label.name}


@readout("neighbour-vote")
class NeighbourVote(VectorPredictor):
    """Vote of the k nearest demonstrations by cosine, weighted by exp(cosine / temperature).

    Where several classes may apply, those with at least half of all votes do, and the one with most.
    """

    def texts(self, items: Sequence[Item]) -> list[str]:
        """Return demonstrations without stored vectors, and inputs."""
        return [*self._unknown(), *self._inputs(items)]

    def _examples(self) -> Demonstrations:
        found = self.learned.part(Demonstrations)
        if found is None or not found.examples:
            raise ArtifactError("readout neighbour-vote has no demonstrations to vote")
        return found

    def _unknown(self) -> list[str]:
        shown = self._examples()
        if shown.vectors is not None and shown.vectors_of == self.handle.identity:
            return []
        return [input_text(e.inputs, self.signature) for e in shown.examples]

    def _memory(self) -> Vectors:
        texts, shown = self._unknown(), self._examples()
        if texts or shown.vectors is None:
            return self.handle.embed(texts)
        return shown.vectors

    def _scores(self, vectors: Vectors) -> NDArray[np.float32]:
        examples = self._examples().examples
        members = np.array([membership(e.output, self.signature) for e in examples])
        k = min(int(self._option("k")), len(examples))
        cosine = vectors @ self._memory().T
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        weight = np.exp((np.take_along_axis(cosine, nearest, 1) - 1.0) / float(self._option("temperature")))
        self._total = weight.sum(axis=1, keepdims=True)
        scores: NDArray[np.float32] = np.einsum("nk,nkc->nc", weight, members[nearest]).astype(np.float32)
        return scores

    def _apply(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        return majority(scores, self._total)


def membership(answer: str, signature: Signature) -> NDArray[np.float32]:
    """Return 1 for each class that a demonstration's output names, shape (classes,)."""
    said = (parse_answer(answer, signature, {}) or ()) if signature.output == "classes" else (answer,)
    return np.array([name in said for name in signature.class_names], np.float32)


def majority(votes: NDArray[Any], total: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the classes with at least half of all votes, and of each row the one with most."""
    return np.asarray((votes >= total / 2) | (np.arange(votes.shape[1]) == votes.argmax(axis=1)[:, None]))
