"""Readout `class-features`: the class whose wordings lie nearest to the image, in the space of a two-tower model.

A. Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, arXiv:2103.00020,
section 3.1: the vectors of a class's wordings are averaged, and logits are the model's scale times the cosine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.images import as_image
from promptology.data.items import Item, Signature
from promptology.errors import ArtifactError, UsageError
from promptology.models.access import Asked, Injected, Shown, State, Vectors
from promptology.models.local.wording import marked, unmarked, unplaced, with_row
from promptology.predict.adapting import adapting_of
from promptology.predict.predictor import Predictions, readout
from promptology.predict.vectors import VectorPredictor, label_values
from promptology.prompts.learned import Learned
from promptology.prompts.render import fill
from promptology.prompts.start import MARGIN
from promptology.run.embedding import passes
from promptology.run.handles import Handle

LOGITS = ("class-features", "head")
"""Readouts whose scores are logits of one class among all."""
ENDS = 2
"""Tokens that open and close a text."""


def images_of(items: Sequence[Item], signature: Signature, injected: Injected | None = None) -> list[Shown]:
    """Return the one image of each item, as a model is asked for its vector, under learned parts if any.

    Raises UsageError where the signature has no field with an image, or more than one.
    """
    names = signature.images
    if len(names) != 1:
        raise UsageError(f"one image an input is read; the fields with images are: {', '.join(names) or 'none'}")
    return [Shown(as_image(i.inputs[names[0]], i.id), injected) for i in items]


class ImagePredictor(VectorPredictor):
    """What readouts of images share: the vector of an item is that of its one image, under learned parts if any."""

    def shown(self, items: Sequence[Item]) -> list[Shown]:
        """Return the images of items as they are asked for."""
        return images_of(items, self.signature, self.injected)

    def texts(self, items: Sequence[Item]) -> Sequence[Asked]:
        """Return the images."""
        return self.shown(items)

    def _vectors(self, items: Sequence[Item]) -> Vectors:
        return self.handle.embed(self.shown(items))


@readout("class-features")
class ClassFeatures(ImagePredictor):
    """Scores are logits: scale times the cosine of the image and the class's mean wording, their softmax a confidence.

    Options: `templates`, wordings that hold {label} or {description}; each one's unit vectors are averaged, and the
    mean is of unit length again. Where several classes may apply, those whose cosine is within `margin` of the best
    one's do. Learned context stands at {context} in the wordings (see `promptology.models.local.wording`); where each
    class has its own, `classes` names them in the order of its rows. Context that depends on the image, or that a
    procedure adapts to it, makes a matrix for each image, of one wording.
    """

    def __init__(self, learned: Learned, handles: Mapping[str, Handle], signature: Signature) -> None:
        super().__init__(learned, handles, signature)
        self.whole = self.injected
        self.of_texts, self.injected = (_of_stack(self.whole, stack) for stack in ("text", "vision"))
        # One class is the answer whatever is done, and its softmax has no gradient.
        self.adapting = adapting_of(learned, handles) if len(signature.classes) > 1 else None
        moved = self.of_texts is not None and any(callable(f.filler) for f in self.of_texts.fillings)
        self.each = moved or self.adapting is not None
        self._check_wordings()

    def texts(self, items: Sequence[Item]) -> Sequence[Asked]:
        """Return the wordings of all classes, and the images."""
        return [*([] if self.each else self.asked), *self.shown(items)]

    def shown(self, items: Sequence[Item]) -> list[Shown]:
        """Return the images of items as they are asked for: beside all wordings where the context depends on them."""
        if not self.each:
            return super().shown(items)
        beside = tuple(text for some in self.wordings for text in some)
        shown = images_of(items, self.signature, self.whole)
        return [one._replace(texts=beside, adapting=self.adapting) for one in shown]

    def _passes(self, items: Sequence[Item]) -> int:
        return sum(map(passes, self.shown(items)))

    @property
    def asked(self) -> list[Asked]:
        """The wordings of all classes as they are asked for, under learned context where they have places for it."""
        flat = [text for some in self.wordings for text in some]
        return [State(text, self.of_texts) if marked(text) else text for text in flat]

    @cached_property
    def wordings(self) -> list[list[str]]:
        """The wordings of each class."""
        templates = self._option("templates")
        if not templates or isinstance(templates, str):
            raise ArtifactError("readout class-features needs its option 'templates', a list of wordings")
        if self.each and len(templates) > 1:
            raise ArtifactError("context that depends on the image stands in one wording, and there are several")
        values = [{k: unmarked(v) for k, v in label_values(c).items()} for c in self.signature.classes]
        return [[fill(self._own(t, n), value) for t in templates] for n, value in enumerate(values)]

    def _check_wordings(self) -> None:
        """Raise UsageError for a wording longer than the model reads, and for classes that it reads as the same."""
        most, room, known = self.handle.context, ENDS + self._length, dict[Any, str]()
        for label, texts in zip(self.signature.classes, self.wordings, strict=True):
            plain = [unplaced(text) for text in texts]
            tokens = [self.handle.tokens(text) for text in plain]
            longest = max(map(self._counted, plain, tokens)) + room
            if most is not None and longest > most:
                raise UsageError(
                    f"class {label.name[:60]!r}: its wording has {longest} tokens and {self.handle.name} reads "
                    f"{most}; give the class a shorter name"
                )
            if None in tokens or "classes" in self.learned.readout.options:  # unknown, or a context of its own
                continue
            other = known.setdefault(tuple(map(tuple, tokens)), label.name)  # type: ignore[arg-type]
            if other != label.name:
                raise UsageError(
                    f"{self.handle.name} reads the classes {other[:60]!r} and {label.name[:60]!r} as the same tokens "
                    "and cannot tell them apart; name or describe them in words that its tokenizer knows"
                )

    def _counted(self, text: str, tokens: list[int] | None) -> int:
        return (self.handle.count_tokens(text) or 0) if tokens is None else len(tokens)

    def _own(self, template: str, n: int) -> str:
        """Return a wording of class `n`, with its row of the context where each class has one."""
        known = self.learned.readout.options.get("classes")
        if not known or not marked(template):
            return template
        name = self.signature.class_names[n]
        if name not in known:
            raise ArtifactError(
                f"this prompt has a context for each of the classes {', '.join(known)}; it has none for {name}"
            )
        return with_row(template, list(known).index(name))

    @property
    def _length(self) -> int:
        """Vectors of context in a wording."""
        fillings = self.of_texts.fillings if self.of_texts else ()
        first = [f.filler for f in fillings if f.site == "text.context[0]" and not callable(f.filler)]
        return int(first[0].shape[-2]) if first else 0

    def class_features(self) -> Vectors:
        """Return the unit vector of each class, float32, shape (classes, dimension).

        Raises UsageError where they depend on the image.
        """
        if self.each:
            raise UsageError("the class features of this prompt depend on each image: there is no matrix of them")
        return averaged(self.handle.embed(self.asked), len(self.wordings))

    @cached_property
    def _scale(self) -> tuple[float, float]:
        towers = self.handle.towers()
        return float(towers.scale), float(towers.bias)

    def _scores(self, vectors: Vectors) -> NDArray[np.float32]:
        scale, bias = self._scale
        cosines = vectors if self.each else vectors @ self.class_features().T
        return np.asarray(scale * cosines + bias, np.float32)

    def _apply(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        margin = self._scale[0] * float(self.learned.readout.options.get("margin", MARGIN))
        return np.asarray(scores >= scores.max(axis=1, keepdims=True) - margin)


def _of_stack(injected: Injected | None, stack: str) -> Injected | None:
    """Return the learned parts of one tower, None where it has none."""
    own = [f for f in injected.fillings if f.site.startswith(f"{stack}.")] if injected else []
    return Injected(f"{injected.digest}/{stack}", tuple(own)) if injected and own else None


def averaged(vectors: Vectors, classes: int) -> Vectors:
    """Return the mean of each class's unit vectors, made unit length; `vectors`: (classes * templates, dimension)."""
    mean: NDArray[Any] = vectors.reshape(classes, -1, vectors.shape[-1]).mean(axis=1)
    norm = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.asarray(mean / np.maximum(norm, 1e-12), np.float32)


def confidences(learned: Learned, predictions: Predictions) -> list[float]:
    """Return the probability of each predicted class, the softmax of logits; empty where scores are none."""
    if learned.signature.output != "class" or learned.readout.type not in LOGITS or predictions.scores is None:
        return []
    scores = predictions.scores.astype(np.float64)
    best = scores.max(axis=1)
    return [float(p) for p in 1 / np.exp(scores - best[:, None]).sum(axis=1)]
