"""A model that is right as often as its prompt says, and that proposes what a test tells it to."""

from __future__ import annotations

import re
from itertools import count

import promptology as pt

TASK = pt.Task(
    [(f"train {n}", "yes" if n % 2 else "no") for n in range(12)],
    [(f"validation {n}", "yes" if n % 2 else "no") for n in range(60)],
    [(f"test {n}", "yes" if n % 2 else "no") for n in range(4)],
    signature=pt.Signature(
        output="class", classes=(pt.ClassLabel("yes"), pt.ClassLabel("no")), instruction="Skill 20."
    ),
)
"""Whoever is asked with "Skill 70." is right on 42 of the 60 validation items."""


class Skilled:
    """Answers as the first line of its prompt says, "Skill 70. ..."; proposes the given prompts in turn.

    `asked`: requests for prompts with their temperatures; `answered`: (instruction, question, temperature), and beside
    it in `before` all that stood before the question; `described`: how often it was asked to describe data.
    """

    local = False
    name = identity = "skilled"

    def __init__(self, prompts=None):
        self.prompts = iter(prompts or (f"Skill {(37 * n) % 101}. Version {n}." for n in count(1)))
        self.asked = []
        self.answered = []
        self.before = []
        self.described = 0

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            text = request.messages[-1][1]
            if "between <prompt> and </prompt>" in text:
                self.asked.append((text, request.temperature))
                yield n, pt.Answer(f"<prompt>{next(self.prompts)}</prompt>")
            elif text.rstrip().endswith("easy to overlook."):
                self.described += 1
                yield n, pt.Answer("Numbered items.")
            else:
                yield n, pt.Answer(self.answer(text, request.temperature))

    def answer(self, text, temperature):
        instruction, question = text.splitlines()[0], text.split("\n\n")[-1]
        self.answered.append((instruction, question, temperature))
        self.before.append(text.removesuffix(question))
        number = int(question.split()[-1])
        right = (number * 37 + 11) % 60 < 0.6 * int(re.search(r"Skill (\d+)", text)[1])
        return "yes" if right == bool(number % 2) else "no"


def fit(model, method, task=TASK, seed=0):
    return pt.fit(task, model, method, budget="1000000calls", cache=False, seed=seed)


def steps(result, name):
    """Return what the history notes under a name."""
    return [h["values"] for h in result.history if h["step"] == name]


def block(text, tag):
    """Return what stands in a block of a request."""
    return re.search(rf"<{tag}>\n(.*?)\n</{tag}>", text, re.S)[1]
