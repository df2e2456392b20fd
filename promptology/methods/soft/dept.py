"""DePT: a short prompt and low-rank offsets of the input embeddings, with as many parameters as a long prompt.

Zhengxiang Shi, Aldo Lipani, "DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-tuning", ICLR 2024,
arXiv:2309.05173.

    m < l;  r <- (l - m) d / (s + d)              (as many numbers as a prompt of l: l d = m d + (s + d) r)
    P <- m embeddings;  A (s x r) <- uniform in +-1/sqrt(r);  B (r x d) <- 0
    for each step:
        X, Y <- a batch of training items
        E' <- E(X) + c A B                        (by position, the same for all inputs; c = alpha / sqrt(r))
        P    <- a step down  -log p(Y | [P; E'])  at rate 1
        A, B <- a step down                       at rate 2, smaller by orders

A token's position counts from the first token of its text, padding left out, so that left and right padding agree.
Virtual tokens and the tokens of an answer get no offset, and what stands beyond s tokens none either, which is said
aloud. c is in the authors' code. The paper starts P from a fixed sentence; here it starts as prompt tuning's does. Rates
are multiples of E, the mean norm of the model's own embeddings. r is cut to a whole number, and the difference is said
aloud. An encoder without a language-model head gets a linear head on its pooled state.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Differentiable
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.planning import course_cost


@method("dept", family="soft", learns="tensors, module", paper="arXiv:2309.05173", needs={"model": Differentiable})
@dataclass(frozen=True)
class DePT:
    """Learn a short prompt and low-rank offsets of the input embeddings."""

    length: int = 16
    """m: virtual tokens; the paper's are 20 to 80 of 100."""
    matches: int = 40
    """l: length of the prompt that has as many parameters; the paper's is 100. It gives the rank where that is 0."""
    rank: int = 0
    """r: rank of the offsets; 0: the largest whole one with (s + d) r <= (l - m) d."""
    max_length: int = 128
    """s: tokens of the text that get an offset; the paper's are 256."""
    alpha: float = 8.0
    """Offsets are scaled by alpha / sqrt(r) (the authors' code)."""
    init: str = "vocabulary"
    """Where the virtual tokens start: vocabulary, classes, text (see `text`; the paper's) or random."""
    text: str = ""
    """What a start from a text takes; empty: the instruction of the start, or of the task."""
    rate: float = 0.01
    """Rate 1, of the prompt, as a multiple of E; the paper's is 0.3 to 0.5 for T5."""
    offset_rate: float = 0.001
    """Rate 2, of the offsets, as a multiple of E; the paper's is 1e-4 to 5e-3 for T5; 0 leaves them at zero."""
    head_rate: float = 0.01
    """Rate of the head, where there is one."""
    steps: int = 300
    """Steps of gradient; the paper's are 10,000 to 300,000; 0 leaves everything as it starts."""
    batch: int = 16
    """Items per step; the paper's are 32."""
    schedule: str = "linear"
    """Rates over the steps: linear (the paper's), constant, cosine, exponential or one-cycle."""
    warmup: float = 0.06
    """Share of the steps over which the rates rise; the paper's are 500 steps."""
    decay: float = 0.0
    """Weight decay; the paper says 1e-5, its code applies none."""
    checks: int = 10
    """How often the state is scored on validation items, the best is kept; 0 keeps the last."""
    readout: str = "auto"
    """What is trained for: label-likelihood, answer, head; auto: as the start is read, or a head on encoders."""

    def plan(self, task: Task, model: Any = None) -> Cost:
        """Return three passes for each item of each step, and the scoring of validation items."""
        return course_cost(self, task, model, self.readout)

    def fit(self, run: Run) -> Learned:
        """Return the prompt and the offsets, with the readout that they were trained for."""
        import torch

        from promptology.injection import Filling
        from promptology.injection.modules import Offsets
        from promptology.training.initial import virtual_tokens
        from promptology.training.inside import train_inside
        from promptology.training.loop import Group
        from promptology.training.objectives import objective

        body = run.model().frozen()
        m, s, d, r = self.length, self.max_length, body.dimension, self.rank_for(run, body.dimension)
        goal = objective(run, body, self.readout, room=m)
        self.check_lengths(run, [len(row) for row in goal.rows])
        P = virtual_tokens(run, body, m, self.init, self.text)
        fillings, groups = [Filling(goal.site, P)], [Group("prompt", {"P": P}, self.rate * body.norm, self.decay)]
        if r:
            A = torch.tensor(run.rng("offsets").uniform(-1 / sqrt(r), 1 / sqrt(r), (s, r)), dtype=torch.float32)
            offsets = Offsets(A, torch.zeros(r, d), self.alpha / sqrt(r)).to(body.device)
            fillings.append(Filling(goal.site, offsets))
            groups.append(Group("offsets", dict(offsets.named_parameters()), self.offset_rate * body.norm, self.decay))
        groups += goal.groups(self.head_rate)
        return train_inside(run, goal, self, groups, lambda: fillings, "dept")

    def rank_for(self, run: Run, d: int) -> int:
        """Return r for embeddings of width d; says aloud where the parameters do not match exactly."""
        m, s = self.length, self.max_length
        if self.rank < 0 or s < 1 or (not self.rank and not self.matches):
            raise UsageError(f"rank is {self.rank}, max_length {s}: give a rank, or the length of a prompt to match")
        if self.rank:
            return self.rank
        if self.matches < m:
            raise UsageError(
                f"a prompt of {m} tokens has more parameters than one of {self.matches}: take a shorter one"
            )
        r, rest = divmod((self.matches - m) * d, s + d)
        if rest:
            has, wanted = m * d + (s + d) * r, self.matches * d
            text = f"rank {r} gives {has:,} parameters; a prompt of {self.matches} tokens has {wanted:,}"
            run.log("rank", note=text)
        return r

    def check_lengths(self, run: Run, lengths: list[int]) -> None:
        """Say aloud how many training inputs are longer than s."""
        longer = sum(n > self.max_length for n in lengths)
        if longer:
            run.warn(
                f"{longer} of {len(lengths)} training inputs are longer than max_length {self.max_length} "
                f"(up to {max(lengths)} tokens): what stands beyond it gets no offset"
            )
