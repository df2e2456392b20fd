"""What a training will cost, before anything is loaded."""

from __future__ import annotations

from typing import Any, Protocol

from promptology.data.task import Task
from promptology.run.cost import Cost
from promptology.training.loop import PASSES


class Course(Protocol):
    """How methods name the settings of their training; `checks`: scorings of validation items on the way, 0 for none.

    `schedule` and `warmup` are those of `train`; with 0 `steps` nothing is trained, and the start is what is learned.
    """

    @property
    def steps(self) -> int:
        """Steps of gradient."""
        ...

    @property
    def batch(self) -> int:
        """Items per step."""
        ...

    @property
    def schedule(self) -> str:
        """How the rate goes over the steps."""
        ...

    @property
    def warmup(self) -> float:
        """Steps, or their share, over which the rate rises."""
        ...

    @property
    def checks(self) -> int:
        """How often the state is scored."""
        ...


def every(course: Course) -> int:
    """Return after how many steps each the state is scored; 0 where it never is."""
    return max(1, -(-course.steps // course.checks)) if course.checks else 0


def course_cost(course: Course, task: Task, model: Any = None, readout: str = "auto") -> Cost:
    """Return the passes of a training: three per item of a step, and the scoring of labelled validation items.

    Scored by the likelihood of class names an item takes one pass per class, otherwise one; `model` says which where
    `readout` does not (it has a language-model head or not).
    """
    between = every(course)
    scored = -(-course.steps // between) if between else 0
    if readout == "auto":
        headless = getattr(model, "kind", "") in ("masked", "encoder")
        readout = "head" if headless else "label-likelihood"
    likelihood = readout == "label-likelihood" and task.signature.output == "class"
    each = len(task.signature.classes) if likelihood else 1
    items = sum(i.labelled for i in task.validation)
    return Cost(passes=PASSES * course.steps * course.batch + scored * each * items)
