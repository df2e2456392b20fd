"""Demonstrations: choosing labelled items to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from promptology.data.items import Item, Signature
from promptology.data.splits import strata_keys
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.predict import bind, predict_many
from promptology.prompts.learned import Demonstrations, Example, Learned
from promptology.prompts.outputs import answer_text
from promptology.run.engine import Run
from promptology.search.scoring import scores_of


def labelled_train(task: Task) -> tuple[Item, ...]:
    """Return the labelled training items; raises UsageError where there are none."""
    items = tuple(i for i in task.train if i.labelled)
    if not items:
        raise UsageError(f"task {task.name!r} has no labelled training items to show as demonstrations")
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


def bootstrapped(run: Run, items: Sequence[Item]) -> tuple[Example, ...]:
    """Return the items that the start answers right, each with the start's own answer, in the order given.

    Right is an answer that scores at least half a point. One call per item; DSPy's bootstrapping (arXiv:2310.03714).
    """
    scores = scores_of(run, [run.start], items).values[0]
    # The same requests once more: they are answered already and cost nothing.
    (predictions,) = predict_many([bind(run.start, run.model())], items)
    signature = run.task.signature
    return tuple(
        Example(dict(item.inputs), answer_text(output, signature, item.inputs))
        for item, output, score in zip(items, predictions.outputs, scores, strict=True)
        if score >= 0.5 and output is not None
    )


def demonstration_sets(run: Run, count: int, shots: int) -> list[Demonstrations | None]:
    """Return that many sets of demonstrations, as MIPROv2 makes them (arXiv:2406.11695).

    None; `shots` labelled items; the first `shots` that the start answers right; from then on one to `shots` of those,
    drawn at random. Asks the start about `count * shots` training items at most. Where it answers none of them right,
    their labels stand in.
    """
    train = labelled_train(run.task)
    asked = [train[i] for i in run.rng("bootstrapping").permutation(len(train))[: count * shots]]
    right = bootstrapped(run, asked) or as_examples(asked, run.task.signature)
    rng = run.rng("demonstration sets")
    sets: list[Demonstrations | None] = [None, draw_demonstrations(train, shots, rng, run.task.signature)]
    sets.append(Demonstrations(right[:shots]))
    for _ in range(count - len(sets)):
        size = 1 + int(rng.integers(shots))
        sets.append(Demonstrations(tuple(right[i] for i in rng.permutation(len(right))[:size])))
    return sets[:count]
