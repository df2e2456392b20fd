"""CrossTune: inputs attend to descriptions of the classes, over vectors that a black-box model returns.

Danqing Luo, Chen Zhang, Yan Zhang, Haizhou Li, "CrossTune: Black-Box Few-Shot Classification with Label Enhancement",
LREC-COLING 2024, arXiv:2403.12468. No code was published; what is marked "ours" is a reconstruction.

    h_x <- the frozen model's vector of each text, H <- of each class's description: once each, then kept
    head k = 1..K:  a_k = softmax((h_x W^Q_k) (H W^K_k)^T / sqrt(d_k))
    a   <- mean of the a_k: the probabilities of the classes; there is no value projection and no classifier
    W^Q, W^K <- AdamW on  -log a_y ; after each epoch accuracy on validation items, the best state is kept
    with a chat model:
        texts <- new ones of each class from its description and a few examples
        the switch: a teacher, trained on the same few labels, must name the class that was meant, with tau at least;
        train again with the texts that are left, and keep that if validation accuracy is not lower
    predict: one vector of the input, argmax of a; a new class needs its description alone

Ours: vectors are scaled by mean and spread of the training texts, since those of language models are nearly parallel;
W^Q = W^K at the start, K slices of one random orthogonal matrix, so that a begins as a softmax of cosines; the teacher
is a logistic regression on vectors of the helper `teacher`, where one is given, or of the model itself, in place of a
DeBERTa that is tuned; generated texts that repeat a known one, or 8 words of a test input, are dropped.

What is read of the model: its unit vectors where it embeds (an endpoint, a sentence encoder), and of a language model
in this process, as in the paper, the element-wise maximum of the last layers' states at a mask behind the text, or at
the last token of a causal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Differentiable, Embeds, Generates
from promptology.predict.networks import FEATURES, as_asked
from promptology.predict.vectors import label_values
from promptology.prompts.learned import Learned, Readout
from promptology.prompts.networks import Network, make_network
from promptology.prompts.render import fill, input_text
from promptology.run.cost import Cost
from promptology.run.engine import Run

WORDINGS = {"descriptions": "{description}", "names": "{label}"}
Pairs = list[tuple[str, str]]
"""Texts with their classes."""


@method(
    "crosstune",
    family="soft",
    learns="network",
    paper="arXiv:2403.12468",
    needs={"model": Embeds | Differentiable},
    optional={"optimizer": Generates, "teacher": Embeds | Differentiable},
    outputs=("class",),
)
@dataclass(frozen=True)
class CrossTune:
    """Learn how inputs attend to the descriptions of classes."""

    labels: str = "descriptions"
    """What stands for a class: descriptions (section 3), or names (an ablation)."""
    features: str = "auto"
    """What is read: embed (unit vectors), state (hidden states), or auto: state of a language model in this process."""
    layers: int = 4
    """Last layers whose maximum is taken, where states are read (ours); 0: the model's own pooled state."""
    heads: int = 8
    """Heads K (ours)."""
    width: int = 0
    """Width d_k of a head; 0: d / K (ours)."""
    rate: float = 0.0003
    """Rate of W^Q and W^K (ours: 1e-4 to 1e-3)."""
    decay: float = 0.01
    """Weight decay (ours: 0.01 to 0.1)."""
    batch: int = 16
    """Items per step (ours)."""
    epochs: int = 100
    """Passes over the training vectors at most (ours)."""
    patience: int = 10
    """Epochs without a better validation score after which the training ends (ours)."""
    generated: int = 100
    """Texts a class that the helper `optimizer` writes, where one is given (ours)."""
    at_once: int = 10
    """Texts that one request asks for (ours)."""
    shown: int = 4
    """Labelled examples that a request shows (ours)."""
    switch: bool = True
    """Whether generated texts must pass; false: all of them are used."""
    confidence: float = 0.5
    """tau: the teacher's probability of the class that was meant, at least (ours)."""

    def plan(self, task: Task) -> Cost:
        """Return one pass for each labelled text and each class, once; texts of a chat model come on top."""
        labelled = sum(i.labelled for i in (*task.train, *task.validation))
        return Cost(passes=labelled + len(task.signature.classes))

    def fit(self, run: Run) -> Learned:
        """Return the network with its readout."""
        items = self._items(run)
        D: Pairs = [(input_text(i.inputs, run.task.signature), i.target) for i in items]
        learned, score = self._train(run, D, "plain")
        run.keep(learned)
        if not run.has("optimizer"):
            return learned
        more = self._written(run, D)
        if self.switch:
            more = self._agreed(run, D, more)
        if not more:
            return learned
        augmented, with_more = self._train(run, D + more, "with generated texts")
        used = not self.switch or np.isnan(score) or with_more >= score
        run.log("switch", texts=len(more), used=used, score=with_more, without=score)
        return augmented if used else learned

    def _items(self, run: Run) -> list[Item]:
        signature, items = run.task.signature, [i for i in run.task.train if i.labelled]
        if signature.output != "class":
            raise UsageError(f"crosstune tells one class from others; the output of this task is {signature.output}")
        if not items:
            raise UsageError(f"task {run.task.name!r} has no labelled training items to train on")
        if self.labels not in WORDINGS or self.features not in ("auto", *FEATURES):
            raise UsageError(
                f"labels are {' or '.join(WORDINGS)} and features auto, {' or '.join(FEATURES)}; "
                f"got {self.labels!r} and {self.features!r}"
            )
        plain = [c.name for c in signature.classes if not c.description]
        if plain and self.labels == "descriptions":
            run.warn(f"{len(plain)} classes have no description, so their names stand for them: {', '.join(plain)}")
        by_wording: dict[str, list[str]] = {}
        for c in signature.classes:
            by_wording.setdefault(fill(WORDINGS[self.labels], label_values(c)), []).append(c.name)
        for alike in (names for names in by_wording.values() if len(names) > 1):
            run.warn(f"{', '.join(alike)} have the same description, so they cannot be told apart: reword it")
        return items

    def _readout(self, run: Run) -> Readout:
        """Return how vectors are made of texts, and classes of their wordings."""
        language = {"differentiable", "scores"} <= {*run.model().access}
        features = ("state" if language else "embed") if self.features == "auto" else self.features
        options = {"label_template": WORDINGS[self.labels], "input_template": "{input}", "features": features}
        return Readout("network", {**options, "layers": self.layers} if features == "state" else options)

    def _train(self, run: Run, D: Pairs, label: str) -> tuple[Learned, float]:
        """Return what label attention learns from texts and classes, and its best validation score (nan: none)."""
        import torch

        from promptology.training.attention import heads_for
        from promptology.training.batches import Batches, epochs_to_steps
        from promptology.training.initial import array
        from promptology.training.loop import Group, train
        from promptology.training.objectives import score_of

        readout, signature = self._readout(run), run.task.signature
        how = readout.options["features"], int(readout.options.get("layers", 0))
        wordings = [fill(str(readout.options["label_template"]), label_values(c)) for c in signature.classes]
        X = run.model().embed(as_asked([text for text, _ in D], *how))
        H = run.model().embed(as_asked(wordings, *how))
        y = torch.tensor([signature.class_names.index(name) for _, name in D])
        start = heads_for(X, self.heads, self.width, run.rng("projections"))
        net = make_network("label-attention", {}, start)
        x, h = torch.from_numpy(X.copy()), torch.from_numpy(H.copy())

        def loss(batch: list[int]) -> torch.Tensor:
            return torch.nn.functional.nll_loss(net(x[batch], h), y[batch])

        def learned() -> Learned:
            arrays = {**start, "query": array(net.query), "key": array(net.key)}
            access = {"model": "differentiable" if how[0] == "state" else "embeds"}
            part = Network("label-attention", {"width": X.shape[1]}, arrays)
            return Learned((part, readout), signature, access, "crosstune")

        held = [i for i in run.task.validation if i.labelled]
        epoch = epochs_to_steps(1, len(D), self.batch)
        trained = train(
            run,
            loss,
            Batches(list(range(len(D))), self.batch, run.rng(f"batches, {label}")),
            [Group("attention", dict(net.named_parameters()), self.rate, self.decay)],
            steps=self.epochs * epoch,
            schedule="constant",
            evaluate=(lambda: score_of(run, learned(), held)) if held else None,
            every=epoch,
            patience=self.patience,
            beside=True,
        )
        run.log("crosstune", texts=label, items=len(D), epochs=round(trained.steps / epoch, 1), features=how[0])
        return learned(), trained.best_value

    def _written(self, run: Run, D: Pairs) -> Pairs:
        """Return texts that the chat model writes, with the classes that were meant."""
        from promptology.search.texts import new_texts

        signature, rng = run.task.signature, run.rng("examples")
        shown: dict[str, list[str]] = {}
        for n in rng.permutation(len(D)):
            shown.setdefault(D[n][1], []).append(D[n][0])
        examples = {name: texts[: self.shown] for name, texts in shown.items()}
        apart = [input_text(i.inputs, signature) for i in (*run.task.validation, *run.task.test)]
        known = [*(text for text, _ in D), *apart]
        return new_texts(
            run,
            signature.classes,
            self.generated,
            examples=examples,
            known=known,
            kept_apart=apart,
            at_once=self.at_once,
        )

    def _agreed(self, run: Run, D: Pairs, more: Pairs) -> Pairs:
        """Return the texts of which a teacher, trained on the few labels, says what they were meant to be."""
        from promptology.training.pseudo import agreed, teach

        if not more:
            return more
        role = "teacher" if run.has("teacher") else "model"
        names = run.task.signature.class_names
        readout = self._readout(run).options if role == "model" else {"features": "embed"}
        how = readout["features"], int(readout.get("layers", 0))
        vectors = run.model(role).embed(as_asked([text for text, _ in D + more], *how))
        q = teach(vectors[: len(D)], [name for _, name in D], vectors[len(D) :], names)
        right = agreed(q, [names.index(name) for _, name in more], self.confidence)
        run.log("teacher", role=role, offered=len(more), agreed=int(right.sum()))
        return [pair for pair, keep in zip(more, right, strict=True) if keep]
