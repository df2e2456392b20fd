"""Prefix tuning: keys and values in front of the text at every layer, learned through a network that is then dropped.

Xiang Lisa Li, Percy Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", ACL 2021, arXiv:2101.00190.

    P' <- l rows of width k;  MLP <- Linear(k, mid), Tanh, Linear(mid, 2 L d)       (section 4.3)
    for each step:
        P <- MLP(P')                        (per layer and token one key and one value)
        X, Y <- a batch of training items
        P', MLP <- a step down  -log p(Y | P, X)                                     (section 4.2; all else is frozen)
    keep P, drop P' and MLP                                                          (section 4.3)

With `mlp` 0 the keys and values are parameters themselves. The paper starts few-shot prefixes from the activations of
real words (section 7.4); here that is P <- activations + MLP(P') with a last layer of zeros, so that the first step
begins exactly there. As keys enter the cache so they are learned: behind rotary positions, one set for each group of
query heads. The text's positions follow the prefix. An encoder-decoder gets a prefix in its encoder and one in its
decoder (section 4.2, for BART), each with a network of its own; cross-attention is left as it is. An encoder without a
language-model head gets a linear head on its pooled state, trained with the prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Differentiable
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.planning import course_cost

if TYPE_CHECKING:
    from torch import nn


@method("prefix-tuning", family="soft", learns="tensors", paper="arXiv:2101.00190", needs={"model": Differentiable})
@dataclass(frozen=True)
class PrefixTuning:
    """Learn keys and values in front of the text, at every layer."""

    length: int = 10
    """l: tokens of the prefix; the paper's are 10 for tables, 200 for summaries (section 7.2)."""
    mlp: int = 512
    """mid: width of the network that the prefix is learned through (section 4.3); 0: it is learned directly."""
    init: str = "text"
    """Where it starts: activations of a text (see `text`) or of vocabulary words (section 7.4), or random."""
    text: str = ""
    """What a start from a text takes; empty: the instruction of the start, or of the task."""
    rate: float = 0.003
    """Rate of all that is learned; the paper's is 5e-5 (section 5.3), for many more steps."""
    head_rate: float = 0.01
    """Rate of the head, where there is one."""
    steps: int = 300
    """Steps of gradient; the paper trains for 10 epochs (section 5.3); 0 leaves the prefix as it starts."""
    batch: int = 16
    """Items per step; the paper's are 5 (section 5.3)."""
    schedule: str = "linear"
    """Rate over the steps: linear (the paper's), constant, cosine, exponential or one-cycle."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises."""
    decay: float = 0.0
    """Weight decay."""
    checks: int = 10
    """How often the state is scored on validation items, the best is kept; 0 keeps the last."""
    readout: str = "auto"
    """What is trained for: label-likelihood, answer, head; auto: as the start is read, or a head on encoders."""

    def plan(self, task: Task, model: Any = None) -> Cost:
        """Return the passes of training, and those over the words that a start from activations takes."""
        stacks = 2 if getattr(model, "kind", "") == "seq2seq" and self.readout != "head" else 1
        return course_cost(self, task, model, self.readout).plus(Cost(passes=stacks))

    def fit(self, run: Run) -> Learned:
        """Return keys and values for every layer with the readout that they were trained for."""
        from promptology.injection import Filling
        from promptology.training.inside import train_inside
        from promptology.training.loop import Group
        from promptology.training.objectives import HeadObjective, objective

        body = run.model().frozen()
        goal = objective(run, body, self.readout, room=self.length)
        reading = list(body.sites.stacks)[:1]
        stacks = reading if isinstance(goal, HeadObjective) else list(body.sites.stacks)
        prefixes = {stack: self.prefix(run, body, stack) for stack in stacks}

        def fillings() -> list[Filling]:
            place = {s: f"{s}.key_value" if len(body.sites.stacks) > 1 else "key_value" for s in stacks}
            return [Filling(f"{place[s]}[{i}]", kv) for s in stacks for i, kv in enumerate(prefixes[s]())]

        named = {f"{s}.{name}": p for s in stacks for name, p in prefixes[s].named_parameters()}
        groups = [Group("prefix", named, self.rate, self.decay), *goal.groups(self.head_rate)]
        return train_inside(run, goal, self, groups, fillings, "prefix-tuning")

    def prefix(self, run: Run, body: Any, stack: str) -> nn.Module:
        """Return the module that gives P, shape (L, 2, l, heads, d_head), for one stack at its start."""
        import torch

        from promptology.training.initial import key_values, seeded, virtual_tokens, word_ids
        from promptology.training.reparameterising import DirectPrefix, PrefixNetwork

        if self.init not in ("text", "vocabulary", "random"):
            raise UsageError(f"unknown start {self.init!r}; there are text, vocabulary, random")
        words = virtual_tokens(run, body, self.length).detach()  # refuses a length of 0
        ids = word_ids(run, body, self.length, self.init, self.text)
        start = key_values(run, body, stack, ids)
        fresh = self.init == "random"
        if fresh:
            size = float(start.std())
            drawn = run.rng(f"prefix {stack}").normal(0.0, size, start.shape)
            start = torch.zeros_like(start) if self.mlp else torch.tensor(drawn, dtype=torch.float32)
        if not self.mlp:
            return DirectPrefix(start.to(body.device))
        with seeded(run, f"prefix network {stack}"):
            return PrefixNetwork(start, words.cpu(), self.mlp, silent=not fresh).to(body.device)
