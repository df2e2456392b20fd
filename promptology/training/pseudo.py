"""Pseudo-labels: what a teacher says of texts without labels, and which of it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptology.prompts.arrays import fingerprint
from promptology.run.engine import Run
from promptology.training.regression import probe

if TYPE_CHECKING:
    from torch import Tensor

    from promptology.training.adapters import Adapters
    from promptology.training.cloze import ClozeObjective

Rows = NDArray[np.float64]
AT_ONCE = 64
"""Texts that go through the model together."""


def teach(vectors: NDArray[Any], said: Sequence[str], others: NDArray[Any], names: Sequence[str]) -> Rows:
    """Return a small teacher's class probabilities of `others`, shape (len(others), classes).

    It is a logistic regression on labelled `vectors` whose classes are `said`. A class without a labelled text gets
    nearly none.
    """
    gold = np.array([[name == one for name in names] for one in said], np.float64)
    found, _ = probe(vectors.astype(np.float64), gold, several=False)
    return softmax(others.astype(np.float64) @ found.weight.T + found.bias)


def softmax(scores: NDArray[Any]) -> Rows:
    """Return the probabilities of each row of scores, float64."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Rows = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def agreed(q: Rows, intended: Sequence[int], confidence: float) -> NDArray[np.bool_]:
    """Return which rows have their intended class as their likeliest one, with `confidence` at least, bool (n,)."""
    rows = np.arange(len(q))
    return np.asarray((q.argmax(axis=1) == np.asarray(intended)) & (q[rows, intended] >= confidence))


def soft_labels(run: Run, goal: ClozeObjective, theta: Adapters, rows: Sequence[list[int]], name: str) -> Tensor:
    """Return the class probabilities of texts by a model with adapters, float32 (texts, classes), kept by the store.

    How sure they are goes into the history; that all are of one class is said aloud.
    """
    import torch

    from promptology.injection import attach
    from promptology.training.initial import array

    mark = fingerprint({key: array(p) for key, p in theta.parameters.items()})

    def work() -> dict[str, Any]:
        with goal.body.quiet(), attach(goal.body.model, theta.fillings()):
            found = [goal.class_logprobs(rows[at : at + AT_ONCE]) for at in range(0, len(rows), AT_ONCE)]
        return {"q": array(torch.cat(found).exp())}

    parts = ["pseudo-labels", mark, goal.readout.to_json(), rows]
    q = torch.tensor(run.model().compute(parts, len(rows), work)["q"], device=goal.body.device)
    counts = torch.bincount(q.argmax(dim=1), minlength=q.shape[1]).tolist()
    run.log("pseudo-labels", of=name, confidence=float(q.amax(dim=1).mean()), most=max(counts), least=min(counts))
    if max(counts) == len(rows):
        only = goal.signature.class_names[counts.index(max(counts))]
        run.warn(f"{name}: the teacher calls every unlabelled text {only!r}; self-training can only repeat that")
    return q
