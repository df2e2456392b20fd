"""What claims about prompts of CLIP-like models have in common: the words at the head of their file of entries.

A class is a pair (colour, shape) of those that `toy-clip` knows; base and new classes of a seed share no word. Pictures
are backlit, Toyland's shift of that name, up to the level at which the zero-shot accuracy of "a photo of a {}." is
nearest to what the regime asks for. Each trained arm takes the learning rate that does best on base validation. The
level and the rates stand beside what an arm reaches.

What the head leaves open: the pixels of a backlit picture are rounded to bytes, as those of all pictures are; the level
is the mean of eight accuracies, base and new of four seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from promptology.claims.fixtures import learned_by, zoo_model
from promptology.claims.measuring import Bench
from promptology.data.items import Item
from promptology.data.task import Task
from promptology.data.toyland import as_task
from promptology.predict import bind
from promptology.prompts.learned import Learned
from promptology.run.engine import Run
from promptology.zoo.toyland.drawing import Images
from promptology.zoo.toyland.kinds import Kind, drawn, labels, scenes
from promptology.zoo.toyland.tasks import base_to_novel, split_kinds

MODEL = "toy-clip"
TEMPLATE = "a photo of a {}."
SHIFT = "backlit"
LEVELS = tuple(n / 20 for n in range(21))
SGD = (0.002, 0.01, 0.05)
"""The grid of learning rates for stochastic gradient descent."""
TUNED_ON = (0, 1)
"""Seeds whose base validation images choose the rate of an arm."""
CALIBRATED_ON, CALIBRATION = (0, 1, 2, 3), 16
"""Seeds, and images a class of each, that choose the level of light; no claim uses these images."""
DEEP: Mapping[str, Any] = {"length": 2, "depth": 3}
"""Prompts in both towers: two tokens in each, in three layers."""


class Regime(NamedTuple):
    """How much there is to learn from: classes, images a class, training, and how hard zero-shot finds it."""

    halves: str
    target: float
    shots: int
    validation: int
    test: tuple[int, int]
    batch: int
    epochs: float

    @property
    def course(self) -> dict[str, Any]:
        """The settings of an arm's training that all arms share."""
        return {"batch": self.batch, "epochs": self.epochs}


NARROW = Regime("narrow", 0.85, 4, 16, (48, 40), 8, 40.0)
"""Few images and long training, where tuning forgets: 8 base classes, 160 steps."""
WIDE = Regime("disjoint", 0.75, 16, 16, (32, 32), 8, 5.0)
"""Something to adapt to: 16 base classes, 160 steps."""


class Tasks(NamedTuple):
    """The tasks of a seed: base classes to learn and test, and new ones to test; each among its own names."""

    base: Task
    new: Task


@lru_cache(maxsize=4)
def tasks_of(regime: Regime, seed: int, level: float) -> Tasks:
    """Return the tasks of a seed, backlit up to a level."""
    sizes: dict[str, Any] = {"shots": regime.shots, "validation": regime.validation, "test": regime.test}
    made = base_to_novel(seed, halves=regime.halves, domain=SHIFT, strength=level, **sizes)
    base = as_task(made, {"train": "train", "validation": "validation", "test": "base"}, "base classes")
    return Tasks(base, as_task(made, {"test": "new"}, "new classes"))


def level_of(bench: Bench, regime: Regime) -> float:
    """Return L, up to which pictures are backlit; found once, before anything is trained."""
    return bench.once("L", lambda: nearest(calibration(regime), regime.target))


def calibration(regime: Regime) -> dict[float, float]:
    """Return the zero-shot accuracy at every level: the mean over base and new classes of the calibration's seeds."""
    halves = [(seed, kinds) for seed in CALIBRATED_ON for kinds in split_kinds(seed, regime.halves)]
    texts = [class_vectors(kinds) for _, kinds in halves]
    found = {}
    for level in LEVELS:
        values = []
        for (seed, kinds), g in zip(halves, texts, strict=True):
            f = zoo_model(MODEL).image_features(list(pictures(kinds, seed, level)))
            values.append(float(((f @ g.T).argmax(axis=1) == labels(kinds, CALIBRATION)).mean()))
        found[level] = float(np.mean(values))
    return found


def pictures(kinds: Sequence[Kind], seed: int, level: float) -> Images:
    """Return the pictures that choose the level, kind by kind."""
    return drawn(scenes(kinds, CALIBRATION, 10 * seed + 3), SHIFT, level)


def class_vectors(kinds: Sequence[Kind]) -> Any:
    """Return the unit vector of each class under the one template, (classes, d)."""
    return zoo_model(MODEL).text_features([TEMPLATE.replace("{}", kind.name) for kind in kinds])


def nearest(accuracies: Mapping[float, float], target: float) -> float:
    """Return the level whose accuracy is nearest to a target; of equally near ones the smallest."""
    return min(accuracies, key=lambda level: (round(abs(accuracies[level] - target), 9), level))


def best(scores: Mapping[float, float]) -> float:
    """Return the rate of the highest score; of equal ones the smallest."""
    return min(scores, key=lambda rate: (-round(scores[rate], 9), rate))


def accuracy(learned: Learned, run: Run, task: Task, items: Sequence[Item]) -> float:
    """Return top-1 accuracy, 0 to 1, of a prompt on items among the names of a task."""
    outputs = bind(learned, run.model(), {}, task.signature).predict(items).outputs
    return float(np.mean([output == item.target for output, item in zip(outputs, items, strict=True)]))


def rate_of(
    bench: Bench, regime: Regime, arm: str, method: Callable[[float], Any], rates: Sequence[float] = SGD
) -> float:
    """Return the rate that an arm keeps for all seeds: that of the best mean accuracy on base validation images.

    `method(rate)` is the arm's method. Test images and new classes take no part.
    """
    level = level_of(bench, regime)

    def choice() -> dict[str, Any]:
        scores = {
            rate: float(np.mean([on_validation(regime, level, method(rate), s) for s in TUNED_ON])) for rate in rates
        }
        return {"rate": best(scores), "validation": list(scores.values())}

    return float(bench.once(f"rate of {arm}", choice)["rate"])


def on_validation(regime: Regime, level: float, method: Any, seed: int) -> float:
    """Return the accuracy on base validation images of what a method learns on a seed."""
    task = tasks_of(regime, seed, level).base
    learned, run = learned_by(method, task, zoo_model(MODEL), seed)
    return accuracy(learned, run, task, task.validation)


def on_test(regime: Regime, level: float, method: Any, seed: int, *, new: bool = True) -> dict[str, float]:
    """Return what a method reaches on a seed's test images: base, new and h, or base alone."""
    tasks = tasks_of(regime, seed, level)
    learned, run = learned_by(method, tasks.base, zoo_model(MODEL), seed)
    base = accuracy(learned, run, tasks.base, tasks.base.open_test())
    if not new:
        return {"base": base}
    other = accuracy(learned, run, tasks.new, tasks.new.open_test())
    return {"base": base, "new": other, "h": harmonic(base, other)}


def harmonic(base: float, new: float) -> float:
    """Return the harmonic mean of two accuracies."""
    return 2 * base * new / (base + new) if base + new else 0.0


def measured(
    bench: Bench,
    regime: Regime,
    arm: str,
    seed: int,
    method: Callable[[float], Any],
    *metrics: str,
    trained: bool = True,
) -> dict[str, float]:
    """Return what an arm reaches on a seed, the metrics that are named first, and beside it its rate and L.

    `method(rate)` is the arm's method; one that is not `trained` has no rate. The same arm on the same fixture is one
    run, whichever entry asks for it.
    """
    level = level_of(bench, regime)
    rate = rate_of(bench, regime, arm, method) if trained else 0.0
    new = {*metrics} != {"base"}
    found = bench.once(f"{arm}, seed {seed}", lambda: on_test(regime, level, method(rate), seed, new=new))
    rates = {"rate": rate} if trained else {}
    return {name: found[name] for name in dict.fromkeys((*metrics, *found))} | rates | {"L": level}
