"""Mappings that only demonstrations define: themes of words stand for labels that mean nothing by themselves.

An input is one to three words. The word at one place decides, always the same in a mapping, and its theme has the
label; the words at the other places come from the mapping's themes just as often, so that only inputs whose words
disagree tell which place decides. Nothing but demonstrations says which themes, labels and place a mapping has.

Held out are assignments of themes to labels: of each theme, a quarter of the labels. Training draws no held-out
assignment, in no kind of sequence; a held-out mapping consists of held-out assignments only. So no word of a theme was
ever seen with the label that it has in a held-out mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptology.errors import UsageError
from promptology.zoo.wordland.words import THEMES

LABELS = (
    *("acid", "alpha", "arrow", "atlas", "badge", "basis", "beam", "cable", "chain", "circle"),
    *("cloud", "cross", "delta", "dome", "door", "echo", "ember", "field", "flag", "flame"),
    *("gamma", "gate", "globe", "ground", "hook", "key", "knot", "letter", "loop", "maze"),
    *("omega", "path", "pillar", "prism", "portal", "ribbon", "ring", "shadow", "signal", "spiral"),
)
"""Words that stand for classes; none is a noun of a theme."""
_THEMES = tuple(THEMES)
HELD_OUT_ONE_IN = 4
CLASSES = 2
"""Classes of a mapping where nothing else is said."""
WORDS = 2
"""Words of an input where nothing else is said."""
MOST_CLASSES = 8


@dataclass(frozen=True)
class Example:
    """An input and its label."""

    text: str
    label: str


@dataclass(frozen=True)
class Mapping:
    """Which themes have which labels, how many words an input has, and the place of the word that decides."""

    themes: tuple[str, ...]
    labels: tuple[str, ...]
    words: int
    decides: int

    def label_of(self, text: str) -> str:
        """Return the label of an input. Raises UsageError for a text that is none."""
        words = text.split()
        if len(words) == self.words:
            for theme, label in zip(self.themes, self.labels, strict=True):
                if words[self.decides] in THEMES[theme]:
                    return label
        raise UsageError(f"{text[:60]!r} is no input of this mapping")

    def example(self, rng: np.random.Generator, label: int) -> Example:
        """Return an example of a class, given by its index; every word of its theme is equally likely."""
        words: list[str] = []
        for place in range(self.words):
            at = label if place == self.decides else int(rng.integers(len(self.themes)))
            fresh = [word for word in THEMES[self.themes[at]] if word not in words]
            words.append(fresh[int(rng.integers(len(fresh)))])
        return Example(" ".join(words), self.labels[label])

    def balanced(self, rng: np.random.Generator, each: int, without: Sequence[str] = ()) -> list[Example]:
        """Return `each` examples a class in random order, all different, none with a text of `without`.

        Raises UsageError where a mapping of one word has not so many.
        """
        nouns = len(THEMES[self.themes[0]])
        if self.words == 1 and each > nouns - -(-len(without) // len(self.labels)):
            raise UsageError(f"a mapping of one word has {nouns} examples a class")
        found: list[Example] = []
        taken = set(without)
        for label in range(len(self.labels)):
            for _ in range(each):
                made = self.example(rng, label)
                while made.text in taken:
                    made = self.example(rng, label)
                taken.add(made.text)
                found.append(made)
        return [found[n] for n in rng.permutation(len(found))]

    def draw(self, seed: int, each: int, queries: int) -> tuple[list[Example], list[Example]]:
        """Return demonstrations, `each` a class in random order, and so many other queries, classes equally often.

        All inputs are different. Where `queries` is no multiple of the classes, some have one more.
        """
        rng = np.random.default_rng([seed, 1])
        shown = self.balanced(rng, each)
        per_class = -(-queries // len(self.labels))
        return shown, self.balanced(rng, per_class, [e.text for e in shown])[:queries]


def held_out(theme: str, label: str) -> bool:
    """Whether training never gives this label to this theme."""
    return (_THEMES.index(theme) + LABELS.index(label)) % HELD_OUT_ONE_IN == 0


def draw(rng: np.random.Generator, *, classes: int = CLASSES, words: int = WORDS, held: bool = False) -> Mapping:
    """Return a mapping of training or, with `held`, one whose assignments are all held out.

    Raises UsageError for fewer than 2 or more than 8 classes, and for less than 1 or more than 3 words.
    """
    if not 2 <= classes <= MOST_CLASSES or not 1 <= words <= 3:
        raise UsageError(f"a mapping has 2 to {MOST_CLASSES} classes and 1 to 3 words, not {classes} and {words}")
    themes = tuple(_THEMES[n] for n in rng.permutation(len(_THEMES))[:classes])
    labels: list[str] = []
    for theme in themes:
        allowed = [label for label in LABELS if held_out(theme, label) is held and label not in labels]
        labels.append(allowed[int(rng.integers(len(allowed)))])
    return Mapping(themes, tuple(labels), words, int(rng.integers(words)))


def mapping(seed: int, *, classes: int = CLASSES, words: int = WORDS) -> Mapping:
    """Return the held-out mapping of a seed."""
    return draw(np.random.default_rng([seed, 0]), classes=classes, words=words, held=True)


def rows(examples: Sequence[Example]) -> list[dict[str, str]]:
    """Return examples as rows with the fields text and label."""
    return [{"text": e.text, "label": e.label} for e in examples]
