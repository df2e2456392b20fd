"""What is trained for inside a model: the text of the answer, or a head on the pooled state. Both are parts of methods.

An objective knows the training items as token ids, gives the loss of a batch under whatever is attached to the model,
and makes a `Learned` of the parts that were trained and its own readout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptology.data.items import Item
from promptology.data.metrics import as_metric
from promptology.errors import UsageError
from promptology.predict import bind
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned, Part, Readout
from promptology.prompts.outputs import answer_text, choices_of
from promptology.prompts.render import fill, input_text, renderer, with_cue
from promptology.prompts.start import LIKELIHOOD
from promptology.run.engine import Run
from promptology.training.batches import Batches
from promptology.training.loop import Group
from promptology.training.losses import positive_weights

READOUTS = ("auto", "answer", "label-likelihood", "head")


class Objective:
    """What both objectives share: items, their token ids, and the batches of a training.

    `room`: positions that virtual tokens will take before the text.
    """

    def __init__(self, run: Run, body: Any, room: int = 0) -> None:
        self.run, self.body = run, body
        self.room = 0 if body.kind == "seq2seq" else room  # its positions are relative: there are always more
        self.items = labelled_items(run)
        self.signature = run.task.signature
        self.rows: list[list[int]] = []

    @property
    def site(self) -> str:
        """Where virtual tokens enter: the input of the stack that reads the text."""
        return "encoder.input" if self.body.kind == "seq2seq" else "input"

    def batches(self, size: int) -> Callable[[int], list[int]]:
        """Return the batch of each step as indices of items, of similar lengths, in the run's random order."""
        indices = list(range(len(self.items)))
        return Batches(indices, size, self.run.rng("batches"), lengths=[len(row) for row in self.rows])

    def loss(self, batch: Sequence[int]) -> Tensor:
        """Return the mean loss of items under whatever is attached."""
        raise NotImplementedError

    def groups(self, rate: float = 0.0, decay: float = 0.0) -> list[Group]:
        """Return the groups of parameters that the objective itself trains."""
        return []

    def learned(self, *parts: Part, method: str = "") -> Learned:
        """Return what was learned: the parts inside the model, and this readout."""
        raise NotImplementedError

    def validate(self, make: Callable[[], Learned], metric: str = "") -> Callable[[], float] | None:
        """Return the function that scores the present state on labelled validation items, None where there are none.

        `metric`: by name; by default the task's own.
        """
        items = [i for i in self.run.task.validation if i.labelled]
        return (lambda: score_of(self.run, make(), items, metric)) if items else None


class TextObjective(Objective):
    """Cross-entropy of the answer's tokens behind the prompt (Lester et al., arXiv:2104.08691).

    `readout`: "label-likelihood" (the likeliest class name is the answer) or "answer" (generation). `weights`: per
    class, what an item counts, summed over its classes (PTEC, arXiv:2309.12075). `order`: how several classes of an
    item are listed, by default the most frequent first. `template`: what the model reads of an item, {input} in it, in
    place of the start's words.
    """

    def __init__(
        self,
        run: Run,
        body: Any,
        readout: str,
        *,
        trie: bool = False,
        weights: Mapping[str, float] | None = None,
        order: Callable[[Sequence[str]], Sequence[str]] | None = None,
        template: str = "",
        room: int = 0,
    ) -> None:
        super().__init__(run, body, room)
        self.order = order or by_frequency(self.items)
        chat = bool(getattr(body, "chat", False))
        blank = "" if chat or body.kind == "seq2seq" else " "
        if readout == "label-likelihood" and run.task.signature.output != "class":
            raise UsageError("readout label-likelihood tells one class from others; for other outputs take answer")
        options: dict[str, Any] = {"cue": "" if chat or template else LIKELIHOOD["cue"]}
        if template:
            if "{input}" not in template:
                raise UsageError(f"template {template[:60]!r} lacks {{input}}: the place where the item stands")
            options["input_template"] = template
        if readout == "label-likelihood":
            options = {**LIKELIHOOD, **options, "choice": f"{blank}{{label}}"}
        elif trie:
            options.update(trie=True, before=blank, none=any(i.target == () for i in self.items))
        self.readout = Readout(readout, options)
        start = replace(run.start, parts=()) if template else run.start
        self.base = replace(start.with_parts(self.readout), roles={"model": "differentiable"})
        render = renderer(self.base, self.signature)
        asked = [with_cue(render(i.inputs), options["cue"]) for i in self.items]
        said = [self._answer(i, blank) for i in self.items]
        ends = readout == "answer"
        self.rows = [body.encode(messages, room=self.room) for messages in asked]
        self.targets = [body.continuation(messages, text, end=ends) for messages, text in zip(asked, said, strict=True)]
        self.weights = None if weights is None else torch.tensor([item_weight(i, weights) for i in self.items])

    def _answer(self, item: Item, blank: str) -> str:
        if self.readout.type == "label-likelihood":
            return f"{blank}{item.target}"
        if self.signature.output != "classes":
            return blank + answer_text(item.target, self.signature, item.inputs)
        # As the trie puts labels together, token by token.
        parted = choices_of(self.signature, blank)[1]
        return parted.join(blank + name for name in self.order(item.target) or ("none",))

    def loss(self, batch: Sequence[int]) -> Tensor:
        """Return the mean over items of the cross-entropy per token of the answer, in nats."""
        prompts, targets = [self.rows[i] for i in batch], [self.targets[i] for i in batch]
        losses = -self.body.target_logprobs(prompts, targets, reduce="mean")
        if self.weights is not None:
            losses = losses * self.weights[list(batch)].to(losses.device)
        mean: Tensor = losses.mean()
        return mean

    def learned(self, *parts: Part, method: str = "") -> Learned:
        """Return the start's words with the parts inside the model."""
        return replace(self.base, parts=(*parts, *self.base.parts), method=method)


class HeadObjective(Objective):
    """A linear head on the pooled state: cross-entropy, or for several classes weighted binary cross-entropy.

    `bias`: whether the head has one. `cap`: the largest weight of a rare class's positives, 0 for none. `cue`: stands
    behind the text (PTEC, arXiv:2309.12075). The weight starts uniform in +-1/sqrt(width), as linear layers do.
    """

    def __init__(
        self, run: Run, body: Any, *, bias: bool = True, cap: float = 0.0, cue: str = "", room: int = 0
    ) -> None:
        super().__init__(run, body, room)
        if run.task.signature.output not in ("class", "classes"):
            raise UsageError(
                f"a head tells classes apart; the output of task {run.task.name!r} is {self.signature.output}"
            )
        self.template = f"{{input}}{cue}"
        self.rows = self.encoded(self.items)
        self.several = self.signature.output == "classes"
        self.gold = gold_of(self.items, self.signature.class_names).to(body.device)
        width, classes = int(body.model.config.hidden_size), len(self.signature.class_names)
        start = run.rng("head").uniform(-1.0, 1.0, (classes, width)) / np.sqrt(width)
        self.weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32, device=body.device))
        self.bias = torch.nn.Parameter(torch.zeros(classes, device=body.device)) if bias else None
        counts = self.gold.sum(dim=0).int().tolist()
        self.positive = torch.tensor(positive_weights(counts, cap)).to(body.device) if self.several else None

    def logits(self, batch: Sequence[int]) -> Tensor:
        """Return class scores, shape (items, classes), under whatever is attached."""
        return self.scores([self.rows[i] for i in batch])

    def encoded(self, items: Sequence[Item]) -> list[list[int]]:
        """Return the tokens of items as the head reads them."""
        texts = [fill(self.template, {"input": input_text(i.inputs, self.signature)}) for i in items]
        return [self.body.encode(text, room=self.room) for text in texts]

    def scores(self, rows: Sequence[list[int]]) -> Tensor:
        """Return class scores of rows of tokens, shape (rows, classes), under whatever is attached."""
        pooled = self.body.pooled(rows).float()
        return torch.nn.functional.linear(pooled, self.weight, self.bias)

    def loss(self, batch: Sequence[int]) -> Tensor:
        """Return the mean loss of items, in nats."""
        logits, gold = self.logits(batch), self.gold[list(batch)]
        if self.several:
            return torch.nn.functional.binary_cross_entropy_with_logits(logits, gold, pos_weight=self.positive)
        return torch.nn.functional.cross_entropy(logits, gold.argmax(dim=1))

    def groups(self, rate: float = 0.0, decay: float = 0.0) -> list[Group]:
        """Return the head as one group."""
        named = {"head.weight": self.weight, **({} if self.bias is None else {"head.bias": self.bias})}
        return [Group("head", named, rate=rate, weight_decay=decay)]

    def learned(self, *parts: Part, method: str = "") -> Learned:
        """Return the parts inside the model, and the head as readout."""
        arrays = {"weight": self.weight, **({} if self.bias is None else {"bias": self.bias})}
        options = {"classes": list(self.signature.class_names), "input_template": self.template, "features": "state"}
        tensors = {name: value.detach().float().cpu().numpy().copy() for name, value in arrays.items()}
        readout = Readout("head", options, tensors)
        return Learned((*parts, readout), self.signature, {"model": "differentiable"}, method)


def objective(run: Run, body: Any, readout: str = "auto", **settings: Any) -> Objective:
    """Return what to train for with a model: what `readout` names, or what suits the model.

    A model with a language-model head is trained on the text of the answer, read as the start is read; an encoder gets
    a head on its pooled state, which is said aloud. `settings` go to the objective.
    """
    if readout not in READOUTS:
        raise UsageError(f"unknown readout {readout!r}; there are {', '.join(READOUTS)}")
    if readout == "auto" and body.kind in ("masked", "encoder"):
        run.log("readout", readout="head", why=f"{body.kind} model: a head on the pooled state is trained")
        readout = "head"
    if readout == "head":
        if {"trie", "weights", "template"} & {*settings}:
            raise UsageError("a head on the pooled state writes no text: leave trie, balance and template out")
        return HeadObjective(run, body, **settings)
    if readout == "auto":
        readout = run.start.readout.type if run.start.readout.type in READOUTS else "answer"
    return TextObjective(run, body, readout, **settings)


def labelled_items(run: Run) -> tuple[Item, ...]:
    """Return the labelled training items; raises UsageError where there are none."""
    items = tuple(i for i in run.task.train if i.labelled)
    if not items:
        raise UsageError(f"task {run.task.name!r} has no labelled training items to train on")
    return items


def score_of(run: Run, learned: Learned, items: Sequence[Item], metric: str = "") -> float:
    """Return the primary figure of a prompt on items, missing answers left out, by a metric or the task's own."""
    scored = as_metric(metric) if metric else run.task.metric
    predictor = bind(learned, run.model(), {r: h for r, h in run.roles.items() if r != "model"})
    predictions = predictor.predict(items)
    judge = referee(scored, run.roles, run.task.signature)
    if judge:
        predictions = judge.judge([predictions], items)[0]
    came = [n for n, gone in enumerate(predictions.missing) if not gone]
    figures = scored.aggregate([predictions.outputs[n] for n in came], [items[n].target for n in came])
    return float(next(iter(figures.values())))


def gold_of(items: Sequence[Item], names: Sequence[str]) -> Tensor:
    """Return 1 for each class of each item, float32, shape (items, classes)."""
    rows = [[float(name in _classes(i)) for name in names] for i in items]
    return torch.tensor(rows, dtype=torch.float32)


def _classes(item: Item) -> tuple[str, ...]:
    return tuple(item.target) if isinstance(item.target, tuple | list) else (str(item.target),)


def class_weights(items: Sequence[Item], cap: float = 0.0) -> dict[str, float]:
    """Return what a class's items count, max_k n_k / n_c (PTEC, arXiv:2309.12075), at most `cap` where there is one."""
    counts = Counter(name for item in items for name in _classes(item))
    return dict(zip(counts, map(float, positive_weights(list(counts.values()), cap)), strict=True))


def item_weight(item: Item, weights: Mapping[str, float]) -> float:
    """Return the sum of the weights of an item's classes."""
    return sum(weights[name] for name in _classes(item)) or 1.0


def by_frequency(items: Sequence[Item]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Return the order of classes by how often they occur, the most frequent first; ties by name."""
    counts = Counter(name for item in items for name in _classes(item))
    return lambda names: sorted(names, key=lambda name: (-counts[name], name))
