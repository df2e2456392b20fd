"""What prompts of two towers are trained for: images among class names, by the cross-entropy of their logits.

Frozen work is done once, before the first step: views of images are decoded once, and where no part of the image tower
learns their vectors are asked for once, as predictions ask for them, so that they are kept and shared with other runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from promptology.data.views import Drawn
from promptology.errors import UsageError
from promptology.injection.towers import TextRows
from promptology.models.local.wording import split_phrase, unmarked
from promptology.predict.images import images_of
from promptology.predict.vectors import label_values
from promptology.prompts.learned import Learned, Part, Readout
from promptology.prompts.render import fill
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.training.batches import Batches
from promptology.training.loop import PASSES, Group, train
from promptology.training.objectives import labelled_items, score_of
from promptology.training.schedules import CosineEpochs

DEVIATION = 0.02
"""Of vectors that start at random (code of arXiv:2109.01134)."""
FIRST = 1e-5
"""Rate of the first epoch (code of arXiv:2109.01134)."""


class Course(Protocol):
    """How methods name the settings of their training.

    `views`: random views of an image that stand for it, drawn once; 0: the model's own. `checks`: how often the state
    is scored on validation items, 0: the last one is kept.
    """

    @property
    def rate(self) -> float:
        """Rate of all that is learned."""
        ...

    @property
    def epochs(self) -> float:
        """Passes over the training images."""
        ...

    @property
    def batch(self) -> int:
        """Images per step."""
        ...

    @property
    def views(self) -> int:
        """Random views of an image."""
        ...

    @property
    def optimizer(self) -> str:
        """The optimiser: sgd or adamw."""
        ...

    @property
    def decay(self) -> float:
        """Weight decay."""
        ...

    @property
    def checks(self) -> int:
        """How often the state is scored."""
        ...


class ImageClasses:
    """Training images and their classes, as the towers take them.

    `wording`: what stands for a class, with {label} or {description} in it and {context} where learned vectors stand.
    `length`: how many of these there are.
    """

    def __init__(self, run: Run, wording: str, length: int, views: int = 0) -> None:
        self.run, self.wording, self.length = run, wording, length
        self.signature, self.items = run.task.signature, labelled_items(run)
        if self.signature.output != "class":
            raise UsageError(f"images are told apart by one class each; the output here is {self.signature.output}")
        if views < 0:
            raise UsageError(f"views is {views}; 0 (the model's own view) or a number of random ones is due")
        self.towers = run.model().towers()
        self.scale, self.bias = self.towers.scale, self.towers.bias
        names = self.signature.class_names
        self.views = max(1, views)
        gold = [names.index(i.target) for i in self.items for _ in range(self.views)]
        self.gold = torch.tensor(gold, device=self.towers.device)
        shown = images_of(self.items, self.signature)
        seed = int(run.rng("views").integers(2**31)) if views else 0
        self.shown = [
            one._replace(image=Drawn(one.image, seed=seed, n=n)) if views else one  # type: ignore[arg-type]
            for one in shown
            for n in range(self.views)
        ]

    @cached_property
    def rows(self) -> TextRows:
        """The wordings of all classes as tokens with slots."""
        values = [{k: unmarked(v) for k, v in label_values(c).items()} for c in self.signature.classes]
        found = self.towers.worded([fill(self.wording, value) for value in values], self.length)
        for label, one in zip(self.signature.classes, found, strict=True):
            if one.cut:
                raise UsageError(
                    f"class {label.name[:60]!r}: its wording has {len(one.ids) + one.cut} tokens and "
                    f"{self.towers.name} reads {self.towers.positions}; give the class a shorter name"
                )
        return TextRows([one.ids for one in found], [one.slots for one in found])

    @cached_property
    def features(self) -> Tensor:
        """Unit vectors of all views under the frozen tower, float32 (views, d): asked for once, and charged."""
        return torch.from_numpy(self.run.model().embed(self.shown)).to(self.towers.device)

    @cached_property
    def texts(self) -> Tensor:
        """Unit vectors of the wordings under the frozen tower, float32 (classes, d): asked for once, and charged."""
        values = [label_values(c) for c in self.signature.classes]
        found = self.run.model().embed([fill(self.wording, value) for value in values])
        return torch.from_numpy(found).to(self.towers.device)

    @cached_property
    def _bytes(self) -> Any:
        whole = self.towers.preprocess.whole
        return np.stack([whole(one.image) for one in self.shown])

    def pixels(self, batch: Sequence[int]) -> Tensor:
        """Return the views of a batch as the image tower takes them; each was decoded once."""
        return torch.from_numpy(self.towers.preprocess.normalised(self._bytes[list(batch)])).to(self.towers.device)

    def loss(self, images: Tensor, texts: Tensor, batch: Sequence[int]) -> Tensor:
        """Return the mean cross-entropy of unit vectors: images (n, d), texts (classes, d) or (n, classes, d)."""
        cosines = images @ texts.T if texts.dim() == 2 else torch.einsum("bd,bcd->bc", images, texts)
        return cross_entropy(self.scale * cosines + self.bias, self.gold[list(batch)])

    def learned(self, *parts: Part, method: str, own: bool = False) -> Learned:
        """Return the parts with the readout by this wording; `own`: each class has a context of its own."""
        options: dict[str, Any] = {"templates": [self.wording]}
        options |= {"classes": list(self.signature.class_names)} if own else {}
        return Learned((*parts, Readout("class-features", options)), self.signature, {"model": "two-tower"}, method)


def train_classes(
    goal: ImageClasses,
    course: Course,
    groups: Sequence[Group],
    loss: Callable[[list[int]], Tensor],
    make: Callable[[], Learned],
    passes: Callable[[int], int],
) -> Learned:
    """Train groups of parameters on the views of images, and return what `make()` gives at the end.

    Epochs at one rate each, the first at 1e-5, then down a cosine (code of arXiv:2109.01134). `passes(n)`: forward
    passes of a step on n views, texts included.
    """
    size = min(course.batch, len(goal.shown))
    if size < 1 or course.epochs < 0 or course.checks < 0:
        raise UsageError(f"batch is {course.batch}, epochs {course.epochs}, checks {course.checks}; this cannot be")
    per_epoch, steps = _sizes(course, len(goal.shown), len(goal.items))
    if not steps:
        return make()
    validation = [i for i in goal.run.task.validation if i.labelled] if course.checks else []
    first = FIRST / course.rate if course.rate else 1.0
    train(
        goal.run,
        loss,
        Batches(list(range(len(goal.shown))), size, goal.run.rng("batches")),
        groups,
        steps=steps,
        schedule=CosineEpochs(per_epoch, max(course.epochs, 1.0), first),
        clip=0.0,
        optimizer=course.optimizer,
        evaluate=(lambda: score_of(goal.run, make(), validation)) if validation else None,
        every=-(-steps // course.checks) if course.checks else 0,
        cost=lambda batch: Cost(passes=PASSES * passes(len(batch))),
    )
    return make()


def _sizes(course: Course, shown: int, items: int) -> tuple[int, int]:
    """Return the steps of one epoch over the images, and of the whole training."""
    size = min(course.batch, shown)
    per_epoch = max(1, items // size)
    return per_epoch, round(course.epochs * per_epoch)


def course_passes(course: Course, task: Any, passes: Callable[[int], int], scored: int) -> int:
    """Return the passes that a training will take; `scored`: those of one scoring on validation items."""
    items = sum(i.labelled for i in task.train)
    if not items:
        return 0
    shown = items * max(1, course.views)
    _, steps = _sizes(course, shown, items)
    return PASSES * steps * passes(min(course.batch, shown)) + min(course.checks, steps) * scored


def start_context(run: Run, towers: Any, length: int, phrase: str, *rows: int) -> tuple[Parameter, str]:
    """Return context (length, d), or (*rows, length, d), and the words of the phrase that stand behind it.

    It starts at the embeddings of the phrase's first `length` tokens. Where it has fewer, or they end inside a word,
    which is said aloud, and without a phrase it starts at random numbers of deviation 0.02.
    """
    if length < 1:
        raise UsageError(f"a context of {length} vectors has nothing to learn; take 1 or more")

    def tokens(text: str) -> list[int]:
        return list(towers.tokenizer(text, add_special_tokens=False)["input_ids"])

    split = split_phrase(lambda text: len(tokens(text)), phrase, length) if phrase else None
    if split is None:
        if phrase:
            run.log("context", note=f"no words of the phrase {phrase!r} make {length} tokens: it starts at random")
        return normal(run, "context", towers, *rows, length, towers.text_width), ""
    values = towers.embeddings[tokens(split[0])].float().clone()
    return Parameter(values.expand(*rows, -1, -1).contiguous().clone()), split[1]


def normal(run: Run, name: str, towers: Any, *shape: int) -> Parameter:
    """Return random numbers of deviation 0.02, float32, on the device of the towers."""
    drawn = run.rng(name).normal(0.0, DEVIATION, shape)
    return Parameter(torch.tensor(drawn, dtype=torch.float32, device=towers.device))
