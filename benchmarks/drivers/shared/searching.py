"""What the sides of B8 share: one counter of calls, the one model behind all of them, and what is noted as they search.

The model is task model and rewriter at once, and is never told who asks: a solver's request is the prompt in the frame
that all sides share, a rewriter's is the side's own meta-prompt, word for word. Each is one call.
"""

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))

from promptology.models.simulated import SimulatedChat

NO_PROMPT = re.compile(r"[<>`\[\]{}\n]")
"""What no prompt of these worlds holds: left-overs of a form, of a fence, of a list of examples."""


class Spent(BaseException):
    """The calls are used up. No `Exception`, so that no package takes it for a failed call and goes on."""


class Counter:
    """Counts every call, and notes after which call what would have been returned."""

    def __init__(self, allowed):
        self.allowed = allowed
        self.calls = self.proposals = self.usable = 0
        self.kept = []

    def take(self):
        """Count a call, or end the search where there is none left."""
        if self.calls >= self.allowed:
            raise Spent
        self.calls += 1

    def keep(self, prompt):
        """Note what the search would return if it ended now."""
        if not self.kept or self.kept[-1][1] != prompt:
            self.kept.append([self.calls, prompt])

    def proposed(self, prompt, known):
        """Note whether a proposal came back as a usable prompt; `known`: sentences of its world."""
        self.proposals += 1
        self.usable += usable(prompt, known)

    def to_json(self):
        """Return what was noted."""
        return {"calls": self.calls, "kept": self.kept, "proposals": self.proposals, "usable": self.usable}


def usable(prompt, known):
    """Whether a text is a prompt of its world and nothing else: it holds a sentence that the rewriter writes."""
    return any(sentence in prompt for sentence in known) and not NO_PROMPT.search(prompt)


class Models:
    """The task's model and the rewriter of one search."""

    def __init__(self, spec, case, counter):
        self.chat = chat_of(spec, case)
        self.spec, self.counter, self.asked = spec, counter, 0

    def solve(self, prompt, text):
        """Return the task model's answer to an input under a prompt."""
        self.counter.take()
        return self.chat.reply([("user", framed(self.spec["frame"], prompt, text))])

    def write(self, request):
        """Return the rewriter's reply to a meta-prompt: a new sample each time."""
        self.counter.take()
        self.asked += 1
        return self.chat.reply([("user", request)], self.asked, 1.0)


def chat_of(spec, case):
    """Return the model of a case: the simulated one of its world and seed, or one that reads a table."""
    if "table" in spec:
        from wordings import TableChat

        return TableChat(spec, case["seed"])
    return SimulatedChat(spec["world"], seed=case["seed"])


def framed(frame, prompt, text):
    """Return the request for an answer: the prompt and an input in the frame that all sides share."""
    return frame.replace("@prompt@", prompt).replace("@input@", text)


def searched(spec, stopwatch, search):
    """Run `search(case, models)` on every case until its calls are used up; return what was noted, by case."""
    found = []
    for case in spec["cases"]:
        counter = Counter(spec["calls"])
        models = Models(spec, case, counter)
        with stopwatch.running(), suppress(Spent):
            search(case, models)
        found.append(counter.to_json())
    return {"found": found}


def one_word(text, classes):
    """Return a text with the names of classes of several words written as one word each."""
    for name in classes:
        text = text.replace(name, squeezed(name))
    return text


def squeezed(name):
    """Return a class's name without spaces."""
    return name.replace(" ", "")


def list_of(text):
    """Return the prompts of a reply in JSON; empty where it holds none."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) else []
