"""LoRA: low-rank additions to weights that stay as they are; the reference arm of methods that change less.

Edward J. Hu, Yelong Shen, Phillip Wallis, Zeyuan Allen-Zhu, Yuanzhi Li, Shean Wang, Lu Wang, Weizhu Chen, "LoRA: Low-Rank
Adaptation of Large Language Models", ICLR 2022, arXiv:2106.09685.

    A <- uniform in +-1/sqrt(inputs), r x inputs;  B <- 0, outputs x r             (section 4.1; A as in its code)
    each chosen linear layer:  h = W x + alpha / r * B A x                         (equation 3)
    for each step:
        A, B <- AdamW on  -log p(answer | prompt)    (an encoder: on the loss of a linear head on its pooled state)
    keep the state that is best on validation items

What differs: no dropout, and nothing is merged into the weights, so that the model is untouched afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Differentiable
from promptology.prompts.learned import Learned
from promptology.prompts.sites import Weights
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.planning import course_cost


@method("lora", family="weights", learns="weights", paper="arXiv:2106.09685", needs={"model": Differentiable})
@dataclass(frozen=True)
class LoRA:
    """Learn low-rank additions to a model's linear layers."""

    rank: int = 8
    """r (section 4.1); the paper's are 1 to 64 (table 6)."""
    alpha: float = 16.0
    """alpha (section 4.1): additions are scaled by alpha / r."""
    targets: str = "query,value"
    """Layers that get one, by commas: query, key, value, out, ends of paths, or all (of every block). The paper takes
    query and value (section 5.1); where one layer makes both, as in GPT-2, it gets one."""
    rate: float = 0.003
    """Rate of A and B; the paper's are 0.0002 to 0.0005 for large models (appendix D)."""
    head_rate: float = 0.001
    """Rate of the head, where there is one."""
    steps: int = 300
    """Steps of gradient."""
    batch: int = 16
    """Items per step (appendix D: 4 to 128)."""
    schedule: str = "linear"
    """Rate over the steps: linear (appendix D), constant, cosine, exponential or one-cycle."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises (appendix D)."""
    decay: float = 0.01
    """Weight decay (appendix D)."""
    checks: int = 10
    """How often the state is scored on validation items; the best is kept. 0: the last one is."""
    readout: str = "auto"
    """What is trained for: label-likelihood, answer, head; auto: as the start is read, or a head on encoders."""

    def plan(self, task: Task, model: Any = None) -> Cost:
        """Return three passes for each item of each step, and the scoring of validation items."""
        return course_cost(self, task, model, self.readout)

    def fit(self, run: Run) -> Learned:
        """Return the additions with the readout that they were trained for."""
        import torch

        from promptology.injection import Filling
        from promptology.injection.modules import Lora
        from promptology.training.initial import array
        from promptology.training.inside import train_inside
        from promptology.training.layers import linears
        from promptology.training.loop import Group
        from promptology.training.objectives import objective

        if self.rank < 1:
            raise UsageError(f"a low-rank addition of rank {self.rank} has nothing to learn; take a rank of 1 or more")
        body = run.model().frozen()
        goal = objective(run, body, self.readout)
        layers = linears(body, [t.strip() for t in self.targets.split(",") if t.strip()])
        rng, added = run.rng("lora"), dict[str, Lora]()
        for layer in layers:
            A = rng.uniform(-1.0, 1.0, (self.rank, layer.inputs)) / layer.inputs**0.5
            B = torch.zeros((layer.outputs, self.rank))
            added[layer.path] = Lora(torch.tensor(A, dtype=torch.float32), B, self.alpha / self.rank).to(body.device)
        trained = {f"{path}.{half}": getattr(m, half) for path, m in added.items() for half in "AB"}
        inside = [Filling(f"linear:{path}", m) for path, m in added.items()]
        run.log("lora", layers=len(layers), parameters=sum(p.numel() for p in trained.values()))

        options = {"rank": self.rank, "alpha": self.alpha, "fan_in_fan_out": any(x.transposed for x in layers)}

        def parts() -> list[Weights]:
            return [Weights("lora", options, {name: array(value) for name, value in trained.items()})]

        groups = [Group("lora", trained, self.rate, self.decay), *goal.groups(self.head_rate)]
        return train_inside(run, goal, self, groups, lambda: inside, "lora", parts)
