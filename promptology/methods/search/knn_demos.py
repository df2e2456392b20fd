"""Nearest-neighbour demonstrations: the k training items nearest to the input vote on its class.

    V <- embed(train)
    for an input x:  N <- k items of V with the largest cosine to x
                     score(c) = sum over N of class c of exp(cos(x, n) / tau);  predict the largest

k-nearest-neighbour prompting needs no learning beyond keeping the training set (kNN prompting, arXiv:2303.13824, reads
out a language model's distribution; here the vectors of an embedding model take its place). k is chosen by
leave-one-out accuracy on the training items, which costs no further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Embeds, Vectors
from promptology.prompts.learned import Demonstrations, Learned, Readout
from promptology.prompts.render import input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.search.demonstrations import as_examples, labelled_train


@method("knn-demos", family="search", learns="demonstrations", paper="arXiv:2303.13824", needs={"model": Embeds})
@dataclass(frozen=True)
class KNNDemos:
    """Let the nearest training items vote."""

    k: int = 0
    """Neighbours that vote; 0 chooses among 1, 3, 5, 9, 15 and 25 by leave-one-out on the training items."""
    temperature: float = 0.1
    """tau: how much nearer neighbours weigh."""

    def plan(self, task: Task) -> Cost:
        """Return one pass per labelled training item."""
        return Cost(passes=sum(i.labelled for i in task.train))

    def fit(self, run: Run) -> Learned:
        """Return demonstrations with their vectors, and the vote as readout."""
        items = labelled_train(run)
        signature = run.task.signature
        vectors = run.model().embed([input_text(i.inputs, signature) for i in items])
        labels = np.array([signature.class_names.index(i.target) for i in items])
        k = self.k or best_k(vectors, labels, self.temperature, [k for k in (1, 3, 5, 9, 15, 25) if k < len(items)])
        run.log("neighbours", k=k, items=len(items))
        shown = Demonstrations(as_examples(items), vectors, run.model().identity)
        vote = Readout("neighbour-vote", {"k": k, "temperature": self.temperature, "input_template": "{input}"})
        return Learned((shown, vote), signature, {"model": "embeds"}, "knn-demos")


def best_k(vectors: Vectors, labels: np.ndarray, temperature: float, choices: Sequence[int]) -> int:
    """Return the k with the best leave-one-out accuracy; the smallest of equals."""
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")
    weights = np.exp((np.take_along_axis(cosine, order, 1) - 1.0) / temperature)
    classes = np.arange(labels.max() + 1)
    best, best_accuracy = 1, -1.0
    for k in choices:
        votes = (weights[:, :k, None] * (labels[order[:, :k]][..., None] == classes)).sum(axis=1)
        accuracy = float((votes.argmax(axis=1) == labels).mean())
        if accuracy > best_accuracy:
            best, best_accuracy = k, accuracy
    return best
