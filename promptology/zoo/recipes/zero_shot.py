"""How well a saved text model answers kinds of Wordland by their instructions, measured through the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.models.opening import model as open_model
from promptology.predict import bind
from promptology.prompts.learned import Readout
from promptology.prompts.render import messages, with_cue
from promptology.prompts.start import LIKELIHOOD, start_from
from promptology.run.handles import Handle, logprob, unmetered
from promptology.zoo.wordland.kind import Example, Kind

SEED = 7_001
"""Of the evaluation items; they are of Wordland's part for evaluation, which no training draws from."""
ITEMS = 96
"""Items a kind, shared out among the wordings."""
TOKENS = 8
"""Tokens of a written answer at most; a right one is one word."""
Wordings = Literal["seen", "held out"]


def accuracies(
    folder: Path, kinds: Sequence[Kind], wordings: Wordings = "seen", *, items: int = 0, readout: str = ""
) -> dict[str, float]:
    """Return the accuracy of each kind by name, from 0 to 1; the likeliest option is the answer.

    `items`: of each kind, ITEMS by default; `readout`: "answer" has the model write its answer instead.
    """
    handle = unmetered(open_model(f"hf:{folder}", device="cpu"))
    found = {}
    for kind in kinds:
        rng = np.random.default_rng([SEED, sum(kind.name.encode())])
        examples = kind.draw(rng, items or ITEMS, evaluation=True)
        used = kind.wordings if wordings == "seen" else kind.held_out_wordings
        right = [_right(handle, kind, said, examples[n :: len(used)], readout) for n, said in enumerate(used)]
        found[kind.name] = float(np.mean(np.concatenate(right)))
    return found


def chance(kinds: Sequence[Kind]) -> float:
    """Return the mean accuracy of guessing among the classes of kinds that have such."""
    return float(np.mean([1 / len(kind.classes) for kind in kinds]))


def mean(values: Mapping[str, float]) -> float:
    """Return the mean over kinds, each counting alike."""
    return float(np.mean([*values.values()]))


def signature(kind: Kind, wording: str) -> Signature:
    """Return a kind as the library describes a task: its fields, its class names, the instruction."""
    fields = tuple(Field(name) for name in kind.fields)
    classes = tuple(ClassLabel(name) for name in kind.class_names)
    return Signature(fields, "class" if classes else "text", classes, wording)


def _right(handle: Handle, kind: Kind, wording: str, examples: Sequence[Example], readout: str) -> list[bool]:
    """Return for each example whether the model answers it rightly."""
    if not examples:
        return []
    said = signature(kind, wording)
    answers = [example.answer for example in examples]
    if kind.classes or readout == "answer":
        learned = start_from(said, handle.access, readout or "label-likelihood")
        if readout == "answer":
            learned = replace(learned, parts=(*learned.parts[:-1], Readout("answer", {"max_tokens": TOKENS})))
        outputs: list[Any] = bind(learned, handle).predict([Item(e.key, e.inputs) for e in examples]).outputs
        return [output == answer for output, answer in zip(outputs, answers, strict=True)]
    learned = start_from(said, ("generates",), "answer")
    prompts = [with_cue(messages(learned, e.inputs, said), LIKELIHOOD["cue"]) for e in examples]
    requests = [
        handle.scoring(prompt, f" {option}")
        for prompt, e in zip(prompts, examples, strict=True)
        for option in e.options
    ]
    came = iter(handle.outcomes(requests))
    scores = [[logprob(next(came)) for _ in e.options] for e in examples]
    return [
        e.options[int(np.nanargmax(np.array(row, float)))] == e.answer for e, row in zip(examples, scores, strict=True)
    ]
