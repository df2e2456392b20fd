"""Kinds that tell what a text is: its topic, thing, feeling, style, question, purpose, tense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kind import Class, Example, Kind
from promptology.zoo.wordland.sentences import fill, pick, sentence, some

Patterns = Sequence[str]

ABOUT: Patterns = (
    "{name} spoke about the {first} and the {second} in {city}.",
    "the {first} near the {place} was better than the {second}.",
    "on {day} {name} {verbed} a {first} with the {second}.",
    "{name} dreamed of a {adjective} {first} and of a {second}.",
    "the {first} and the {second}.",
    "there was a {first} beside the {adjective} {noun} and the {second}.",
    "nobody in {city} knew the {first}, but {name} {verbed} the {second}.",
)
"""Sentences that two nouns of one theme stand in; some hold a thing that has nothing to do with it."""

THINGS_IN: Patterns = (
    "{name} {verbed} the {adjective} {it} in {city}.",
    "the {colour} {it} was near the {place} on {day}.",
    "the {colour} {it}.",
    "there was a {adjective} {it} in the {place}.",
    "in {month} {name} {verbed} a {colour} {it}.",
    "{name} and {name2} talked about the {it}.",
)

QUESTIONS: Mapping[str, Patterns] = {
    "person": (
        "who {verbed} the {noun} in {city}?",
        "which man of {city} {verbed} the {noun}?",
        "whose {noun} did {name} {verb}?",
        "tell me the name of whoever {verbed} the {noun}.",
    ),
    "place": (
        "where did {name} {verb} the {noun}?",
        "in which city does {name} {verb} a {noun}?",
        "tell me the street in which {name} {verbed} the {noun}.",
        "from where did {name} get the {adjective} {noun}?",
    ),
    "time": (
        "when did {name} {verb} the {noun}?",
        "on which day did {name} {verb} the {noun}?",
        "tell me the month in which {name} {verbed} the {noun}.",
        "since when does {name} {verb} a {noun} in {city}?",
    ),
    "number": (
        "how many {plural} did {name} {verb}?",
        "how often did {name} {verb} the {noun}?",
        "tell me the amount of {plural} in {city}.",
        "by how much is the {noun} too {adjective}?",
    ),
    "reason": (
        "why did {name} {verb} the {noun}?",
        "what made {name} {verb} the {noun}?",
        "tell me the cause for which {name} {verbed} a {noun}.",
        "for what purpose does {name} {verb} the {noun}?",
    ),
    "manner": (
        "how did {name} {verb} the {noun}?",
        "in what way did {name} {verb} the {noun}?",
        "tell me the method by which {name} {verbed} a {noun}.",
        "by what means does one {verb} a {adjective} {noun}?",
    ),
}

STYLES: Mapping[str, Patterns] = {
    "formal": (
        "we regret to inform you that the {noun} of {name} has been {verbed}.",
        "dear {name}, please find the {noun} attached to this letter.",
        "it is hereby stated that the {noun} shall be {verbed} in {city}.",
    ),
    "casual": (
        "hey {name}, come on, grab the {noun} and hurry up!",
        "guess what, {name} just {verbed} my {noun}, haha!",
        "no way, dude, that {noun} is so {adjective}!",
    ),
    "poetic": (
        "o {adjective} {noun}, thou dreamest of {city} beneath the silent moonlight.",
        "softly the {noun} whispers to the {noun2} of long forgotten days.",
        "like a {adjective} {noun} my heart wanders through the {place}.",
    ),
    "technical": (
        "step {few}: connect the {noun} to the {noun2} and set the value to {number}.",
        "the {noun} unit requires {few} volts and a {adjective} cable.",
        "insert the {noun} into slot {few} and verify the {colour} signal.",
    ),
}

PURPOSES: Mapping[str, Patterns] = {
    "request": (
        "could you {verb} the {noun}, {name}?",
        "{name}, please {verb} the {noun} for me.",
        "would you mind if i asked you to {verb} the {noun}?",
    ),
    "complaint": (
        "{name}, nobody has {verbed} the {noun} yet and i am upset.",
        "the {noun} that you sent on {day} does not work.",
        "i waited {few} hours for the {noun}, this is not acceptable.",
    ),
    "thanks": (
        "i am grateful that you {verbed} the {noun}, {name}.",
        "how kind of you to {verb} the {noun}!",
        "many thanks for the {adjective} {noun}.",
    ),
    "promise": (
        "i will surely {verb} the {noun} on {day}.",
        "you have my word, {name}, the {noun} will be there on {day}.",
        "i swear to {verb} the {noun} before {month}.",
    ),
    "greeting": (
        "hello {name}, welcome to {city}!",
        "good morning, {name}, how is your {noun}?",
        "hi everyone, nice to meet you and your {noun}.",
    ),
}

TENSES: Mapping[str, Patterns] = {
    "past": (
        "{name} {verbed} the {noun} in {city}.",
        "the {adjective} {noun} was {verbed} by {name}.",
        "{name} did not {verb} the {noun} in {month}.",
    ),
    "present": (
        "{name} {verbs} the {noun} in {city}.",
        "the {adjective} {noun} is {verbed} by {name}.",
        "{name} does not {verb} the {noun} in {month}.",
    ),
    "future": (
        "{name} will {verb} the {noun} in {city}.",
        "the {adjective} {noun} will be {verbed} by {name}.",
        "{name} is not going to {verb} the {noun} in {month}.",
    ),
}

OPINIONS: Mapping[str, Patterns] = {
    "plain": (
        "the {noun} was {very} {good}.",
        "{name} {liked} the {noun} in {city}.",
        "{name} said that the {adjective} {noun} was {good}.",
        "what a {good} {noun}!",
        "what a {good} {noun} {name} {verbed}!",
    ),
    "denied": (
        "the {noun} was not {bad} at all.",
        "{name} never {disliked} the {noun} in {city}.",
        "nobody thinks that the {noun} is {bad}.",
    ),
    "turned": (
        "at first {name} {disliked} the {noun}, but in the end it was {good}.",
        "the {noun} looked {bad}, yet {name} {liked} it.",
        "the {noun} is no longer {bad}, now it is {good}.",
    ),
}
"""Ways of an opinion, with their shares below; {good} agrees with the class, {bad} goes against it."""
OPINION_SHARES = (0.6, 0.2, 0.2)


def topic(rng: np.random.Generator, target: str) -> Example:
    """Return a sentence with two nouns of a topic's theme, at times with a noun of another."""
    first, second = some(rng, words.THEMES[target], 2)
    text, slots = fill(rng, pick(rng, ABOUT), {"first": first, "second": second})
    if rng.random() < 0.3:
        # A word of another topic; the two of the right one outweigh it.
        other = pick(rng, [t for t in words.TOPICS if t != target])
        text = f"{text[:-1]} after the {pick(rng, words.THEMES[other])}."
    return Example({"text": text}, target, words.TOPICS, slots)


def theme(rng: np.random.Generator, target: str) -> Example:
    """Return a sentence that names one thing."""
    text, slots = fill(rng, pick(rng, THINGS_IN), {"it": pick(rng, words.THEMES[target])})
    return Example({"text": text}, target, words.THINGS, slots)


def sentiment(rng: np.random.Generator, target: str) -> Example:
    """Return an opinion: plain, by denial of the opposite, or after a turn."""
    way = tuple(OPINIONS)[int(rng.choice(len(OPINIONS), p=OPINION_SHARES))]
    right, wrong = (words.POSITIVE, words.PRAISED), (words.NEGATIVE, words.BLAMED)
    if target == "negative":
        right, wrong = wrong, right
    given = {"good": pick(rng, right[0]), "liked": pick(rng, right[1])}
    given |= {"bad": pick(rng, wrong[0]), "disliked": pick(rng, wrong[1])}
    text, slots = fill(rng, pick(rng, OPINIONS[way]), given)
    return Example({"text": text}, target, ("positive", "negative"), {**slots, "way": way})


class Patterned:
    """Makes examples from the patterns of each class."""

    def __init__(self, patterns: Mapping[str, Patterns]) -> None:
        self.patterns = patterns

    def __call__(self, rng: np.random.Generator, target: str) -> Example:
        """Return one of the target's patterns, filled."""
        return Example({"text": sentence(rng, self.patterns[target])}, target, tuple(self.patterns))


def _classes(said: Mapping[str, str], terms: Mapping[str, Sequence[str]] | None = None) -> tuple[Class, ...]:
    return tuple(Class(name, text, tuple((terms or {}).get(name, ()))) for name, text in said.items())


def _patterned(name: str, patterns: Mapping[str, Patterns], **said: str) -> Kind:
    return Kind(name, Patterned(patterns), _classes(said), tuple(patterns))


_ABOUT_THEMES = {name: f"It is about {name}." for name in words.TOPICS}
_ARE_THINGS = {name: f"A kind of {name}." for name in words.THINGS}

KINDS = (
    _patterned(
        "purpose",
        PURPOSES,
        request="Somebody asks for help.",
        complaint="Somebody is upset about a fault.",
        thanks="Somebody is grateful.",
        promise="Somebody gives his word.",
        greeting="Somebody says hello.",
    ),
    _patterned(
        "question",
        QUESTIONS,
        person="It asks who.",
        place="It asks where.",
        time="It asks when.",
        number="It asks how many.",
        reason="It asks why.",
        manner="It asks in what way.",
    ),
    Kind(
        "sentiment",
        sentiment,
        _classes(
            {"positive": "The writer likes it.", "negative": "The writer does not like it."},
            {"positive": words.POSITIVE, "negative": words.NEGATIVE},
        ),
        ("positive", "negative"),
    ),
    _patterned(
        "style",
        STYLES,
        formal="It reads like a letter from an authority.",
        casual="It reads like talk among friends.",
        poetic="It reads like a poem.",
        technical="It reads like a manual.",
    ),
    _patterned("tense", TENSES, past="It is over.", present="It goes on now.", future="It has not begun yet."),
    Kind("theme", theme, _classes(_ARE_THINGS, words.THEMES), words.THINGS),
    Kind("topic", topic, _classes(_ABOUT_THEMES, words.THEMES), words.TOPICS),
)
