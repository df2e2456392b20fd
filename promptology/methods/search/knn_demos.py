"""Nearest-neighbour demonstrations: the k training items nearest to the input vote on its class.

    V <- embed(train)
    for an input x:  N <- k items of V with the largest cosine to x
                     score(c) = sum over N of class c of exp(cos(x, n) / tau);  predict the largest,
                     and, where several classes may apply, each c with at least half of all votes

k-nearest-neighbour prompting needs no learning beyond keeping the training set (kNN prompting, arXiv:2303.13824, reads
out a language model's distribution; here the vectors of an embedding model take its place). k is chosen by
leave-one-out accuracy (item F1 where several classes may apply) on the training items, which costs no further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Embeds, Vectors
from promptology.predict.vectors import majority, membership
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
        items = labelled_train(run.task)
        signature = run.task.signature
        vectors = run.model().embed([input_text(i.inputs, signature) for i in items])
        labels = np.array([membership(e.output, signature) for e in as_examples(items, signature)])
        choices = [k for k in (1, 3, 5, 9, 15, 25) if k < len(items)]
        several = signature.output == "classes"
        k = self.k or best_k(vectors, labels, self.temperature, choices, several)
        run.log("neighbours", k=k, items=len(items))
        shown = Demonstrations(as_examples(items, signature), vectors, run.model().identity)
        vote = Readout("neighbour-vote", {"k": k, "temperature": self.temperature, "input_template": "{input}"})
        return Learned((shown, vote), signature, {"model": "embeds"}, "knn-demos")


def best_k(
    vectors: Vectors, members: np.ndarray, temperature: float, choices: Sequence[int], several: bool = False
) -> int:
    """Return the k with the best leave-one-out score; the smallest of equals.

    `members`: 1 for each class of an item, shape (items, classes); `several`: whether items may have any number.
    """
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")
    weights = np.exp((np.take_along_axis(cosine, order, 1) - 1.0) / temperature)
    best, best_score = 1, -1.0
    for k in choices:
        votes = np.einsum("nk,nkc->nc", weights[:, :k], members[order[:, :k]])
        total = weights[:, :k].sum(axis=1, keepdims=True)
        said = majority(votes, total) if several else np.eye(votes.shape[1])[votes.argmax(axis=1)]
        sizes = said.sum(axis=1) + members.sum(axis=1)
        score = float((2 * (said * members).sum(axis=1) / sizes).mean())
        if score > best_score:
            best, best_score = k, score
    return best
