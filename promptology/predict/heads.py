"""Readout `head`: a trained linear head on the pooled state of a text, or on the vector of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.errors import ArtifactError
from promptology.models.access import Asked, State, Vectors
from promptology.predict.images import ImagePredictor
from promptology.predict.predictor import readout


@readout("head")
class Head(ImagePredictor):
    """Class scores W h + b of the vector h of a text or an image.

    Arrays: `weight`, float32, shape (classes, width), and `bias`, shape (classes,), or none. Options: `classes`, the
    names that the rows stand for; `input_template`; `features`: "state" (the pooled hidden state, under the learned
    parts inside the model), "embed" (the unit vector, for models that only embed) or "image" (the image's unit vector);
    `thresholds`: per class, the
    score above which it applies where several may (default 0: a probability above one half, PTEC arXiv:2309.12075).
    """

    def texts(self, items: Sequence[Item]) -> Sequence[Asked]:
        """Return the inputs as the head reads them."""
        features = self.learned.readout.options.get("features", "state")
        if features == "image":
            return self.shown(items)
        texts = self._inputs(items)
        if features == "embed":
            return texts
        return [State(text, self.injected) for text in texts]

    def _vectors(self, items: Sequence[Item]) -> Vectors:
        return self.handle.embed(self.texts(items))

    def _scores(self, vectors: Vectors) -> NDArray[np.float32]:
        arrays = self.learned.readout.arrays
        weight, known = arrays.get("weight"), list(self._option("classes"))
        if weight is None or weight.shape[0] != len(known):
            raise ArtifactError("readout head lacks its array 'weight' with one row per class")
        if weight.shape[1] != vectors.shape[1]:
            raise ArtifactError(
                f"readout head reads vectors of width {weight.shape[1]}, {self.handle.name} gives {vectors.shape[1]}: "
                "it was trained on another model"
            )
        absent = [name for name in self.signature.class_names if name not in known]
        if absent:
            raise ArtifactError(
                f"readout head was trained for the classes {_some(known)}; it has none for {_some(absent)}"
            )
        scores = vectors @ weight.T + arrays.get("bias", np.zeros(len(known), np.float32))
        columns = [known.index(name) for name in self.signature.class_names]
        return np.asarray(scores[:, columns], np.float32)

    def _apply(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        thresholds = self.learned.readout.options.get("thresholds") or {}
        limits = np.array([float(thresholds.get(name, 0.0)) for name in self.signature.class_names], np.float32)
        return np.asarray(scores > limits)


def _some(names: Sequence[str], most: int = 8) -> str:
    """Return names in a row, the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
