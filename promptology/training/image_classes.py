"""What prompts of two towers are trained for: images among class names, by the cross-entropy of their logits.

Frozen work is done once, before the first step: views of images are decoded once, and where no part of the image tower
learns their vectors are asked for once, as predictions ask for them, so that they are kept and shared with other runs.
Only views that are drawn anew in every epoch go through the frozen tower as they come; their images are decoded once.
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

from promptology.data.images import in_threads
from promptology.data.views import Augment, Decoded, Drawn
from promptology.errors import UsageError
from promptology.injection.towers import TextRows
from promptology.models.access import Shown
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

    `views`: random views of an image that stand for it in turn, one an epoch, drawn once; 0: the model's own view.
    `fresh`: a new one is drawn for every epoch instead. `flip`: share of random views that is mirrored. `checks`: how
    often the state is scored on validation items, 0: the last one is kept.
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
    def fresh(self) -> bool:
        """Whether every epoch draws new views."""
        ...

    @property
    def flip(self) -> float:
        """Share of random views that is mirrored."""
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
    `length`: how many of these there are. `course`: how images are seen; without one by the model's own view. A batch
    names views by numbers: view n of image i is n * images + i.
    """

    def __init__(self, run: Run, wording: str, length: int, course: Course | None = None) -> None:
        self.run, self.wording, self.length = run, wording, length
        self.signature, self.items = run.task.signature, labelled_items(run)
        if self.signature.output != "class":
            raise UsageError(f"images are told apart by one class each; the output here is {self.signature.output}")
        self.views, self.fresh, flip = (course.views, course.fresh, course.flip) if course else (0, False, 0.0)
        _check_views(self.views, self.fresh, flip)
        self.towers = run.model().towers()
        self.scale, self.bias = self.towers.scale, self.towers.bias
        names = self.signature.class_names
        self.gold = torch.tensor([names.index(i.target) for i in self.items], device=self.towers.device)
        self._images = images_of(self.items, self.signature)
        self._decoded, self._augment = Decoded(), Augment(flip=flip)
        self._seed = int(run.rng("views").integers(2**31)) if self.views or self.fresh else 0

    def view(self, number: int) -> Shown:
        """Return a view by its number, as a model is asked for its vector."""
        n, i = divmod(number, len(self.items))
        one = self._images[i]
        if not (self.views or self.fresh):
            return one
        return one._replace(image=Drawn(one.image, self._augment, self._seed, n, self._decoded))  # type: ignore[arg-type]

    def numbers(self, images: Sequence[int], epoch: int) -> list[int]:
        """Return the numbers of the views of images that are due in an epoch."""
        n = epoch if self.fresh else epoch % max(1, self.views)
        return [n * len(self.items) + i for i in images]

    @property
    def _all(self) -> list[Shown]:
        return [self.view(number) for number in range(len(self.items) * max(1, self.views))]

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
        """Unit vectors of all views under the frozen tower, float32 (views, d): asked for once, and charged.

        Raises UsageError where views are fresh, and have no end.
        """
        if self.fresh:
            raise UsageError("fresh views have no vectors that stay")
        return torch.from_numpy(self.run.model().embed(self._all)).to(self.towers.device)

    def seen(self, batch: Sequence[int]) -> Tensor:
        """Return the unit vectors of the views of a batch under the frozen tower, float32 (n, d), without gradient."""
        if not self.fresh:
            return self.features[list(batch)]
        with torch.no_grad():
            found: Tensor = self.towers.images(self.pixels(batch))
            return found

    @cached_property
    def texts(self) -> Tensor:
        """Unit vectors of the wordings under the frozen tower, float32 (classes, d): asked for once, and charged."""
        values = [label_values(c) for c in self.signature.classes]
        found = self.run.model().embed([fill(self.wording, value) for value in values])
        return torch.from_numpy(found).to(self.towers.device)

    @cached_property
    def _bytes(self) -> Any:
        return np.stack(in_threads(self._whole, self._all))

    def _whole(self, one: Shown) -> Any:
        return self.towers.preprocess.whole(one.image)

    def pixels(self, batch: Sequence[int]) -> Tensor:
        """Return the views of a batch as the image tower takes them; each image was decoded once."""
        if self.fresh:
            drawn = np.stack(in_threads(self._whole, [self.view(number) for number in batch]))
        else:
            drawn = self._bytes[list(batch)]
        return torch.from_numpy(self.towers.preprocess.normalised(drawn)).to(self.towers.device)

    def loss(self, images: Tensor, texts: Tensor, batch: Sequence[int]) -> Tensor:
        """Return the mean cross-entropy of unit vectors: images (n, d), texts (classes, d) or (n, classes, d)."""
        cosines = images @ texts.T if texts.dim() == 2 else torch.einsum("bd,bcd->bc", images, texts)
        gold = self.gold[[number % len(self.items) for number in batch]]
        return cross_entropy(self.scale * cosines + self.bias, gold)

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
    *,
    seen: bool = True,
) -> Learned:
    """Train groups of parameters on the views of images, and return what `make()` gives at the end.

    Epochs at one rate each, the first at 1e-5, then down a cosine; an epoch leaves out the images that fill no batch
    (code of arXiv:2109.01134). `passes(n)`: forward passes of a step on n views that have gradients, texts included;
    `seen`: whether views are read of the frozen image tower, see `ImageClasses.seen`.
    """
    if course.batch < 1 or course.epochs < 0 or course.checks < 0:
        raise UsageError(f"batch is {course.batch}, epochs {course.epochs}, checks {course.checks}; this cannot be")
    size, per_epoch, steps = _sizes(course, len(goal.items))
    if not steps:
        return make()
    if steps <= per_epoch and course.rate > FIRST:
        goal.run.warn(f"epochs is {course.epochs:g}: all steps are of the first epoch, at its rate of {FIRST:g}")
    if seen and not course.fresh:
        goal.seen([0])  # before the first step, so that its cost is known
    validation = [i for i in goal.run.task.validation if i.labelled] if course.checks else []
    first = FIRST / course.rate if course.rate else 1.0
    batches = Batches(range(len(goal.items)), size, goal.run.rng("batches"), drop_last=True)
    anew = size * (seen and course.fresh)
    train(
        goal.run,
        loss,
        lambda k: goal.numbers(batches(k), k // per_epoch),
        groups,
        steps=steps,
        schedule=CosineEpochs(per_epoch, max(course.epochs, 1.0), first),
        clip=0.0,
        optimizer=course.optimizer,
        evaluate=(lambda: score_of(goal.run, make(), validation)) if validation else None,
        every=-(-steps // course.checks) if course.checks else 0,
        cost=lambda batch: Cost(passes=PASSES * passes(len(batch)) + anew),
    )
    return make()


def _sizes(course: Course, items: int) -> tuple[int, int, int]:
    """Return the images of a batch, the steps of one epoch over the images, and those of the whole training."""
    size = min(course.batch, items)
    per_epoch = items // size
    return size, per_epoch, round(course.epochs * per_epoch)


def course_passes(course: Course, task: Any, passes: Callable[[int], int], scored: int, *, seen: bool = True) -> int:
    """Return the passes that a training will take, those of the views that it reads included, see `train_classes`.

    `scored`: those of one scoring on validation items.
    """
    items = sum(i.labelled for i in task.train)
    if not items or course.batch < 1:
        return 0
    size, _, steps = _sizes(course, items)
    views = (size * steps if course.fresh else items * max(1, course.views) * bool(steps)) if seen else 0
    return PASSES * steps * passes(size) + min(course.checks, steps) * scored + views


def _check_views(views: int, fresh: bool, flip: float) -> None:
    if views < 0:
        raise UsageError(f"views is {views}; 0 (the model's own view) or a number of random ones is due")
    if views and fresh:
        raise UsageError(f"views is {views}, and fresh draws a new one for every epoch; leave one of them out")
    if not 0 <= flip <= 1:
        raise UsageError(f"flip is {flip}; the share of random views that is mirrored lies between 0 and 1")


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
