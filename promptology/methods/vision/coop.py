"""CoOp: the words around a class name become vectors that are learned from a few images of each class.

Kaiyang Zhou, Jingkang Yang, Chen Change Loy, Ziwei Liu, "Learning to Prompt for Vision-Language Models", IJCV 2022,
arXiv:2109.01134.

    v_1 .. v_M <- embeddings of a phrase, or N(0, 0.02^2)       (one context for all classes, or one for each)
    t_c <- [v_1] .. [v_M] [name of c] .                         (the name at the end, in the middle or in front)
    for each step:
        x, y <- a batch of training images and their classes
        loss <- cross-entropy of  scale <f(x), g(t_c)>  over c,  f, g: unit vectors of the frozen towers
        v    <- SGD with momentum 0.9

What differs: images are seen by the model's own view, or by some random crops that are drawn once, so that f(x) is
computed once; the code crops anew in every epoch, which `fresh` does. Prompts are float32, where the code's are float16.
A context that is as long as the phrase starts from it (the code's setting for new classes), a longer one at random (the
paper's, M = 16). As in the code, an epoch leaves out the images that fill no batch, and the decay acts on the context.
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

PLACES = {
    "end": "{{context}} {behind}{{label}}.",
    "middle": "{{context:{before}}} {behind}{{label}} {{context}}.",
    "front": "{{label}} {{context}}.",
}


@method("coop", family="vision", learns="tensors", paper="arXiv:2109.01134", needs={"model": TwoTower})
@dataclass(frozen=True)
class CoOp:
    """Learn the context of class names in the text tower of a CLIP."""

    length: int = 4
    """M: vectors of context; the paper's are 16, and 4 where classes are new."""
    phrase: str = "a photo of a"
    """Words that a context starts from, where it has no more vectors than they tokens; empty: at random."""
    position: str = "end"
    """Where the class name stands: end, middle or front of the context."""
    own: bool = False
    """Whether each class has a context of its own, which serves no other class."""
    rate: float = 0.002
    """Rate of the context (code)."""
    epochs: float = 50.0
    """Passes over the training images; the paper's are 50 (1 shot), 100 (2 and 4) and 200 (8 and 16)."""
    batch: int = 32
    """Images per step (code)."""
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
        """Return a pass for each view, three for each class of each step, and the scoring of validation items."""
        from promptology.training.image_classes import course_passes

        classes, held_out = len(task.signature.classes), sum(i.labelled for i in task.validation)
        return Cost(passes=course_passes(self, task, lambda n: classes, classes) + held_out * bool(self.checks))

    def fit(self, run: Run) -> Learned:
        """Return the context."""
        from promptology.injection.towers import Prompts
        from promptology.prompts.sites import SiteTensors
        from promptology.training.image_classes import ImageClasses, start_context, train_classes
        from promptology.training.initial import array
        from promptology.training.loop import Group

        names = run.task.signature.class_names
        v, behind = start_context(
            run, run.model().towers(), self.length, self.phrase, *([len(names)] if self.own else [])
        )
        goal = ImageClasses(run, self.wording(behind), self.length, self)

        def loss(batch: list[int]):  # type: ignore[no-untyped-def]
            g = goal.towers.texts(goal.rows, Prompts(context=v))
            return goal.loss(goal.seen(batch), g, batch)

        def learned() -> Learned:
            return goal.learned(SiteTensors("text.context[0]", array(v)), method="coop", own=self.own)

        groups = [Group("context", {"v": v}, self.rate, self.decay)]
        return train_classes(goal, self, groups, loss, learned, lambda n: len(names))

    def wording(self, behind: str = "") -> str:
        """Return the wording of a class; `behind`: words of the phrase that stay behind the context."""
        if self.position not in PLACES:
            raise UsageError(f"position {self.position!r} is unknown; there are {', '.join(PLACES)}")
        behind = f"{behind} " if behind else ""
        if self.position == "middle" and self.length < 2:
            raise UsageError("a context of 1 vector has no middle; take 2 or more")
        return PLACES[self.position].format(before=self.length // 2, behind=behind)
