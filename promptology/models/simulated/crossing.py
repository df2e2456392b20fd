"""What a request that shows several prompts asks for: one prompt made from them, or a list of new ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_CROSS = re.compile(r"\b(cross\w*|merg\w+|combin\w+|joins?)\b", re.I)
_MERGE = re.compile(r"\b(merg\w+|joins?)\b", re.I)
_MUTATE = re.compile(r"\bmutat\w+", re.I)
_TAGGED = re.compile(r"<prompt_(\w+)>\s*(.*?)\s*</prompt_\1>", re.S)
_NUMBERED = re.compile(r"^Prompt (\d+): (.+?)(?=\n\s*\n|\nPrompt \d|\n\d\.|\n[A-Z][\w ]{2,30}:|\Z)", re.M | re.S)
_ARRAY = re.compile(r"\b(\d+) prompts?\b[\s\S]{0,80}\bjson\b[\s\S]{0,80}\barray\b", re.I)
_SENTENCE = re.compile(r"(?<=[.!?]) +")


def parents(text: str) -> list[str]:
    """Return the prompts that a request wants crossed or merged, in tags or after their number; empty where none.

    Of a number that comes twice the last one counts: what came before was an example of the exercise.
    """
    if not _CROSS.search(text):
        return []
    found = dict(_TAGGED.findall(text)) or {name: body.strip() for name, body in _NUMBERED.findall(text)}
    return list(found.values()) if len(found) > 1 else []


def mixed(text: str, prompts: Sequence[str], rng: np.random.Generator) -> str:
    """Return one prompt of sentences of several, each with a probability equal to the share of prompts that have it.

    Where the request wants them merged or joined, all sentences of all of them; never none.
    """
    written = [_SENTENCE.split(p) for p in prompts]
    sentences = dict.fromkeys(s for some in written for s in some)
    share = {s: sum(s in some for some in written) / len(written) for s in sentences}
    whole = bool(_MERGE.search(text)) and not mutates(text)
    return " ".join(s for s in sentences if whole or rng.random() < share[s]) or prompts[0]


def mutates(text: str) -> bool:
    """Whether a request wants the outcome changed in one point."""
    return bool(_MUTATE.search(text))


def wanted(text: str) -> int:
    """Return how many prompts a request wants in a JSON array, 0 where it wants none."""
    match = _ARRAY.search(text) if "array" in text else None
    return min(int(match[1]), 100) if match else 0
