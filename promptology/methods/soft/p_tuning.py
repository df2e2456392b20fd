"""P-tuning: virtual tokens that an LSTM ties together while they are learned; only what it makes of them is kept.

Xiao Liu, Yanan Zheng, Zhengxiao Du, Ming Ding, Yujie Qian, Zhilin Yang, Jie Tang, "GPT Understands, Too",
arXiv:2103.10385.

    e <- l pseudo-token embeddings
    for each step:
        h <- MLP(BiLSTM(e))                                              (section 2.3: the prompt encoder)
        X, Y <- a batch of training items
        e, BiLSTM, MLP <- a step down  -log p(Y | [h; E(X)])             (the language model is frozen)
    keep h, drop e, BiLSTM and MLP                                       (section 2.3)

The paper puts pseudo tokens between the words of a template; here they all stand in front of the text, as PEFT has
them. `encoder` "mlp" leaves the LSTM out, as later versions of the authors' code do. h is scaled by one number, which is
fixed at the start, so that its rows begin with the mean length E of the model's own embeddings: what a fresh network
gives is far too small for one model and too large for another. An encoder without a language-model head gets a linear
head on its pooled state, trained with the prompt.
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


@method("p-tuning", family="soft", learns="tensors", paper="arXiv:2103.10385", needs={"model": Differentiable})
@dataclass(frozen=True)
class PTuning:
    """Learn virtual tokens through a prompt encoder that is dropped afterwards."""

    length: int = 10
    """l: pseudo tokens; the paper's are 3 to 18, by task."""
    encoder: str = "lstm"
    """What makes prompts of pseudo tokens (section 2.3): lstm (two layers, both directions, and an MLP) or mlp."""
    hidden: int = 0
    """Width of the encoder; 0: that of the embeddings."""
    init: str = "vocabulary"
    """Where the pseudo tokens start: vocabulary, classes, text (see `text`) or random."""
    text: str = ""
    """What a start from a text takes; empty: the instruction of the start, or of the task."""
    rate: float = 0.003
    """Rate of pseudo tokens and encoder; the paper's is 1e-5 to 1e-4, with the language model tuned too."""
    head_rate: float = 0.01
    """Rate of the head, where there is one."""
    steps: int = 300
    """Steps of gradient; 0 leaves the prompt as it starts."""
    batch: int = 16
    """Items per step."""
    schedule: str = "linear"
    """Rate over the steps: linear, constant, cosine, exponential or one-cycle."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises."""
    decay: float = 0.0
    """Weight decay."""
    checks: int = 10
    """How often the state is scored on validation items, the best is kept; 0 keeps the last."""
    readout: str = "auto"
    """What is trained for: label-likelihood, answer, head; auto: as the start is read, or a head on encoders."""

    def plan(self, task: Task, model: Any = None) -> Cost:
        """Return three passes for each item of each step, and the scoring of validation items."""
        return course_cost(self, task, model, self.readout)

    def fit(self, run: Run) -> Learned:
        """Return what the encoder makes of the pseudo tokens, with the readout that it was trained for."""
        import torch

        from promptology.injection import Filling
        from promptology.training.initial import seeded, virtual_tokens
        from promptology.training.inside import train_inside
        from promptology.training.loop import Group
        from promptology.training.objectives import objective
        from promptology.training.reparameterising import prompt_encoder

        body = run.model().frozen()
        goal = objective(run, body, self.readout, room=self.length)
        e = virtual_tokens(run, body, self.length, self.init, self.text)
        with seeded(run, "prompt encoder"):
            encoder = prompt_encoder(self.encoder, body.dimension, self.hidden or body.dimension).to(body.device)
        with torch.no_grad():
            scale = body.norm / float(encoder(e).norm(dim=1).mean())

        def fillings() -> list[Filling]:
            return [Filling(goal.site, scale * encoder(e))]

        named = {"e": e, **dict(encoder.named_parameters())}
        groups = [Group("prompt", named, self.rate, self.decay), *goal.groups(self.head_rate)]
        return train_inside(run, goal, self, groups, fillings, "p-tuning")
