"""The items that both sides are asked about: generated messages, each with a code from which the answer follows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

CLASSES = ("billing", "delivery", "account", "technical")
MARK = b"item-"
CODE_SIZE = 19  # item-01234-89abcdef
RIGHT = 0.8  # share of the items whose label is the answer that the server gives
WORDS = """
the a my your this that invoice parcel password screen order charge refund courier login update address card since
yesterday morning twice again never still cannot please could would help find change send open close after before
with without from into about support team app page message code number device customer
"""


class Question(NamedTuple):
    """One message with its code and its label."""

    code: str
    text: str
    label: str


def answer_of(code: str) -> str:
    """Return the class that the server answers for an item."""
    return CLASSES[int(code[-8:], 16) % len(CLASSES)]


def questions(n: int, seed: int = 0, words: int = 30) -> list[Question]:
    """Return n distinct messages of this many words; about 80 % of the labels agree with the server."""
    rng, vocabulary = random.Random(seed), WORDS.split()
    made: list[Question] = []
    for i in range(n):
        code = f"item-{i:05d}-{rng.getrandbits(32):08x}"
        label = answer_of(code) if rng.random() < RIGHT else rng.choice(CLASSES)
        made.append(Question(code, f"{' '.join(rng.choices(vocabulary, k=words))} ({code})", label))
    return made


def accuracy(answers: Sequence[str | None], asked: Sequence[Question]) -> float:
    """Return the share of answers that are the label."""
    return sum(a == q.label for a, q in zip(answers, asked, strict=True)) / len(asked)
