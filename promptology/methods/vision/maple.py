"""MaPLe: prompts in both towers, at several depths; those of images are linear functions of those of texts.

Muhammad Uzair Khattak, Hanoona Rasheed, Muhammad Maaz, Salman Khan, Fahad Shahbaz Khan, "MaPLe: Multi-modal Prompt
Learning", CVPR 2023, arXiv:2210.03117 (settings marked "code": muzairkhattak/multimodal-prompt-learning).

    P_0 <- embeddings of the first b tokens of a phrase, or N(0, 0.02^2);  P_1 .. P_{J-1} <- N(0, 0.02^2)
    F_0 <- a linear map;  F_1 .. F_{J-1} <- copies of one other linear map         (uniform in +-1/sqrt(d))
    for each step:
        Q_k <- F_k(P_k)
        texts:   [P_0, rest of the phrase, name of c, .];  before layer k + 1 the first b states become P_k
        images:  [patches, Q_0], no position;              before layer k + 1 the last b states become Q_k
        P, F <- SGD with momentum 0.9 down the cross-entropy of  scale <f(x), g(t_c)>  over c

The maps are needed for learning alone: what is saved is P and Q, which give the same logits. What differs: images are
seen by the model's own view, by some random crops that are drawn once, or by new ones in every epoch (`fresh`, as in the
code); all that learns is float32. Q_0 passes the layer norm before the first layer, the others do not (code).
"""

from __future__ import annotations

from dataclasses import dataclass

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import TwoTower
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run


@method("maple", family="vision", learns="tensors", paper="arXiv:2210.03117", needs={"model": TwoTower})
@dataclass(frozen=True)
class MaPLe:
    """Learn prompts of texts, and linear maps that make prompts of images of them."""

    length: int = 2
    """b: vectors of a prompt in each tower (code)."""
    depth: int = 9
    """J: layers that have prompts of their own, from the first on; the paper's are 9, and 3 for other data sets."""
    copies: bool = True
    """Whether all maps but the first start as copies of one, and then learn apart (code)."""
    phrase: str = "a photo of a"
    """Words that the first prompt starts from; what is left of them stays behind it; empty: at random."""
    rate: float = 0.0035
    """Rate of prompts and maps (code)."""
    epochs: float = 5.0
    """Passes over the training images (code)."""
    batch: int = 4
    """Images per step (code)."""
    views: int = 0
    """Random crops of an image that stand for it, one an epoch in turn, drawn once; 0: the model's own view."""
    fresh: bool = False
    """Whether every epoch crops anew (code)."""
    flip: float = 0.5
    """Share of random crops that is mirrored (code); 0 where left and right mean something."""
    optimizer: str = "sgd"
    """How it learns: sgd (the paper's) or adamw."""
    decay: float = 5e-4
    """Weight decay (code)."""
    checks: int = 0
    """How often the state is scored on validation items, the best is kept; 0 keeps the last (the paper's)."""

    def plan(self, task: Task) -> Cost:
        """Return three passes for each class and image of each step, and the scoring of validation items."""
        from promptology.training.image_classes import course_passes

        classes, held_out = len(task.signature.classes), sum(i.labelled for i in task.validation)
        return Cost(passes=course_passes(self, task, lambda n: classes + n, classes + held_out, seen=False))

    def fit(self, run: Run) -> Learned:
        """Return the prompts of both towers, the maps folded away."""
        import torch

        from promptology.injection.towers import Prompts
        from promptology.training.deep_prompts import check_depth, deep_parts, linear_maps
        from promptology.training.image_classes import ImageClasses, normal, start_context, train_classes
        from promptology.training.loop import Group

        towers = run.model().towers()
        check_depth(towers, self.depth)
        P_0, behind = start_context(run, towers, self.length, self.phrase)
        deep = [normal(run, f"prompt {k}", towers, self.length, towers.text_width) for k in range(1, self.depth)]
        P = [P_0, *deep]
        F = linear_maps(run, towers, self.depth, copies=self.copies)
        goal = ImageClasses(run, f"{{context}} {behind} {{label}}.".replace("  ", " "), self.length, self)

        def prompts() -> Prompts:
            Q = [torch.nn.functional.linear(p, W, a) for p, (W, a) in zip(P, F, strict=True)]
            return Prompts(P[0], P[1:], Q[0], Q[1:])

        def loss(batch: list[int]):  # type: ignore[no-untyped-def]
            now = prompts()
            g, f = goal.towers.texts(goal.rows, now), goal.towers.images(goal.pixels(batch), now)
            return goal.loss(f, g, batch)

        def learned() -> Learned:
            with torch.no_grad():
                return goal.learned(*deep_parts(prompts()), method="maple")

        named = {f"P.{k}": p for k, p in enumerate(P)}
        named |= {f"F.{k}.{name}": one for k, pair in enumerate(F) for name, one in zip(("W", "a"), pair, strict=True)}
        groups = [Group("prompts and maps", named, self.rate, self.decay)]
        classes = len(goal.signature.classes)
        return train_classes(goal, self, groups, loss, learned, lambda n: classes + n, seen=False)
