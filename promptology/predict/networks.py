"""Readout `network`: a trained network beside the model scores each class by its wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Item
from promptology.errors import ArtifactError
from promptology.models.access import State, Vectors
from promptology.predict.predictor import readout
from promptology.predict.vectors import VectorPredictor, label_values
from promptology.prompts.networks import Network
from promptology.prompts.render import fill

FEATURES = ("embed", "state")


@readout("network")
class NetworkPredictor(VectorPredictor):
    """Scores of a network that reads the vectors of the input and of each class's wording.

    The classes are those of the signature at hand, so that one that was never trained on is recognised by its
    description. Options: `label_template` holds {label} or {description}; `input_template`; `features`: "embed" (unit
    vectors) or "state" (pooled hidden states), of as many `layers` as `State.layers` says.
    """

    def texts(self, items: Sequence[Item]) -> Sequence[str | State]:
        """Return the wordings of the classes and the inputs."""
        return [*self._labels(), *self._asked(self._inputs(items))]

    def _labels(self) -> list[str | State]:
        template = str(self._option("label_template"))
        return self._asked([fill(template, label_values(c)) for c in self.signature.classes])

    def _asked(self, texts: Sequence[str]) -> list[str | State]:
        options = self.learned.readout.options
        return as_asked(texts, str(options.get("features", "embed")), int(options.get("layers", 0)), self.injected)

    def _vectors(self, items: Sequence[Item]) -> Vectors:
        return self.handle.embed(self._asked(self._inputs(items)))

    def _scores(self, vectors: Vectors) -> NDArray[np.float32]:
        import torch

        net = self.learned.part(Network)
        if net is None:
            raise ArtifactError("readout network has no part of kind network that could score")
        width = int(net.options.get("width", vectors.shape[1]))
        if width != vectors.shape[1]:
            raise ArtifactError(
                f"the network reads vectors of width {width}, {self.handle.name} gives {vectors.shape[1]}: it was "
                "trained on another model"
            )
        labels = self.handle.embed(self._labels())
        with torch.no_grad():
            scores = net.module(torch.from_numpy(np.array(vectors)), torch.from_numpy(np.array(labels)))
        return np.asarray(scores.numpy(), np.float32)

    def _apply(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        raise ArtifactError("readout network tells one class from others; where several apply it cannot say which")


def as_asked(texts: Sequence[str], features: str, layers: int = 0, injected: Any = None) -> list[str | State]:
    """Return texts in the form in which their vectors are asked for."""
    if features not in FEATURES:
        raise ArtifactError(f"features {features!r} are unknown; there are {', '.join(FEATURES)}")
    return [State(text, injected, layers) for text in texts] if features == "state" else list(texts)
