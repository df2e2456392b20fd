"""Demonstrations: choosing labelled items to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from promptology.data.items import Item, Signature
from promptology.data.splits import strata_keys
from promptology.errors import UsageError
from promptology.prompts.learned import Demonstrations, Example, Learned
from promptology.prompts.outputs import answer_text
from promptology.run.engine import Run


def labelled_train(run: Run) -> tuple[Item, ...]:
    """Return the labelled training items; raises UsageError where there are none."""
    items = tuple(i for i in run.task.train if i.labelled)
    if not items:
        raise UsageError(f"task {run.task.name!r} has no labelled training items to show as demonstrations")
    return items


def shortened(run: Run, learned: Learned) -> Learned:
    """Return a prompt with as many of its first demonstrations as the run's longest prompt allows, perhaps none."""
    shown = learned.part(Demonstrations)
    while shown and not run.fits(learned):
        run.warn(f"demonstrations were left out: max_prompt_tokens is {run.max_prompt_tokens}")
        shown = Demonstrations(shown.examples[:-1]) if len(shown.examples) > 1 else None
        parts = tuple(p for p in learned.parts if not isinstance(p, Demonstrations))
        learned = learned.with_parts(shown) if shown else replace(learned, parts=parts)
    return learned


def as_examples(items: Sequence[Item], signature: Signature | None = None) -> tuple[Example, ...]:
    """Return items as demonstrations, their targets in the form of an answer that the signature asks for."""
    signature = signature or Signature()
    return tuple(Example(dict(i.inputs), answer_text(i.target, signature, i.inputs)) for i in items)


def draw_demonstrations(
    items: Sequence[Item], count: int, rng: np.random.Generator, signature: Signature | None = None
) -> Demonstrations:
    """Return `count` items drawn in turn from each class (as equally as it goes), in random order.

    An item of several classes counts for its rarest one.
    """
    by_class: dict[str, list[Item]] = {}
    keys = strata_keys(items)
    for i in rng.permutation(len(items)):
        by_class.setdefault(str(keys[i]), []).append(items[i])
    # Free-text targets are nearly all distinct: then this is a plain draw.
    queues = [by_class[name] for name in sorted(by_class)]
    queues = [queues[i] for i in rng.permutation(len(queues))]
    drawn: list[Item] = []
    while len(drawn) < min(count, len(items)):
        for queue in queues:
            if queue and len(drawn) < count:
                drawn.append(queue.pop())
    return Demonstrations(as_examples([drawn[i] for i in rng.permutation(len(drawn))], signature))
