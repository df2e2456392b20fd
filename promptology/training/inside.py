"""From fillings that learn to a `Learned`: what the methods that put something into a frozen model have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from promptology.errors import UsageError
from promptology.injection import Filling, attach
from promptology.injection.modules import Offsets
from promptology.prompts.learned import Learned, Part
from promptology.prompts.sites import SiteModule, SiteTensors
from promptology.run.engine import Run
from promptology.training.initial import array
from promptology.training.loop import Group, train
from promptology.training.objectives import Objective
from promptology.training.planning import Course, every

Fillings = Callable[[], Sequence[Filling]]


def train_inside(
    run: Run,
    goal: Objective,
    course: Course,
    groups: Sequence[Group],
    fillings: Fillings,
    method: str,
    parts: Callable[[], Sequence[Part]] | None = None,
) -> Learned:
    """Train what `fillings()` gives for an objective, and return it with the objective's readout.

    `fillings()` is asked anew for each batch, so that it may compute them from parameters; `groups` name these, and the
    objective's own. What is saved is what `fillings()` gives at the end, so that nothing it was computed from is needed
    later, or `parts()` where several fillings are one part. The state that scored best on validation items is kept, or
    the last where `course.checks` is 0.
    """
    if course.steps < 0 or course.checks < 0:
        raise UsageError(f"steps is {course.steps} and checks is {course.checks}; 0 or a number above is due")

    def loss(batch: list[int]) -> torch.Tensor:
        with goal.body.lock, attach(goal.body.model, fillings()):
            return goal.loss(batch)

    def learned() -> Learned:
        with torch.no_grad():
            found = parts() if parts else [part_of(filling) for filling in fillings()]
        return goal.learned(*found, method=method)

    if course.steps:
        train(
            run,
            loss,
            goal.batches(course.batch),
            groups,
            steps=course.steps,
            schedule=course.schedule,
            warmup=course.warmup,
            evaluate=goal.validate(learned) if course.checks else None,
            every=every(course),
        )
    return learned()


def part_of(filling: Filling) -> Part:
    """Return a filling as a part that is saved: a tensor, or offsets; raises UsageError for other modules."""
    if isinstance(filling.filler, torch.Tensor):
        return SiteTensors(filling.site, array(filling.filler))
    if isinstance(filling.filler, Offsets):
        arrays = {"A": array(filling.filler.A), "B": array(filling.filler.B)}
        return SiteModule(filling.site, "offsets", {"scale": filling.filler.scale}, arrays)
    raise UsageError(f"a {type(filling.filler).__name__} at {filling.site} is nothing that a prompt can hold")
