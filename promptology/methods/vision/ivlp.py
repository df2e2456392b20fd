"""IVLP: independent prompts in both towers, at several depths; the ablation that MaPLe is measured against.

Muhammad Uzair Khattak, Hanoona Rasheed, Muhammad Maaz, Salman Khan, Fahad Shahbaz Khan, "MaPLe: Multi-modal Prompt
Learning", CVPR 2023, arXiv:2210.03117 (section 4.1, "independent V-L prompting"; settings from the authors' code).

    P_0 <- embeddings of the first b tokens of a phrase, or N(0, 0.02^2);  P_1 .. P_{J-1} <- N(0, 0.02^2)
    Q_0 .. Q_{J-1} <- N(0, 0.02^2)
    for each step:
        texts:   [P_0, rest of the phrase, name of c, .];  before layer k + 1 the first b states become P_k
        images:  [patches, Q_0], no position;              before layer k + 1 the last n states become Q_k
        P, Q <- SGD with momentum 0.9 down the cross-entropy of  scale <f(x), g(t_c)>  over c

With a length of 0 a tower has no prompts: b = 0 is deep visual prompt tuning (VPT, arXiv:2203.12119, with a fixed
wording), n = 0 deep language prompting. A tower without prompts is run once. What differs: images are seen by the
model's own view, by some random crops that are drawn once, or by new ones in every epoch (`fresh`, as in the code); all
that learns is float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.methods.registry import method
from promptology.models.access import TwoTower
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run


@method("ivlp", family="vision", learns="tensors", paper="arXiv:2210.03117", needs={"model": TwoTower})
@dataclass(frozen=True)
class IVLP:
    """Learn prompts of texts and prompts of images, apart from each other."""

    length: int = 2
    """b: vectors of a prompt of texts (code); 0: none."""
    image_length: int = 2
    """n: vectors of a prompt of images (code); 0: none."""
    depth: int = 12
    """J: layers that have prompts of their own, from the first on (code)."""
    phrase: str = "a photo of a"
    """Words that the first prompt of texts starts from; what is left of them stays behind it; empty: at random."""
    rate: float = 0.0035
    """Rate of the prompts (code)."""
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
        """Return three passes for each class and image of each step, or one where a tower learns nothing."""
        from promptology.training.image_classes import course_passes

        classes, texts, shown = len(task.signature.classes), bool(self.length), bool(self.image_length)
        held_out = sum(i.labelled for i in task.validation)
        # A tower that learns nothing is asked once, also by the scoring of validation items.
        scored = classes * texts + held_out * shown
        steps = course_passes(self, task, lambda n: classes * texts + n * shown, scored, seen=not shown)
        once = classes * (not texts) + held_out * (not shown) * bool(self.checks)
        return Cost(passes=steps + once * bool(steps))

    def fit(self, run: Run) -> Learned:
        """Return the prompts of both towers."""
        import torch

        from promptology.injection.towers import Prompts
        from promptology.training.deep_prompts import check_depth, deep_parts
        from promptology.training.image_classes import ImageClasses, normal, start_context, train_classes
        from promptology.training.loop import Group

        towers, b, n = run.model().towers(), self.length, self.image_length
        if b < 0 or n < 0 or not b + n:
            raise UsageError(f"length is {b}, image_length {n}; one of them must be 1 or more")
        check_depth(towers, self.depth)
        P, wording = [], f"{self.phrase or 'a photo of a'} {{label}}."
        if b:
            first, behind = start_context(run, towers, b, self.phrase)
            wording = f"{{context}} {behind} {{label}}.".replace("  ", " ")
            P = [first, *(normal(run, f"prompt {k}", towers, b, towers.text_width) for k in range(1, self.depth))]
        Q = [normal(run, f"image prompt {k}", towers, n, towers.image_width) for k in range(self.depth if n else 0)]
        prompts = Prompts(P[0] if P else None, P[1:], Q[0] if Q else None, Q[1:])
        goal = ImageClasses(run, wording, b, self)
        frozen_texts = None if b else goal.texts

        def loss(batch: list[int]):  # type: ignore[no-untyped-def]
            g = goal.towers.texts(goal.rows, prompts) if frozen_texts is None else frozen_texts
            f = goal.towers.images(goal.pixels(batch), prompts) if n else goal.seen(batch)
            return goal.loss(f, g, batch)

        def learned() -> Learned:
            with torch.no_grad():
                return goal.learned(*deep_parts(prompts), method="ivlp")

        named = {f"{name}.{k}": one for name, own in (("P", P), ("Q", Q)) for k, one in enumerate(own)}
        classes = len(goal.signature.classes)

        def passes(images: int) -> int:
            return classes * bool(b) + images * bool(n)

        groups = [Group("prompts", named, self.rate, self.decay)]
        return train_classes(goal, self, groups, loss, learned, passes, seen=not n)
