"""Full tuning: every weight of the model is trained; the reference arm that changes most.

The usual fine-tuning of a pre-trained model (Devlin et al., "BERT", NAACL 2019, arXiv:1810.04805, section 3.2 and
appendix A.3; its settings are the defaults here where a text can be afforded as often).

    theta <- a copy of the model's weights, float32
    for each step:
        theta <- AdamW on  -log p_theta(answer | prompt)    (an encoder: on the loss of a linear head on its pooled state)
    keep the theta that is best on validation items

The model itself stays as it is: the copy stands in the place of its weights while it is used. What is saved are those
weights that moved, whole, so a saved prompt is as large as the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import Trainable
from promptology.prompts.learned import Learned
from promptology.prompts.sites import Weights
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.planning import course_cost

BYTES = 4
MEGA = 1_000_000


@method("full-tuning", family="weights", learns="weights", paper="arXiv:1810.04805", needs={"model": Trainable})
@dataclass(frozen=True)
class FullTuning:
    """Train all weights of a model."""

    rate: float = 5e-5
    """Rate of the weights; the paper's are 2e-5 to 5e-5 (appendix A.3)."""
    head_rate: float = 0.001
    """Rate of the head, where there is one."""
    steps: int = 300
    """Steps of gradient; the paper's are 2 to 4 epochs (appendix A.3)."""
    batch: int = 16
    """Items per step (appendix A.3)."""
    schedule: str = "linear"
    """Rate over the steps: linear (section A.2), constant, cosine, exponential or one-cycle."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises."""
    decay: float = 0.01
    """Weight decay (appendix A.2)."""
    checks: int = 4
    """How often the state is scored on validation items; the best is kept. 0: the last one is. Each takes a copy of all
    weights."""
    most_megabytes: int = 1000
    """Largest size of what is saved, in megabytes; a model above it is refused."""
    readout: str = "auto"
    """What is trained for: label-likelihood, answer, head; auto: as the start is read, or a head on encoders."""

    def plan(self, task: Task, model: Any = None) -> Cost:
        """Return three passes for each item of each step, and the scoring of validation items."""
        return course_cost(self, task, model, self.readout)

    def fit(self, run: Run) -> Learned:
        """Return the weights that moved, with the readout that they were trained for."""
        import torch

        from promptology.injection import Filling
        from promptology.training.initial import array
        from promptology.training.inside import train_inside
        from promptology.training.loop import Group
        from promptology.training.objectives import objective

        body, names = run.model().frozen(), run.model().movable()
        base = {name: p for name, p in body.model.named_parameters() if name in set(names)}
        numbers = sum(p.numel() for p in base.values())
        size = numbers * BYTES / MEGA
        if size > self.most_megabytes:
            raise UsageError(
                f"full-tuning would save {size:,.0f} MB of weights of {body.name}, more than most_megabytes="
                f"{self.most_megabytes}; raise it, or take lora"
            )
        run.log("full-tuning", weights=len(base), parameters=numbers, megabytes=round(size, 1))
        goal = objective(run, body, self.readout)
        theta = {name: torch.nn.Parameter(p.detach().float().clone()) for name, p in base.items()}
        inside = [Filling(f"weight:{name}", p) for name, p in theta.items()]

        def parts() -> list[Weights]:
            # A weight that no gradient reaches, such as of a pooler that is not read, need not be kept.
            moved = [name for name, p in theta.items() if not torch.equal(p, base[name].float())] or list(theta)[:1]
            return [Weights("full", {}, {name: array(theta[name]) for name in moved})]

        groups = [Group("weights", theta, self.rate, self.decay), *goal.groups(self.head_rate)]
        found = train_inside(run, goal, self, groups, lambda: inside, "full-tuning", parts)
        return replace(found, roles={**found.roles, "model": "trainable"})
