"""Pseudo-labels: what a teacher says of texts without labels, and which of it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def ensembled(z: NDArray[Any], weights: NDArray[Any], temperature: float = 1.0) -> Rows:
    """Return the soft labels of several models: softmax of the weighted mean of their class scores, over a temperature.

    `z`: (models, texts, classes), what is added to all classes of a text does not matter; where no model has a weight
    above 0, all count alike (PET, arXiv:2001.07676, section 3.3).
    """
    shares = weights / weights.sum() if weights.sum() > 0 else np.full(len(z), 1 / len(z))
    return softmax(np.tensordot(shares, z.astype(np.float64), axes=1) / temperature)


def drawn_texts(q: Rows, wanted: Sequence[int], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return texts with their likeliest class, as many of each class as are `wanted`, or all that there are.

    None is drawn twice; chances are as sure as the models are (iPET, arXiv:2001.07676, section 3.4).
    """
    said, sure = q.argmax(axis=1), q.max(axis=1)
    found: list[tuple[int, int]] = []
    for c, count in enumerate(wanted):
        mine = np.flatnonzero(said == c)
        size = min(count, len(mine))
        if size:
            drawn = rng.choice(mine, size, replace=False, p=sure[mine] / sure[mine].sum())
            found += [(int(n), c) for n in sorted(drawn.tolist())]
    return found


def class_scores_of(
    run: Run,
    goal: ClozeObjective,
    rows: Sequence[list[int]],
    fillings: Sequence[Any],
    parameters: Mapping[str, Any] | None = None,
) -> NDArray[np.float32]:
    """Return log-probabilities of the classes of texts under what is attached, (texts, classes), kept by the store.

    `parameters`: what the fillings are made of, by name. Costs a pass for each text.
    """
    import torch

    from promptology.injection import attach
    from promptology.training.initial import array

    mark = fingerprint({key: array(p) for key, p in (parameters or {}).items()})

    def work() -> dict[str, Any]:
        with goal.body.quiet(), attach(goal.body.model, fillings):
            found = [goal.class_logprobs(rows[at : at + AT_ONCE]) for at in range(0, len(rows), AT_ONCE)]
        return {"logs": array(torch.cat(found))}

    parts = ["class scores", mark, goal.readout.to_json(), rows]
    logs: NDArray[np.float32] = run.model().compute(parts, len(rows), work)["logs"]
    return logs


def soft_labels(run: Run, goal: ClozeObjective, theta: Adapters, rows: Sequence[list[int]], name: str) -> Tensor:
    """Return the class probabilities of texts by a model with adapters, float32 (texts, classes), kept by the store.

    How sure they are goes into the history; that all are of one class is said aloud.
    """
    import torch

    logs = class_scores_of(run, goal, rows, theta.fillings(), theta.parameters)
    q = torch.tensor(logs, device=goal.body.device).exp()
    watch(run, q.cpu().numpy(), goal.signature.class_names, name)
    return q


def watch(run: Run, q: NDArray[Any], names: Sequence[str], of: str) -> None:
    """Say in the history how sure pseudo-labels are, and how many each class has; aloud where all are of one class."""
    counts = np.bincount(q.argmax(axis=1), minlength=len(names)).tolist()
    run.log("pseudo-labels", of=of, confidence=float(q.max(axis=1).mean()), most=max(counts), least=min(counts))
    if max(counts) == len(q):
        only = names[counts.index(max(counts))]
        run.warn(f"{of}: the teacher calls every unlabelled text {only!r}; self-training can only repeat that")
