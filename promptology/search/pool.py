"""The pool of a search: what was tried and what came of it, so that no proposer buys the same prompt twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator


def normal(text: str) -> str:
    """Return a text in the form in which two prompts are the same prompt."""
    return " ".join(text.casefold().split())


def words(text: str) -> str:
    """Return the words of a text in their order, without case, spaces, punctuation and other signs."""
    return " ".join(re.findall(r"\w+|[{}]", text.casefold()))


class Pool(Collection[str]):
    """Prompts that were tried, by their text; `text in pool` also finds near duplicates.

    Near duplicates are texts with the same words in the same order and, with `near` below 1, texts that share at least
    that share of their words (multiset Jaccard index, 0 to 1). The latter compares with every text in the pool, and
    takes a prompt of 100 words with one word changed ("not" added, say) for the same at 0.98.
    """

    def __init__(self, texts: Iterable[str] = (), near: float = 1.0) -> None:
        self.near = near
        self._texts: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._counts: list[Counter[str]] = []
        for text in texts:
            self.add(text)

    def add(self, text: str, note: str = "") -> None:
        """Note that a prompt was tried, and in a few words what came of it ("it scored 40 of 100")."""
        key = words(text) or normal(text)
        if note:
            self._notes[key] = note
        if key not in self._texts:
            self._texts[key] = text
            if self.near < 1:
                self._counts.append(Counter(key.split()))

    def note(self, text: str) -> str:
        """Return what came of a prompt with these words, empty where nothing is known."""
        return self._notes.get(words(text) or normal(text), "")

    def __contains__(self, text: object) -> bool:
        if not isinstance(text, str):
            return False
        key = words(text) or normal(text)
        if key in self._texts or self.near >= 1:
            return key in self._texts
        count = Counter(key.split())
        return any((count & other).total() >= self.near * (count | other).total() for other in self._counts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts.values())

    def __len__(self) -> int:
        return len(self._texts)
