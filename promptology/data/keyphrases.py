"""Key phrases of a text that another one keeps: candidates for what a hint should name.

Ranked as TextRank does (R. Mihalcea, P. Tarau, "TextRank: bringing order into texts", EMNLP 2004): words that stand
near each other are joined, and the rank of a word is its PageRank.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

WINDOW = 3
"""Words within which two are joined."""
LONGEST = 3
"""Words of a phrase at most."""
DAMPING, ROUNDS = 0.85, 40
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_STOPS = """
    a about above after again against all almost also although always am among an and another any anyone
    anything are around as at away back be became because become been before behind being below between both but
    by can cannot could did do does doing done down during each either else enough even ever every everyone
    everything few for from further get gets give given go goes going gone got had has have having he her here
    hers herself him himself his how however i if in into is it its itself just last later least less let like
    made make makes many may me might mine more most much must my myself near neither never next no nobody none
    nor not nothing now of off often on once one only onto or other others our ours ourselves out over own per
    perhaps rather really said same say says see seem seems several she should since so some someone something
    still such take than that the their theirs them themselves then there these they thing things this those
    though through thus to today together too toward towards two under until up upon us use used very via was we
    well were what when where whether which while who whom whose why will with within without would yes
    yesterday yet you your yours yourself
"""
STOP_WORDS = frozenset(_STOPS.split())
"""English words that are no key phrase by themselves."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, of any script."""
    return _WORD.findall(text.lower())


def stops(phrase: str) -> bool:
    """Whether a phrase says nothing by itself: stop words and numbers alone, or no word at all."""
    return all(word in STOP_WORDS or not any(c.isalpha() for c in word) for word in words(phrase))


def occurs(phrase: str, text: str) -> bool:
    """Whether a phrase stands in a text, word by word, in lower or upper case."""
    wanted, there = words(phrase), words(text)
    return bool(wanted) and any(there[n : n + len(wanted)] == wanted for n in range(len(there) - len(wanted) + 1))


def key_phrases(text: str, kept: str, most: int = 8) -> list[str]:
    """Return phrases of a text that stand in what was kept of it (a summary) too, in the order of the latter.

    At most `most`, the ones that rank highest in both together; none is part of a longer one, and none begins or ends
    with a stop word or a number.
    """
    rank = _ranks([*_sentences(text), *_sentences(kept)])
    spoken = [" ".join(s) for s in _sentences(text)]
    shared = [p for p in _candidates(kept) if any(f" {p} " in f" {sentence} " for sentence in spoken)]
    found: list[str] = []
    for phrase in sorted(shared, key=lambda p: -len(p.split())):
        if not any(f" {phrase} " in f" {longer} " for longer in found):
            found.append(phrase)
    found.sort(key=lambda p: (-sum(rank.get(word, 0.0) for word in p.split()), p))
    place = {phrase: n for n, phrase in enumerate(_candidates(kept))}
    return sorted(found[:most], key=lambda p: place[p])


def _sentences(text: str) -> list[list[str]]:
    return [found for part in re.split(r"[.!?;:\n]+", text) if (found := words(part))]


def _candidates(text: str) -> list[str]:
    """Return the phrases of a text, each once, in the order in which they begin, longer ones first."""
    found: dict[str, None] = {}
    for sentence in _sentences(text):
        for at in range(len(sentence)):
            for size in range(min(LONGEST, len(sentence) - at), 0, -1):
                phrase = sentence[at : at + size]
                if not (stops(phrase[0]) or stops(phrase[-1])):
                    found.setdefault(" ".join(phrase))
    return list(found)


def _ranks(sentences: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the PageRank of each word that is no stop word."""
    lists = [[word for word in sentence if not stops(word)] for sentence in sentences]
    names = list(dict.fromkeys(word for some in lists for word in some))
    number = {name: n for n, name in enumerate(names)}
    joined = np.zeros((len(names), len(names)))
    for some in lists:
        for at, word in enumerate(some):
            for other in some[at + 1 : at + WINDOW]:
                if other != word:
                    joined[number[word], number[other]] = joined[number[other], number[word]] = 1.0
    degree = np.maximum(joined.sum(axis=0), 1.0)
    rank = np.full(len(names), 1.0)
    for _ in range(ROUNDS):
        rank = 1 - DAMPING + DAMPING * joined @ (rank / degree)
    return dict(zip(names, rank.tolist(), strict=True))
