"""Worlds of the simulated model: which sentences of a prompt matter, and what an answer is worth."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BUNDLED = Path(__file__).parents[2] / "data" / "bundled"


@dataclass(frozen=True)
class Feature:
    """Something a prompt can ask for.

    `sentences`: wordings that the rewriter uses (the first one) and paraphrases with; `pattern`: what shows the
    feature in any prompt; `mark`: the sentence it puts into an answer; `harm`: a sentence that hides it again.
    """

    name: str
    sentences: tuple[str, ...]
    pattern: str
    mark: str
    harm: str

    def asked(self, prompt: str) -> bool:
        """Whether a prompt asks for it, in any of its wordings."""
        return any(s.casefold() in prompt.casefold() for s in self.sentences) or bool(
            re.search(self.pattern, prompt, re.I)
        )

    def hidden(self, prompt: str) -> bool:
        """Whether a harmful sentence hides it."""
        return self.harm.casefold() in prompt.casefold()


@dataclass(frozen=True)
class World:
    """A world: its features, a starting prompt, inputs without labels, and (for classification) known texts.

    `base` and `top`: accuracy with no feature and with all of them shown; `rewrite`: how often a proposal adds a
    missing feature, where the model is not told otherwise.
    """

    name: str
    features: tuple[Feature, ...]
    start: str
    inputs: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)
    base: float = 0.0
    top: float = 1.0
    rewrite: float = 0.4

    def shown(self, prompt: str) -> list[Feature]:
        """Return the features that a prompt asks for and does not hide."""
        bare = self.without_harm(prompt)
        return [f for f in asked(self.features, bare) if not f.hidden(prompt)]

    def without_harm(self, prompt: str) -> str:
        """Return the prompt without harmful sentences, whose wording must not count as asking."""
        return _without(self.features, prompt)

    def hidden_quality(self, prompt: str) -> float:
        """Return the share of required features that are shown and not hidden, 0 to 1."""
        return len(self.shown(prompt)) / len(self.features)


@functools.lru_cache(maxsize=256)
def asked(features: tuple[Feature, ...], prompt: str) -> tuple[Feature, ...]:
    """Return the features that a prompt asks for. Remembered, as a search puts the same prompt to many items."""
    return tuple(f for f in features if f.asked(prompt))


@functools.lru_cache(maxsize=256)
def _without(features: tuple[Feature, ...], prompt: str) -> str:
    for f in features:
        prompt = re.sub(re.escape(f.harm), " ", prompt, flags=re.I)
    return prompt


REPLY = (
    Feature(
        "greeting",
        ("Open with a friendly greeting.", "Begin with a warm hello."),
        r"\b(greet|greeting|say hello|warm hello)\b",
        "Hello and thank you for writing to us.",
        "Skip any greeting.",
    ),
    Feature(
        "restate",
        ("Say back in your own words what went wrong.", "Sum up the customer's problem first."),
        r"\b(restate|summari[sz]e the problem|sum up|in your own words)\b",
        "As I understand it, something did not go the way you expected.",
        "Do not repeat what the customer wrote.",
    ),
    Feature(
        "apology",
        ("Apologise for the trouble.", "Say sorry for the inconvenience."),
        r"\b(apologi[sz]e|say sorry)\b",
        "I am sorry for the trouble this has caused.",
        "Never admit a mistake.",
    ),
    Feature(
        "step",
        ("Name the one thing that happens next.", "Tell the customer the next step."),
        r"\b(next step|happens next)\b",
        "The next step is that a colleague checks your order by hand.",
        "Leave open what will be done.",
    ),
    Feature(
        "time",
        ("Give a date or a number of days.", "Say how long it will take."),
        r"\b(number of days|how long|time frame|deadline)\b",
        "This will take no longer than two working days.",
        "Promise no dates at all.",
    ),
    Feature(
        "contact",
        ("Offer a direct way to reach us.", "Add a phone number for further questions."),
        r"\b(way to reach|phone number|contact details)\b",
        "You can reach me directly at extension 214.",
        "Do not tell how we can be reached.",
    ),
    Feature(
        "thanks",
        ("Thank the customer for the patience.", "Show that you value their patience."),
        r"\b(thank the customer|value their patience|express thanks)\b",
        "Your patience means a lot to us.",
        "Keep every word of thanks out.",
    ),
    Feature(
        "signature",
        ("Close with a name and the team.", "Sign the reply."),
        r"\b(sign the reply|signature|close with a name)\b",
        "Kind regards, Mara from customer care.",
        "End without any name.",
    ),
)

MESSAGES = (
    "The kettle I ordered came with a cracked lid.",
    "Nobody answered my mail from last Monday.",
    "I paid twice for the same pair of boots.",
    "The courier left my box in the rain.",
    "Can you tell me why my voucher was refused?",
    "The lamp flickers since the first evening.",
    "My coffee box did not arrive this month.",
    "I would like to change the address of my order.",
    "The jacket is two sizes smaller than the label says.",
    "Your shop page turns white when I press pay.",
    "I sent the mixer back three weeks ago and heard nothing.",
    "The manual in the parcel is in a language I cannot read.",
    "The vacuum cleaner smells burnt after five minutes.",
    "Somebody else's invoice was in my parcel.",
    "I was promised a call back on Friday.",
    "The screws for the shelf are missing.",
    "My gift card shows a balance of zero.",
    "The blender is louder than your page claims.",
    "I cannot find where to stop the weekly letter.",
    "The tent has a hole near the zip.",
    "Why did the price rise after I put it in the basket?",
    "The rug lost its colour in the first wash.",
    "My order number is not recognised on the phone.",
    "The chair wobbles on a flat floor.",
)

SORTING = (
    Feature(
        "classes",
        ("Choose among the classes that are listed.", "Pick one of the categories given."),
        r"classes:\s*\n\s*-|\bone of\b.*,.*,|among the classes|categories given",
        "",
        "Invent a class of your own if you like.",
    ),
    Feature(
        "wish",
        (
            "Decide by what the customer wants, not by what is mentioned in passing.",
            "Go by the request itself and ignore side remarks.",
        ),
        r"in passing|side remarks?|what the (customer|writer|user|person) (wants|asks|needs)|by the request",
        "",
        "Go by the first topic that is mentioned.",
    ),
    Feature(
        "whole",
        ("Read the whole message before you decide.", "Take in the message to its end first."),
        r"(whole|entire|complete) (message|text|ticket)|to its end",
        "",
        "The first few words are enough.",
    ),
    Feature(
        "main",
        (
            "If two classes fit, take the one that would solve the problem.",
            "When several classes fit, prefer the one that settles the matter.",
        ),
        r"(two|several|more than one|multiple) (classes|labels|categories)",
        "",
        "If two classes fit, take either.",
    ),
    Feature(
        "name",
        ("Answer with the name of one class only.", "Reply with nothing but the class name."),
        r"(name of (one|the) class|class name|only the (label|class|category)|one word|label only|class only)",
        "",
        "Explain your answer at length.",
    ),
    Feature(
        "think",
        ("Think about which team could help.", "Ask yourself who would have to act."),
        r"which team|who would have to act|step by step|think (about|carefully|through)",
        "",
        "Do not think, guess.",
    ),
)


@functools.cache
def tickets_known() -> dict[str, str]:
    """Return the bundled tickets with their labels, which the simulated model "knows"."""
    path = BUNDLED / "tickets.jsonl"
    if not path.is_file():
        return {}
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["text"]: row["label"] for row in rows}


WORLDS: dict[str, World] = {
    "features": World("features", REPLY, "Write a reply to this customer message.", MESSAGES),
    "tickets": World("tickets", SORTING, "Sort this customer message.", base=0.45, top=0.92, rewrite=0.7),
}
