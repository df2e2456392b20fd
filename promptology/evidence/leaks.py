"""Leaks: runs of words that a prompt shares with the items it was learned from, or will be measured on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.prompts.learned import Learned, Text
from promptology.prompts.render import input_text
from promptology.prompts.start import default_instruction

RUN = 8
"""Words in a row that are copied rather than chance, as in the de-duplication of PaLM's data (arXiv:2204.02311)."""
SHOWN = 3
"""Examples that are kept."""
WIDTH = 160
"""Characters of an example that are kept."""
_CLOSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts written without spaces: Thai, Lao, Burmese, Khmer, kana, Chinese characters."""
# Marks of Indian scripts are no word characters of their own, and belong to their words.
_WORD = re.compile(rf"[{_CLOSE}]|(?:(?![{_CLOSE}])[\w\u0300-\u036f\u0900-\u0dff])+")
_CLOSE_ONE = re.compile(f"[{_CLOSE}]")
Gram = tuple[str, ...]


class Words(NamedTuple):
    """A text by its words, with the place of each."""

    text: str
    words: list[str]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Leak:
    """How many items share a run of `run` words or more with a prompt: of training, validation and unlabelled ones.

    `test`: of the sealed test split, whose inputs are open; `longest`: words of the longest run; `examples`: some runs.
    """

    items: int
    longest: int
    examples: tuple[str, ...]
    test: int = 0
    run: int = RUN

    @property
    def warning(self) -> str:
        """The warning in words, empty where nothing is shared."""
        where = [f"{n} {name} item{'s' * (n > 1)}" for n, name in ((self.items, "training"), (self.test, "test")) if n]
        if not where:
            return ""
        example = f' "{self.examples[0]}"' if self.examples else ""
        return (
            f"the prompt shares {self.run} words or more in a row with {' and '.join(where)} (longest {self.longest}: "
            f"{example.strip()}): it may know them by heart"
        )


def words_of(text: str) -> Words:
    """Return the words of a text, in lower case and without punctuation.

    In a script written without spaces every character is a word.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    found = list(_WORD.finditer(plain))
    return Words(plain, [m[0] for m in found], [m.span() for m in found])


def grams(words: Sequence[str], n: int) -> set[Gram]:
    """Return all runs of n words."""
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def leak_of(task: Task, found: Learned, start: Learned | None, n: int = RUN) -> Leak | None:
    """Return what a prompt's own text shares with the inputs of a task; None where it wrote no text of its own.

    Its own are instruction and system prompt without the start's runs, wordings of the classes, and runs of class names
    alone; demonstrations copy on purpose and are no part. Runs of characters, in scripts without spaces, are twice as
    long. Time and memory are linear in the texts.
    """
    text = own_text(found)
    own = words_of(text)
    if sum(bool(_CLOSE_ONE.match(w)) for w in own.words) > len(own.words) / 2:
        n *= 2
    known = [own_text(start) if start else "", default_instruction(task.signature)]
    known += [part for c in task.signature.classes for part in (c.name, c.description)]
    names = {w for name in task.signature.class_names for w in words_of(name).words}
    wanted = grams(own.words, n).difference(*(grams(words_of(k).words, n) for k in known))
    wanted = {g for g in wanted if not names.issuperset(g)}
    if not text or text == known[0] or task.signature.images:
        return None
    items, longest, examples = _search(task, [*task.train, *task.validation, *task.unlabeled], wanted, n)
    test, longest_test, more = _search(task, task.test, wanted, n)
    return Leak(items, max(longest, longest_test), tuple([*examples, *more][:SHOWN]), test, n)


def own_text(learned: Learned) -> str:
    """Return instruction and system prompt."""
    part = learned.part(Text)
    return f"{part.system}\n\n{part.instruction}".strip() if part else ""


def _search(task: Task, items: Sequence[Item], wanted: set[Gram], n: int) -> tuple[int, int, list[str]]:
    """Return how many items hold one of the wanted runs, the longest run in words, and a few of the runs."""
    count, longest, examples = 0, 0, list[str]()
    vocabulary = {w for g in wanted for w in g}
    if not wanted:
        return 0, 0, []
    for item in items:
        found = words_of(input_text(item.inputs, task.signature))
        # Most items hold no n words in a row that the prompt knows at all: that is seen without any run.
        if "1" * n not in "".join(["1" if w in vocabulary else "0" for w in found.words]):
            continue
        if (shared := _longest(found.words, wanted, n)) is None:
            continue
        at, length = shared
        count, longest = count + 1, max(longest, length)
        if len(examples) < SHOWN:
            text = found.text[found.spans[at][0] : found.spans[at + length - 1][1]]
            examples.append(" ".join(text.split())[:WIDTH])
    return count, longest, examples


def _longest(words: Sequence[str], wanted: set[Gram], n: int) -> tuple[int, int] | None:
    """Return where the longest run of words starts whose every n words are wanted, and its length; None: there is none.

    Where a prompt says one thing twice a run may be pieced together of two: then it is a bound.
    """
    best: tuple[int, int] | None = None
    started = None
    for i in range(len(words) - n + 2):
        hit = i + n <= len(words) and tuple(words[i : i + n]) in wanted
        if hit and started is None:
            started = i
        elif not hit and started is not None:
            length = i - started + n - 1
            best = (started, length) if best is None or length > best[1] else best
            started = None
    return best
