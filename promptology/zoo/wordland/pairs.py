"""Kinds that set two things against each other: two sentences, or two marked words of one."""

from __future__ import annotations

import numpy as np

from promptology.zoo.wordland import words
from promptology.zoo.wordland.kind import Class, Example, Kind
from promptology.zoo.wordland.sentences import articles, fill, pick, sentence, some

ANSWERS = ("yes", "no", "maybe")
SAMENESS = ("same", "different")
RELATIONS = ("opposite", "synonym", "kind", "plural", "unrelated")
PLURAL_THEMES = ("animal", "fruit", "tool")

MARKED = (
    "{name} wrote [{one}] beside [{two}] on the wall.",
    "after [{one}] comes [{two}] in the book of {name}.",
    "the words [{one}] and [{two}] were found in {city}.",
    "{name} said [{one}], and {name2} said [{two}].",
)


def inference(rng: np.random.Generator, target: str) -> Example:
    """Return a premise with who, what, which colour and where, and a hypothesis that it proves, excludes or leaves."""
    premise, s = fill(rng, "{name} {verbed} a {colour} {noun} in {city}.")
    name, noun, theme = s["name"], s["noun"], words.THEME_OF[s["noun"]]
    if target == "yes":
        options = [f"{name} was in {s['city']}.", f"the {noun} was {s['colour']}.", f"{name} {s['verbed']} a {noun}."]
        options.append(f"something {s['colour']} was in {s['city']}.")
        options.append(f"the {noun} is a kind of {theme}.")
    elif target == "no":
        other = pick(rng, [c for c in words.COLOURS if c != s["colour"]])
        options = [f"{name} was in {pick(rng, [c for c in words.CITIES if c != s['city']])}."]
        options += [f"the {noun} was {other}.", f"nobody {s['verbed']} a {noun}."]
        options.append(f"nothing {s['colour']} was in {s['city']}.")
        options.append(f"the {noun} is a kind of {pick(rng, [t for t in words.THINGS if t != theme])}.")
    else:
        patterns = ("{adjective}", "{very} {positive}", "{very} {negative}")
        options = [sentence(rng, tuple(f"the {noun} was {p}." for p in patterns))]
        friend = pick(rng, [n for n in words.NAMES if n != name])
        options += [f"{friend} was in {s['city']}.", f"{name} met {friend}.", f"{friend} {s['verbed']} a {noun}."]
        options.append(sentence(rng, (f"it was {{day}} in {s['city']}.",)))
    return Example({"premise": premise, "hypothesis": articles(pick(rng, options))}, target, ANSWERS, s)


def paraphrase(rng: np.random.Generator, target: str) -> Example:
    """Return two sentences with other verbs and in another order, which say the same, or differ in who, what, where."""
    verb = pick(rng, tuple(words.SYNONYM))
    first, s = fill(rng, f"{{name}} {verb} the {{colour}} {{noun}} in {{city}}.")
    other = dict(s)
    if target == "different":
        slot = pick(rng, ("name", "colour", "noun", "city", "verb"))
        if slot == "verb":
            verb = pick(rng, [v for v in words.SYNONYM if v not in (verb, words.SYNONYM[verb])])
        else:
            pool = {"name": words.NAMES, "colour": words.COLOURS, "noun": words.THING_NOUNS, "city": words.CITIES}
            other[slot] = pick(rng, [w for w in pool[slot] if w != s[slot]])
    verb = words.SYNONYM[verb] if rng.random() < 0.7 else verb
    patterns = (
        f"in {{city}} {{name}} {verb} the {{colour}} {{noun}}.",
        f"it was {{name}} who {verb} the {{colour}} {{noun}} in {{city}}.",
        f"in {{city}} the {{colour}} {{noun}} was {verb} by {{name}}.",
    )
    return Example({"first": first, "second": sentence(rng, patterns, **other)}, target, SAMENESS, s)


def relation(rng: np.random.Generator, target: str) -> Example:
    """Return a sentence with two words in brackets; the first stands to the second in the target's relation."""
    if target == "opposite":
        one = pick(rng, words.ADJECTIVES)
        two = words.OPPOSITE[one]
    elif target == "synonym":
        one = pick(rng, tuple(words.SYNONYM))
        two = words.SYNONYM[one]
    elif target == "kind":
        one = pick(rng, words.THING_NOUNS)
        two = words.THEME_OF[one]
    elif target == "plural":
        one = pick(rng, words.THEMES[pick(rng, PLURAL_THEMES)])
        two = words.plural(one)
    else:
        one, two = _unrelated(rng)
    text, slots = fill(rng, pick(rng, MARKED), {"one": one, "two": two})
    return Example({"text": text}, target, RELATIONS, slots)


def _unrelated(rng: np.random.Generator) -> tuple[str, str]:
    """Return two words of one sort that have nothing to do with each other, or a thing and a wrong theme."""
    sort = int(rng.integers(4))
    if sort == 0:
        one = pick(rng, words.ADJECTIVES)
        return one, pick(rng, [a for a in words.ADJECTIVES if a not in (one, words.OPPOSITE[one])])
    if sort == 1:
        one = pick(rng, tuple(words.SYNONYM))
        return one, pick(rng, [v for v in words.SYNONYM if v not in (one, words.SYNONYM[one])])
    if sort == 2:
        one = pick(rng, words.THING_NOUNS)
        return one, pick(rng, [t for t in words.THINGS if t != words.THEME_OF[one]])
    one, two = some(rng, [n for theme in PLURAL_THEMES for n in words.THEMES[theme]], 2)
    return one, words.plural(two) if words.plural(two) != one else words.plural(one)


KINDS = (
    Kind(
        "inference",
        inference,
        (
            Class("yes", "The first sentence proves the second."),
            Class("no", "The first sentence excludes the second."),
            Class("maybe", "The first sentence leaves the second open."),
        ),
        ANSWERS,
        ("premise", "hypothesis"),
    ),
    Kind(
        "paraphrase",
        paraphrase,
        (Class("same", "Both say one thing."), Class("different", "They say two things.")),
        SAMENESS,
        ("first", "second"),
    ),
    Kind(
        "relation",
        relation,
        (
            Class("opposite", "The words mean contrary things."),
            Class("synonym", "The words mean one thing."),
            Class("kind", "The second names the kind of the first."),
            Class("plural", "The second is many of the first."),
            Class("unrelated", "The words have nothing in common."),
        ),
        RELATIONS,
    ),
)
