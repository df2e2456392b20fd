"""New labelled texts from a chat model: asked for class by class, read tolerantly, and kept apart from known ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from promptology.data.items import ClassLabel
from promptology.errors import UsageError
from promptology.prompts.render import frame
from promptology.run.engine import Run
from promptology.search.pool import Pool, words

WRITE = """You write texts that people could have written, as examples of a class: you see its name, meaning and some.

<class>
{name}
</class>

<meaning>
{meaning}
</meaning>

<examples>
{examples}
</examples>

Write {number} new texts of this class: like the examples in length and tone, different from them and from each other.
Put each text between <text> and </text>, and write nothing else."""
TOKENS = 60
"""Tokens of one text that is asked for, at most."""
RUN = 8
"""Words in a row that are copied rather than chance (PaLM, arXiv:2204.02311)."""


def new_texts(
    run: Run,
    classes: Sequence[ClassLabel],
    number: int,
    *,
    examples: Mapping[str, Sequence[str]],
    known: Iterable[str],
    kept_apart: Iterable[str],
    at_once: int = 10,
    role: str = "optimizer",
) -> list[tuple[str, str]]:
    """Return (text, intended class) pairs, at most `number` a class, from one batch of requests at temperature 1.

    `examples`: texts by class that are shown. A text that is among `known`, says what another says, or shares a run of
    8 words with one of `kept_apart` (inputs that will be measured on) is dropped; how many is noted in the history.
    """
    if number < 1 or at_once < 1:
        raise UsageError(f"{number} texts a class, {at_once} at once: both must be 1 or more")
    prompts = [_prompt(label, examples.get(label.name, ()), min(at_once, number)) for label in classes]
    times = -(-number // at_once)
    tokens = TOKENS * min(at_once, number)
    said = run.model(role).generate(prompts, samples=times, temperature=1.0, max_tokens=tokens)
    pool, apart = Pool(known), {gram for text in kept_apart for gram in _runs(text)}
    found: list[tuple[str, str]] = []
    came = leaked = 0
    for n, label in enumerate(classes):
        texts = [t for answer in said[n * times : (n + 1) * times] for t in _texts(answer)]
        came += len(texts)
        mine: list[tuple[str, str]] = []
        for text in texts:
            copied = any(gram in apart for gram in _runs(text))
            leaked += copied
            if not copied and text not in pool and len(mine) < number:
                pool.add(text)
                mine.append((text, label.name))
        found += mine
    run.log("texts", asked=number * len(classes), came=came, like_test=leaked, new=len(found))
    return found


def _prompt(label: ClassLabel, examples: Sequence[str], number: int) -> str:
    shown = "\n".join(f"- {' '.join(text.split())}" for text in examples) or "(none)"
    values = {"name": label.name, "meaning": label.description or label.name, "examples": shown}
    return frame(WRITE, {**values, "number": str(number)})


def _texts(answer: str | None) -> list[str]:
    """Return the texts of an answer; one that was cut off is left out."""
    found = re.findall(r"<text>(.*?)</text>", answer or "", re.DOTALL | re.I)
    return [text for one in found if (text := " ".join(one.split()))]


def _runs(text: str) -> Iterable[str]:
    said = words(text).split()
    return (" ".join(said[n : n + RUN]) for n in range(len(said) - RUN + 1))
