"""CoCoOp: a context of class names that a small network moves by the image.

Kaiyang Zhou, Jingkang Yang, Chen Change Loy, Ziwei Liu, "Conditional Prompt Learning for Vision-Language Models", CVPR
2022, arXiv:2203.05557.

    v_1 .. v_M <- embeddings of a phrase, or N(0, 0.02^2)
    h <- Linear(d, d / 16), ReLU, Linear(d / 16, width of texts)
    for each step:
        x, y <- a batch of training images and their classes
        v_m(x) <- v_m + h(f(x))                            (the same for every m; f(x): unit vector, frozen)
        t_c(x) <- [v_1(x)] .. [v_M(x)] [name of c] .       (texts anew for every image)
        v, h <- SGD with momentum 0.9 down the cross-entropy of  scale <f(x), g(t_c(x))>  over c

The texts of all images of a batch are read at once: what stands before the names is read once for each image. What
differs: images are seen by the model's own view, or by some random crops that are drawn once, so that f(x) is computed
once (`fresh` crops anew in every epoch, as the code does); all that learns is float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from promptology.data.task import Task
from promptology.methods.registry import method
from promptology.models.access import TwoTower
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run

SQUEEZE = 16


@method("cocoop", family="vision", learns="tensors, module", paper="arXiv:2203.05557", needs={"model": TwoTower})
@dataclass(frozen=True)
class CoCoOp:
    """Learn a context of class names, and a network that moves it by the image."""

    length: int = 4
    """M: vectors of context (code)."""
    phrase: str = "a photo of a"
    """Words that the context starts from, where it has no more vectors than they tokens; empty: at random."""
    rate: float = 0.002
    """Rate of context and network (code)."""
    epochs: float = 10.0
    """Passes over the training images (code)."""
    batch: int = 1
    """Images per step (code)."""
    constant: bool = False
    """Whether the network sees one constant input, the mean of the training images: what their own say is left out."""
    views: int = 0
    """Random crops of an image that stand for it, one an epoch in turn, drawn once; 0: the model's own view."""
    fresh: bool = False
    """Whether every epoch crops anew (code): then no vector of an image can be kept."""
    flip: float = 0.5
    """Share of random crops that is mirrored (code); 0 where left and right mean something."""
    optimizer: str = "sgd"
    """How it learns: sgd (the paper's) or adamw."""
    decay: float = 5e-4
    """Weight decay (code)."""
    checks: int = 0
    """How often the state is scored on validation items, the best is kept; 0 keeps the last (the paper's)."""

    def plan(self, task: Task) -> Cost:
        """Return a pass for each view, three for each class and image of a step, and the scoring of validation items."""
        from promptology.training.image_classes import course_passes

        classes = len(task.signature.classes)
        held_out = sum(i.labelled for i in task.validation)
        scored = classes if self.constant else held_out * (1 + classes)
        steps = course_passes(self, task, lambda n: classes * (1 if self.constant else n), scored)
        once = held_out if self.constant and self.checks else 0
        return Cost(passes=steps + once)

    def fit(self, run: Run) -> Learned:
        """Return context and network; with a constant input, the context that they give."""
        import torch
        from torch.nn.functional import normalize

        from promptology.injection.modules import MetaNet
        from promptology.injection.towers import Prompts
        from promptology.prompts.sites import SiteModule, SiteTensors
        from promptology.training.image_classes import ImageClasses, start_context, train_classes
        from promptology.training.initial import array
        from promptology.training.loop import Group

        towers, site = run.model().towers(), "text.context[0]"
        v, behind = start_context(run, towers, self.length, self.phrase)
        goal = ImageClasses(run, f"{{context}} {behind} {{label}}.".replace("  ", " "), self.length, self)
        mean = normalize(goal.features.mean(dim=0, keepdim=True), dim=-1) if self.constant else None
        d, r = towers.dimension, max(1, towers.dimension // SQUEEZE)
        rng = run.rng("network")
        shapes = ((r, d), (r,), (towers.text_width, r), (towers.text_width,))
        drawn = [rng.uniform(-1, 1, s) / sqrt(n) for s, n in zip(shapes, (d, d, r, r), strict=True)]
        h = MetaNet(*(torch.tensor(one, dtype=torch.float32) for one in drawn)).to(towers.device)

        def loss(batch: list[int]):  # type: ignore[no-untyped-def]
            f = goal.seen(batch)
            g = goal.towers.texts(goal.rows, Prompts(context=h(v, f if mean is None else mean)))
            return goal.loss(f, g if mean is None else g[0], batch)

        def learned() -> Learned:
            if mean is not None:
                with torch.no_grad():
                    return goal.learned(SiteTensors(site, array(h(v, mean)[0, 0])), method="cocoop")
            arrays = {name: array(one) for name, one in h.named_parameters()}
            return goal.learned(SiteTensors(site, array(v)), SiteModule(site, "meta-net", {}, arrays), method="cocoop")

        named = {"v": v, **{f"h.{name}": one for name, one in h.named_parameters()}}
        groups = [Group("context and network", named, self.rate, self.decay)]
        classes = len(goal.signature.classes)
        return train_classes(goal, self, groups, loss, learned, lambda n: classes * (1 if self.constant else n))
