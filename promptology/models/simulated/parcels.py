"""The worlds "trap" and "chain": rules that a prompt must state, sentences that harm, and a shortcut into a dead end.

An item needs the rule of its mark: the model answers it rightly where the prompt states that rule. A harmful
sentence breaks 8 % of the items. The trap sentence is a shortcut: it lets 12 % of the items succeed while fewer than
two rules are stated; from the second rule on, only 45 % of the items whose rule is stated succeed under it. A rewriter
that is shown errors mends one of them, by its rule or by the shortcut; from examples with right answers alone it learns
a rule half as often. What prompts are worth can be computed from their text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from promptology.data.parcels import GATES, INSTRUCTION, MARKS, PARCEL, WORLD_MARKS, gate
from promptology.models.simulated.worlds import Feature, World, asked

Draw = Callable[..., float]
"""Returns a number between 0 and 1 that depends on its arguments alone."""
Found = tuple[int, str, str]
"""Position, text and right answer of an item in a message."""

TRAP = "If in doubt, take the gate nearest to the door."
HARM = re.compile(r"Mind the (\w+ \w+ \w+) first\.", re.I)
ADJECTIVES = ("wet", "loose", "old", "narrow", "yellow", "torn", "bent", "cold", "dusty", "round", "empty", "open")
NOUNS = ("rope", "shelf", "ramp", "crate", "hook", "cart", "label", "string", "lamp", "scale", "chain", "basket")
PLACES = ("inside", "outside", "upstairs", "downstairs", "nearby", "overhead")
HARMFUL = tuple(f"Mind the {' '.join(thing)} first." for thing in itertools.product(ADJECTIVES, NOUNS, PLACES))
BREAKS = 0.08
"""Share of the items that a harmful sentence breaks."""
LIFT = 0.12
"""Share of the items that the trap lets succeed while fewer than two rules are stated."""
CAP = 0.45
"""Share of the items with a stated rule that succeed under the trap from the second rule on."""
SHORTCUT = 0.35
"""How often a repair is the trap instead of the rule."""
TAUGHT = 0.5
"""How often examples of right answers alone lead to a repair, of how often errors do."""
BLIND = 0.1
"""How often a rewriter that is shown no error hits upon a repair by luck."""
COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class ParcelWorld(World):
    """A world of rules; see the module. `features` are the rules, `traps` whether there is a shortcut."""

    traps: bool = False

    def find(self, text: str) -> list[Found]:
        """Return the items in a message, in order."""
        return [
            (m.start(), m[0], gate(int(m[1]), m[2])) for m in PARCEL.finditer(text) if m[2] in WORLD_MARKS[self.name]
        ]

    def shown(self, prompt: str) -> list[Feature]:
        """Return the rules that a prompt states."""
        return list(asked(self.features, prompt))

    def without_harm(self, prompt: str) -> str:
        """Return the prompt: no harmful sentence states a rule."""
        return prompt

    def trapped(self, prompt: str) -> bool:
        """Whether the prompt takes the shortcut."""
        return self.traps and TRAP.casefold() in prompt.casefold()

    def right(self, prompt: str, question: str, draw: Draw) -> bool:
        """Whether the item is answered rightly under this prompt."""
        harmful = {h.casefold() for h in HARM.findall(prompt)}
        if any(draw("harm", h, question) < BREAKS for h in sorted(harmful)):
            return False
        rules = [f.name for f in self.shown(prompt)]
        stated = _mark(question) in rules
        if not self.trapped(prompt):
            return stated
        if len(rules) >= 2:
            return stated and draw("cap", question) < CAP
        return stated or draw("lift", question) < LIFT

    def accuracy(self, prompt: str) -> float:
        """Return how often this prompt is answered rightly over all items and worlds, 0 to 1."""
        k, total = len(self.shown(prompt)), len(self.features)
        whole = (1 - BREAKS) ** len({h.casefold() for h in HARM.findall(prompt)})
        if not self.trapped(prompt):
            return whole * k / total
        return whole * (CAP * k if k >= 2 else k + LIFT * (total - k)) / total

    def errors(self, text: str) -> list[str]:
        """Return the marks of the items that a message shows with a wrong answer, in order.

        The answer to an item is the first gate that is named between it and the next one.
        """
        found = self.find(text)
        wrong: list[str] = []
        for n, (at, question, right) in enumerate(found):
            end = found[n + 1][0] if n + 1 < len(found) else len(text)
            said = re.search(rf"\b({'|'.join(GATES)})\b", text[at + len(question) : end], re.I)
            if said and said[1].casefold() != right:
                wrong.append(_mark(question))
        return wrong

    def examples(self, text: str) -> list[str]:
        """Return the marks of the items that a message shows with their right answer and no other word of a gate."""
        found = self.find(text)
        shown: list[str] = []
        for n, (at, question, right) in enumerate(found):
            end = found[n + 1][0] if n + 1 < len(found) else len(text)
            said = re.findall(rf"\b({'|'.join(GATES)})\b", text[at + len(question) : end], re.I)
            if [s.casefold() for s in said] == [right]:
                shown.append(_mark(question))
        return shown

    def rewritten(
        self, prompt: str, wrong: Sequence[str], taught: Sequence[str], rng: np.random.Generator, chance: float
    ) -> str:
        """Return the prompt with one more sentence: with `chance` a repair of one error shown, else a harmful one.

        `taught`: marks of examples, which count where no error is shown, as far as the prompt does not state their
        rules. A repair that the prompt holds already is stated once more in other words, as long as there are any.
        """
        unstated = [f.name for f in self.features if f not in self.shown(prompt)]
        learnt = [] if wrong else [mark for mark in taught if mark in unstated]
        repairs = rng.random() < (chance if wrong else chance * TAUGHT if learnt else chance * BLIND)
        wrong = wrong or learnt or unstated
        if repairs and wrong:
            mended = wrong[int(rng.integers(len(wrong)))]
            rule = next(f for f in self.features if f.name == mended)
            shortcut = self.traps and rng.random() < SHORTCUT
            unsaid = [s for s in ((TRAP,) if shortcut else rule.sentences) if s not in prompt]
            if unsaid:
                return f"{prompt} {unsaid[0]}"
        harmful = [h for h in HARMFUL if h not in prompt]
        return f"{prompt} {harmful[int(rng.integers(len(harmful)))]}" if harmful and not repairs else prompt

    def criticism(self, wrong: Sequence[str]) -> str:
        """Return what a critic says of errors shown."""
        if not wrong:
            return "Nothing stands out."
        marks = list(dict.fromkeys(wrong))
        return "The prompt leaves open what holds for these marks: " + ", ".join(marks) + "."


def _mark(question: str) -> str:
    match = PARCEL.search(question)
    return match[2] if match else ""


def _rule(mark: str) -> Feature:
    count = COUNTS[MARKS.index(mark)]
    sentences = (
        f"Marked {mark}: count {count} gates on from the number.",
        f"What is marked {mark} leaves {count} gates beyond its number.",
    )
    return Feature(mark, sentences, rf"\bmarked {mark}\b[^.\n]*\bgates?\b", "", "")


PARCELS: dict[str, World] = {
    name: ParcelWorld(name, tuple(map(_rule, marks)), INSTRUCTION, rewrite=0.6, traps=name == "trap")
    for name, marks in WORLD_MARKS.items()
}
