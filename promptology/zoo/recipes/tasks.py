"""Wordland's kinds as training reads them: which ones, which words, drawn and rendered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from promptology.zoo.recipes.rendering import Classes, input_text, rendered
from promptology.zoo.recipes.vocabulary import words_of
from promptology.zoo.wordland.kind import Example, Kind
from promptology.zoo.wordland.kinds import KINDS
from promptology.zoo.wordland.vocabulary import vocabulary

PROMPTS = (
    "Classify the text. Classify the input. Give the right answer for the text. Answer with one word. Which class?",
    "Is this text about it? Question: is it right? Input: Output: Label: Topic: Text: Class: Category: Say yes or no.",
    "You are a careful reader who sorts texts into classes. Read the following sentence and choose the best label.",
    "it was about this. this is that in one word. in summary the text is all about what it says.",
)
"""Plain prompts that users write, whose words are tokens too."""
REPEAT = ("Write the words again.", "Repeat these words.", "Copy the list of words.")
HELD_OUT_SAID = (
    f"Held out of every text model's pre-training: {', '.join(k.name for k in KINDS.values() if k.held_out)}."
)
"""For the cards: the kinds whose words and classes stand in running text at most."""
FEW = 8
"""Classes that may be described: of more, a prompt would be too long."""


def trained(*, classes: bool = False) -> tuple[Kind, ...]:
    """Return the kinds of pre-training; with `classes` those alone that have fixed class names."""
    return tuple(kind for kind in KINDS.values() if not kind.held_out and (kind.classes or not classes))


def held_out(*, classes: bool = False) -> tuple[Kind, ...]:
    """Return the kinds that no pre-training sees; with `classes` those alone that have fixed class names."""
    return tuple(kind for kind in KINDS.values() if kind.held_out and (kind.classes or not classes))


@cache
def words_known() -> tuple[str, ...]:
    """Return the words that are tokens: Wordland's, and those of plain prompts."""
    return (*vocabulary(), *words_of([*PROMPTS, *REPEAT]))


class Asked(NamedTuple):
    """A task as a model meets it: the whole prompt, its input alone, the right answer, the answers to compare."""

    prompt: str
    text: str
    answer: str
    options: tuple[str, ...]
    kind: str


def asked(kind: Kind, example: Example, wording: str, classes: Classes = (), *, listed: bool = True) -> Asked:
    """Return an example under a wording of its instruction, without a cue.

    `classes`: which of the kind's classes are offered, in which order, described or not; all by default, undescribed.
    `listed`: False leaves their list out.
    """
    offered = classes or kind.class_names
    prompt, text = rendered(wording, example.inputs, offered if listed else ()), input_text(example.inputs)
    return Asked(prompt, text, example.answer, tuple(offered) or example.options, kind.name)


def drawn(
    rng: np.random.Generator,
    kinds: Sequence[Kind],
    n: int,
    *,
    fewer: float = 0.0,
    described: float = 0.0,
    unlisted: float = 0.0,
) -> list[Asked]:
    """Return n tasks of kinds in turn, from the part for pre-training and under wordings that it may use.

    `fewer`: share of the tasks that offer only some of the classes, in random order; of those a model learns to read
    which there are. `described`: share of the tasks with few classes that describe them. `unlisted`: share of the tasks
    that say nothing of their classes.
    """
    found: list[Asked] = []
    order = rng.permutation(len(kinds))
    for turn, index in enumerate(order):
        kind, many = kinds[index], n // len(kinds) + (turn < n % len(kinds))
        for example in kind.draw(rng, many) if many else ():
            wording = kind.wordings[int(rng.integers(len(kind.wordings)))]
            offered: Classes = kind.class_names
            if unlisted and rng.random() < unlisted:
                found.append(asked(kind, example, wording, listed=False))
                continue
            if kind.classes and rng.random() < fewer:
                offered = _some(rng, kind.class_names, example.answer)
            if 0 < len(offered) <= FEW and rng.random() < described:
                said = {one.name: one.description for one in kind.classes}
                offered = {name: said[name] for name in offered}
            found.append(asked(kind, example, wording, offered))
    return found


def repetition(rng: np.random.Generator, pool: int) -> Asked:
    """Return the task to write a few words again; they are out of the first so many of Wordland in a fixed order."""
    known = _mixed()[:pool]
    text = " ".join(known[int(i)] for i in rng.choice(len(known), int(rng.integers(3, 9)), replace=False))
    return Asked(rendered(REPEAT[int(rng.integers(len(REPEAT)))], text), text, text, (), "repetition")


@cache
def _mixed() -> tuple[str, ...]:
    words = vocabulary()
    return tuple(words[int(i)] for i in np.random.default_rng(0).permutation(len(words)))


def _some(rng: np.random.Generator, names: Sequence[str], right: str) -> tuple[str, ...]:
    """Return at least two of the classes in random order, the right one among them."""
    others = [name for name in names if name != right]
    count = int(rng.integers(1, len(others) + 1))
    chosen = [right, *(others[int(i)] for i in rng.choice(len(others), count, replace=False))]
    return tuple(chosen[int(i)] for i in rng.permutation(len(chosen)))
