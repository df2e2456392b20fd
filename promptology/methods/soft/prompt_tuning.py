"""Prompt tuning: virtual tokens in front of the input of a frozen model, learned by gradients.

Brian Lester, Rami Al-Rfou, Noah Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP 2021,
arXiv:2104.08691.

    P <- l embeddings, drawn from the vocabulary                         (section 3.2)
    for each step:
        X, Y <- a batch of training items
        P <- P - rate * gradient of  -log p(Y | [P; E(X)])               (equation 1; all else is frozen)
    keep the P that is best on validation items                          (section 3.3, early stopping)

The paper's rate, 0.3 with Adafactor, belongs to T5, whose embeddings have norms in the tens. Here it is a multiple of E,
the mean norm of the model's own embeddings, and the optimizer is AdamW, as in later studies (DePT, arXiv:2309.05173).
An encoder-decoder gets the prompt at its encoder alone, as in the paper. An encoder without a language-model head gets a
linear head on its pooled state, trained with the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import Differentiable
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.planning import course_cost


@method("prompt-tuning", family="soft", learns="tensors", paper="arXiv:2104.08691", needs={"model": Differentiable})
@dataclass(frozen=True)
class PromptTuning:
    """Learn virtual tokens in front of the input."""

    length: int = 20
    """l: virtual tokens; the paper's is 100 (section 3.2), for models with room for them."""
    init: str = "vocabulary"
    """Where they start: vocabulary, classes (the class names), text (see `text`) or random (section 3.2)."""
    text: str = ""
    """What a start from a text takes; empty: the instruction of the start, or of the task."""
    template: str = ""
    """What the model reads of an item behind the virtual tokens, with {input} where the item stands, in place of the
    words of the start, as in the paper; empty: these words."""
    rate: float = 0.03
    """Rate of the prompt as a multiple of E; the paper's is 0.3 for T5 (section 3.1)."""
    head_rate: float = 0.01
    """Rate of the head, where there is one."""
    steps: int = 300
    """Steps of gradient; the paper's are 30,000 (section 3.1); 0 leaves the prompt as it starts."""
    batch: int = 16
    """Items per step; the paper's are 32 (section 3.1)."""
    schedule: str = "linear"
    """Rate over the steps: linear, constant (the paper's), cosine, exponential or one-cycle."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises."""
    decay: float = 1e-5
    """Weight decay (section 3.1)."""
    checks: int = 10
    """How often the state is scored on validation items, the best is kept (section 3.3); 0 keeps the last."""
    readout: str = "auto"
    """What is trained for: label-likelihood, answer, head; auto: as the start is read, or a head on encoders."""
    trie: bool = False
    """Whether generated answers are held to the class names (readout answer)."""

    balance: bool = False
    """Whether items of rare classes count more where the text of the answer is trained (as in PTEC, arXiv:2309.12075)."""

    def plan(self, task: Task, model: Any = None) -> Cost:
        """Return three passes for each item of each step, and the scoring of validation items."""
        return course_cost(self, task, model, self.readout)

    def fit(self, run: Run) -> Learned:
        """Return the virtual tokens with the readout that they were trained for."""
        from promptology.injection import Filling
        from promptology.training.initial import virtual_tokens
        from promptology.training.inside import train_inside
        from promptology.training.loop import Group
        from promptology.training.objectives import class_weights, labelled_items, objective

        body = run.model().frozen()
        options: dict[str, Any] = {"trie": True} if self.trie else {}
        if self.template:
            options["template"] = self.template
        if self.balance:
            options["weights"] = class_weights(labelled_items(run))
        goal = objective(run, body, self.readout, room=self.length, **options)
        P = virtual_tokens(run, body, self.length, self.init, self.text)
        groups = [Group("prompt", {"P": P}, self.rate * body.norm, self.decay), *goal.groups(self.head_rate)]
        return train_inside(run, goal, self, groups, lambda: [Filling(goal.site, P)], "prompt-tuning")
