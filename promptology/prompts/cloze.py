"""Cloze templates and verbalizers: a task as a sentence with a gap, and the words that fill it for each class.

T. Schick, H. Schuetze, "Exploiting Cloze Questions for Few Shot Text Classification and Natural Language Inference",
EACL 2021, arXiv:2001.07676 (PET: pattern, verbalizer, mean of the logits of a class's words); S. Hu et al.,
"Knowledgeable Prompt-tuning", ACL 2022, arXiv:2108.02035 (log-probabilities over all words, weighted per class).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Signature
from promptology.errors import UsageError
from promptology.prompts.render import field_texts, fill, input_text, placeholders

TOPIC = "{input} it was about {mask}."
AUTO = "auto"
"""In the place of label words: they are found on the training items."""
KINDS = ("masked", "causal", "seq2seq")
"""Kinds of models that fill a gap."""
OUTPUTS = ("class",)
"""Outputs of a task that a gap can say."""
MASK, INPUT = "{mask}", "input"
AGGREGATES = ("mean", "words")
"""How the words of a class become its score: the mean of their logits (PET), or of their log-probabilities after a
softmax over all words (KPT); with one word a class they are the same."""
Words = Mapping[str, Sequence[str]]
Scores = NDArray[np.float64]


def check_template(template: str, signature: Signature) -> str:
    """Return a template with one {mask} and places for the input: {input}, or {name} for fields. Raises UsageError."""
    fields = placeholders(template, [INPUT, *(f.name for f in signature.fields)])
    if template.count(MASK) != 1 or not fields:
        names = " or ".join(f"{{{name}}}" for name in (INPUT, *(f.name for f in signature.fields)))
        raise UsageError(f"cloze template {template[:60]!r} must hold {{mask}} once, and {names}")
    if len(set(fields)) != len(fields):
        raise UsageError(f"cloze template {template[:60]!r} holds the same field twice")
    return template


def label_words(text: str, signature: Signature) -> dict[str, tuple[str, ...]]:
    """Return the words of each class: of "great|good, terrible", in their order; empty or "auto": their names.

    Raises UsageError where their number is not that of the classes, or a word speaks for two classes.
    """
    names = signature.class_names
    given = text.split(",") if text not in ("", AUTO) else []
    parts = [[word.strip() for word in part.split("|")] for part in given] or [[name] for name in names]
    if len(parts) != len(names) or not all(word for part in parts for word in part):
        raise UsageError(
            f"label words {text[:60]!r} are for {len(parts)} classes, and there are {len(names)}: "
            f"{', '.join(names[:8])}; write words of one class with | between them, and a comma between classes"
        )
    whole = [word for part in parts for word in part]
    twice = next((word for word in whole if whole.count(word) > 1), "")
    if twice:
        raise UsageError(f"the label word {twice!r} stands for two classes")
    return {name: tuple(part) for name, part in zip(names, parts, strict=True)}


def class_scores(
    values: NDArray[Any], words: Sequence[Sequence[str]], how: str = "mean", weights: Sequence[float] = ()
) -> Scores:
    """Return the log-probabilities of the classes, float64 (n, classes), of log p(word) or logits, (n, words).

    `words`: those of each class in turn, as the columns stand; `weights`: per word, each class's own sum to 1 after
    scaling; empty: equal ones.
    """
    if how not in AGGREGATES:
        raise UsageError(f"aggregate {how!r} is unknown; there are {', '.join(AGGREGATES)}")
    found = np.asarray(values, np.float64)
    if how == "words":
        found = found - np.logaddexp.reduce(found, axis=1, keepdims=True)
    matrix = membership(words, weights)
    scores = found @ matrix
    logs: Scores = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return logs


def membership(words: Sequence[Sequence[str]], weights: Sequence[float] = ()) -> Scores:
    """Return what each word counts for each class, float64 (words, classes), each class's own with 1 in sum."""
    owner = np.repeat(np.arange(len(words)), [len(part) for part in words])
    matrix = np.zeros((len(owner), len(words)))
    matrix[np.arange(len(owner)), owner] = np.asarray(weights, np.float64) if len(weights) else 1.0
    shares: Scores = matrix / matrix.sum(axis=0)
    return shares


def cloze_of(
    template: str, mask: str, signature: Signature, *, most: int = 0, count: Callable[[str], int | None] | None = None
) -> Callable[[Mapping[str, Any]], str]:
    """Return the function from an item's inputs to its cloze, in which `mask` stands for the gap ("": nothing does).

    `most`: tokens that a model reads, `count` them in a text; what is longer is shortened, the longest field first, and
    never the template. What an item says is never read as a gap.
    """
    names = placeholders(template, [INPUT, *(f.name for f in signature.fields)])

    def fixed(text: str) -> str:
        # A mask that an item's text holds would be a second gap.
        return re.sub(re.escape(mask), " ", text) if mask else text

    def cloze(inputs: Mapping[str, Any]) -> str:
        texts = {**field_texts(inputs, signature), INPUT: input_text(inputs, signature)}
        shown = {name: fixed(texts[name]) for name in names}
        if most and count and sum(len(text.encode()) for text in shown.values()) + len(template) + 8 > most:
            frame = count(fill(template, {**dict.fromkeys(names, ""), "mask": mask}))
            if frame is not None:
                shown = shortened(shown, most - frame - 4, count)
        return fill(template, {**shown, "mask": mask})

    return cloze


def shortened(texts: Mapping[str, str], room: int, count: Callable[[str], int | None]) -> dict[str, str]:
    """Return texts with `room` tokens at most in all: the longest ones lose words at their end until they fit."""
    sizes = {name: count(text) or 0 for name, text in texts.items()}
    if sum(sizes.values()) <= room:
        return dict(texts)
    cap = max((c for c in range(max(sizes.values()) + 1) if sum(min(s, c) for s in sizes.values()) <= room), default=0)
    return {name: text if sizes[name] <= cap else _cut(text, cap, count) for name, text in texts.items()}


def _cut(text: str, most: int, count: Callable[[str], int | None]) -> str:
    """Return the longest beginning of a text, in whole words, of `most` tokens at most."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high + 1) // 2
        if (count(text[: ends[middle - 1]]) or 0) <= most:
            low = middle
        else:
            high = middle - 1
    return text[: ends[low - 1]] if low else ""
