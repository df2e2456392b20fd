"""A simulated reporter, for whom a hint decides which sentences of an article it keeps; and the articles.

An article has twelve sentences, each about one thing. Three of them matter: there a cue word stands before the thing.
The right summary is those three. The reporter cannot tell what matters: it keeps the sentences, in order, that hold a
word it is hinted at (a thing's name that stands in its request outside of the article), else the first two. It acts on
content alone: the article is the paragraph with the most sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from promptology.models.access import Answer, Message, Outcome, Request
from promptology.models.cutting import cut
from promptology.models.simulated.chat import count, tokens

SENTENCES, KEPT, UNHINTED = 12, 3, 2
_THINGS = """
    anchor apron arrow barrel basket beacon bell blanket bottle bridge broom bucket cabin candle canvas carpet castle
    chair clock compass cradle curtain drum engine fence fiddle flag fountain gate glove hammer harbor helmet ladder
    lantern lever locket magnet marble mirror needle oven paddle parrot pebble piano pillow plough pump rope saddle sail
    shovel statue stove sword tent tower trunk wagon
"""
THINGS = tuple(_THINGS.split())
CUES = ("famous", "missing", "golden", "stolen", "royal", "broken", "secret", "ancient")
_FILL = """
    a the of in on near with from was were stood lay came went old new small large red grey tall long quiet people
    children men women town village street garden river field winter summer morning evening yesterday again often never
    slowly loudly
"""
FILL = tuple(_FILL.split())
SHORTEST, MORE = 1, 1
"""Words of a sentence beside its thing and cue: at least, and how many more at most."""
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]")


class Article(NamedTuple):
    """An article: its text, the right summary, and the things that matter, in order."""

    text: str
    summary: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class ArticleWorld:
    """Articles by number; equal seeds give equal articles."""

    seed: int = 0

    def article(self, n: int) -> Article:
        """Return an article: twelve things, three of which have a cue before them."""
        rng = np.random.default_rng([self.seed, n])
        things = [THINGS[int(k)] for k in rng.permutation(len(THINGS))[:SENTENCES]]
        important = sorted(rng.permutation(SENTENCES)[:KEPT].tolist())
        sentences = []
        for k, thing in enumerate(things):
            some = [FILL[int(i)] for i in rng.integers(len(FILL), size=SHORTEST + int(rng.integers(MORE + 1)))]
            named = [CUES[int(rng.integers(len(CUES)))], thing] if k in important else [thing]
            at = int(rng.integers(len(some) + 1))
            sentences.append(" ".join([*some[:at], *named, *some[at:]]) + ".")
        kept = [sentences[k] for k in important]
        return Article(" ".join(sentences), " ".join(kept), tuple(things[k] for k in important))


def reported(text: str) -> str:
    """Return what the reporter writes for a request."""
    blocks = [(len(_SENTENCE.findall(block)), n, block) for n, block in enumerate(text.split("\n\n"))]
    _, at, article = max(blocks, key=lambda b: (b[0], b[1]))
    rest = " ".join(block for _, n, block in blocks if n != at).lower()
    hinted = {word for word in re.findall(r"[a-z]+", rest) if word in THINGS}
    sentences = [s.strip() for s in _SENTENCE.findall(article)]
    found = [s for s in sentences if hinted & {*re.findall(r"[a-z]+", s.lower())}]
    return " ".join(found or sentences[:UNHINTED])


class SimulatedReporter:
    """Offers `Generates`. The same request gives the same answer, at every temperature."""

    local = False
    simulated = True
    name = "simulated-articles"
    identity = "simulated:articles"

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield an answer per request."""
        for n, r in enumerate(requests):
            text, truncated = cut(self.reply(r.messages), r.stop, r.max_tokens)
            yield n, Answer(text, tokens(r.messages), count(text), False, 1, truncated)

    def reply(self, messages: Sequence[Message], seed: int | None = None, temperature: float = 0.0) -> str:
        """Return the answer to these messages."""
        return reported("\n\n".join(content for _, content in messages))
