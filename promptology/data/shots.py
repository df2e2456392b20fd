"""Parts of a task of classes: a few shots of each class, and halves of the classes.

The rules are those of the CoOp protocol (K. Zhou et al., arXiv:2109.01134 and 2203.05557), so that the same lists and
seeds give the images that its authors published: Python's generator, labels in the order in which the training items
first name them, first the training items and then the validation items with the same generator.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import UsageError

MOST_VALIDATION = 4
"""Validation items of a class: as many as shots, but no more than this."""


def check_classes(task: Task) -> None:
    """Raise UsageError for a task that has not one class for each item."""
    if task.signature.output != "class":
        raise UsageError(f"task {task.name!r}: shots are drawn a class; its output is {task.signature.output}")


def draw_shots(task: Task, shots: int, seed: int) -> Task:
    """Return a task with `shots` training items a class (0: all), and at most 4 validation items a class.

    A class with fewer items gives all it has, which the task's notes tell. The test split stays. Raises UsageError for
    a task of another output, or without labelled training items.
    """
    check_classes(task)
    if shots < 0:
        raise UsageError(f"{shots} shots a class; give 1 or more, 0 for all training items")
    train = [i for i in task.train if i.labelled]
    if not train:
        raise UsageError(f"task {task.name!r} has no labelled training items to draw shots from")
    if not shots:
        return task
    rng = random.Random(seed)
    chosen = sampled(train, shots, rng)
    validation = sampled([i for i in task.validation if i.labelled], min(shots, MOST_VALIDATION), rng)
    counts = {name: sum(i.target == name for i in chosen) for name in task.signature.class_names}
    few = [f"{name!r} ({n})" for name, n in counts.items() if n < shots]
    shown = ", ".join(few[:8]) + (", ..." if len(few) > 8 else "")
    notes = [f"classes with fewer training items than {shots} shots give all they have: {shown}"] if few else []
    return task.with_items(chosen, validation, notes)


def sampled(items: Sequence[Item], count: int, rng: random.Random) -> list[Item]:
    """Return `count` random items of each label, all where there are no more, label by label as they first occur."""
    by_label: dict[str, list[Item]] = {}
    for item in items:
        by_label.setdefault(str(item.target), []).append(item)
    return [item for some in by_label.values() for item in (rng.sample(some, count) if len(some) >= count else some)]


def halves(task: Task) -> tuple[Task, Task]:
    """Return the task of the first half of the classes (of an odd number the larger one), and that of the rest.

    Raises UsageError where a half would have fewer than two classes.
    """
    check_classes(task)
    names = task.signature.class_names
    if len(names) < 4:
        raise UsageError(f"task {task.name!r} has {len(names)} classes; halves of the classes need four or more")
    middle = -(-len(names) // 2)
    return task.among(names[:middle], "base"), task.among(names[middle:], "new")
