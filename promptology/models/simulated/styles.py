"""A simulated writer: six things of style that a text shows or does not, written, read and named by content alone.

It writes a text from notes in the style that the request names, or, shown earlier drafts with what became of them, in
the style of those. Asked for a phrase about drafts and what became of them it names the style that most of the final
texts show; asked for a phrase about a list of preferences it names what more than half of them say. Whenever it reads a
style out of final texts, to name it or to imitate it, it errs on each of the six with the probability `error`. It names
the whole style of the final texts, not only what changed against the drafts: what the person left as it was is wanted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from promptology.errors import UsageError
from promptology.models.access import Answer, Message, Outcome, Request
from promptology.models.cutting import cut
from promptology.models.simulated.chat import count, tokens

SENTENCE = 5
"""Words of a sentence."""
LENGTH = 20
"""Words of a text that need not be short."""
SHORT = 12
"""Words of a short text at most."""
GREETING, CLOSING, EMOJI = "Hello there,", "Kind regards from Mara", "\U0001f642"
PLAIN = "plain sentences"


class Trait(NamedTuple):
    """One thing of style: the phrase that names it, and the pattern by which it is found in a preference."""

    phrase: str
    pattern: re.Pattern[str]


TRAITS = {
    "bullets": Trait("bullet points", re.compile(r"(?<!no )\bbullet")),
    "lower": Trait("lower case", re.compile(r"(?<!no )\blower[ -]case|(?<!no )\blowercase")),
    "greeting": Trait("a greeting", re.compile(r"(?<!no )\bgreeting")),
    "closing": Trait("a closing line", re.compile(r"(?<!no )\bclosing")),
    "emoji": Trait("an emoji", re.compile(r"(?<!no )\bemoji")),
    "short": Trait("at most 12 words", re.compile(r"\b12 words\b|\btwelve words\b")),
}
Style = frozenset[str]
"""Names of traits."""


def named(style: Iterable[str]) -> str:
    """Return the phrase for a style."""
    some = set(style)
    return ", ".join(t.phrase for name, t in TRAITS.items() if name in some) or PLAIN


def style_in(phrase: str) -> Style:
    """Return the style that a phrase names."""
    low = phrase.casefold()
    return frozenset(name for name, trait in TRAITS.items() if trait.pattern.search(low))


def written(notes: str, style: Style) -> str:
    """Return the text that notes give in a style."""
    some = re.findall(r"[^\W_]+", notes)[: SHORT - SHORT % SENTENCE if "short" in style else LENGTH] or ["nothing"]
    sentences = [" ".join(some[at : at + SENTENCE]).capitalize() + "." for at in range(0, len(some), SENTENCE)]
    body = "\n".join(f"- {s}" for s in sentences) if "bullets" in style else " ".join(sentences)
    lines = [GREETING if "greeting" in style else "", body, CLOSING if "closing" in style else ""]
    text = "\n".join([line for line in lines if line]) + (f" {EMOJI}" if "emoji" in style else "")
    return text.lower() if "lower" in style else text


def style_of(text: str) -> Style:
    """Return the style that a text shows."""
    low = text.casefold()
    bare = low.replace(GREETING.casefold(), " ").replace(CLOSING.casefold(), " ")
    shown = {
        "bullets": bool(re.search(r"^- ", text, re.M)),
        "lower": text == text.lower(),
        "greeting": low.startswith(GREETING.casefold()),
        "closing": CLOSING.casefold() in low,
        "emoji": EMOJI in text,
        "short": len(re.findall(r"\w+", bare)) <= SHORT,
    }
    return frozenset(name for name, there in shown.items() if there)


def majority(styles: Sequence[Style]) -> Style:
    """Return the traits that more than half of the styles have."""
    return frozenset(name for name in TRAITS if 2 * sum(name in style for style in styles) > len(styles))


_PAIR = re.compile(r"^(?:Revised|Final)[^\n:]{0,12}:\n(.*?)(?=\n\n|\n*</|\Z)", re.M | re.S)
_ASKS = re.compile(r"\bone short phrase\b|\bshort phrase\b|\bin a phrase\b", re.I)


class SimulatedWriter:
    """Offers `Generates`. Deterministic in seed and content; keeps nothing between requests.

    `error`: how often it misreads a trait; `imitate`: the same where it imitates, if it differs. Raises UsageError for a value outside 0 to 1.
    """

    local = False
    simulated = True
    name = "simulated-styles"

    def __init__(self, *, seed: int = 0, error: float = 0.1, imitate: float | None = None) -> None:
        self.seed, self.error = seed, error
        self.imitate = error if imitate is None else imitate
        for name, value in (("error", self.error), ("imitate", self.imitate)):
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"simulated model: {name} is {value}; it must lie between 0 and 1")
        self.identity = f"simulated:styles:seed={seed}:error={self.error}:imitate={self.imitate}"

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield an answer per request."""
        for n, r in enumerate(requests):
            text, truncated = cut(self.reply(r.messages), r.stop, r.max_tokens)
            yield n, Answer(text, tokens(r.messages), count(text), False, 1, truncated)

    def reply(self, messages: Sequence[Message], seed: int | None = None, temperature: float = 0.0) -> str:
        """Return the answer to these messages; it is the same at every temperature."""
        text = "\n\n".join(content for _, content in messages)
        finals = [final.strip() for final in _PAIR.findall(text)]
        before, _, notes = text.rpartition("\n\n")
        if _ASKS.search(text):
            lines = [line for line in text.splitlines() if style_in(line) or PLAIN in line]
            phrase = named(self.read(finals, self.error) if finals else majority([style_in(line) for line in lines]))
            return f"<preference>{phrase}</preference>" if "<preference>" in text else phrase
        return written(notes, self.read(finals, self.imitate) if finals else style_in(before))

    def read(self, finals: Sequence[str], error: float) -> Style:
        """Return the style that most of the texts show, each trait misread with this probability."""
        said = "\0".join([str(self.seed), *finals])
        key = hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=16).digest()
        wrong = np.random.default_rng(int.from_bytes(key, "big")).random(len(TRAITS)) < error
        seen = majority([style_of(text) for text in finals])
        return frozenset(name for name, flip in zip(TRAITS, wrong, strict=True) if (name in seen) != flip)
