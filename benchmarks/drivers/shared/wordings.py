"""The world of real texts in B8: wordings of template search on MiniLM, whose scores stand in a table.

A prompt is one sentence that names a template for inputs and one for labels. The task's model looks up whether MiniLM
is right under it; the rewriter is a program that changes one of the two templates, reads meta-prompts as the simulated
chat model does and replies in the form they ask for. It is shown nothing that tells it which wording is better.
"""

import json
import re
import zlib

import numpy as np

from promptology.models.simulated.crossing import mutates, parents, wanted
from promptology.models.simulated.skills import current_prompt, fill_form, skill_of

SENTENCE = re.compile(r'Compare "([^"]+)" with "([^"]+)"\.')


class TableChat:
    """Answers from a table of scores, shape (wordings, items), 1 where right."""

    name = identity = "minilm-table"

    def __init__(self, spec, seed):
        table = spec["table"]
        self.seed = seed
        self.wordings = table["wordings"]
        self.scores = np.array(table["scores"], float)
        self.rows = {wording: n for n, wording in enumerate(self.wordings)}
        self.items = {text: n for n, text in enumerate(table["texts"])}
        self.labels, self.classes = table["labels"], spec["classes"]
        pairs = [SENTENCE.fullmatch(w).groups() for w in self.wordings]
        self.inputs, self.templates = (list(dict.fromkeys(p[n] for p in pairs)) for n in (0, 1))

    def reply(self, messages, seed=None, temperature=0.0):
        """Return the answer to a question, or a changed wording."""
        text = "\n\n".join(content for _, content in messages)
        question = text.rstrip().rpartition("\n\n")[2].removeprefix("Input: ").removesuffix("\nOutput:")
        if question in self.items:
            return self.answer(text, self.items[question])
        rng = np.random.default_rng([self.seed, seed or 0, zlib.crc32(text.encode())])
        if count := wanted(text):
            return json.dumps([self.any(rng) for _ in range(count)])
        skill = skill_of(text, len(text))
        if skill in ("rewrite", "paraphrase"):
            return fill_form(text, prompt=self.changed(text, rng), thought="Other words may fit better.")
        return "Other words may fit better."

    def answer(self, text, item):
        """Return the right class where the wording is right on this item, else the class after it."""
        found = SENTENCE.search(text)
        right = self.classes.index(self.labels[item])
        known = found and found[0] in self.rows
        miss = not (known and self.scores[self.rows[found[0]], item])
        return self.classes[(right + miss) % len(self.classes)]

    def any(self, rng):
        """Return a random wording."""
        return self.wordings[int(rng.integers(len(self.wordings)))]

    def changed(self, text, rng):
        """Return the wording that a request shows with one template changed, or one template from each of several."""
        crossed = [found for p in parents(text) if (found := SENTENCE.search(p))]
        if crossed:
            one, two = (crossed[i] for i in rng.permutation(len(crossed))[[0, -1]])
            child = [one[1], two[2]]
            return written(child) if not mutates(text) else self.edited(child, rng)
        found = SENTENCE.search(current_prompt(text, [])) or SENTENCE.search(text)
        return self.edited(list(found.groups()), rng) if found else self.any(rng)

    def edited(self, pair, rng):
        """Return a wording with another input or another label template."""
        which = int(rng.integers(2))
        others = [t for t in (self.inputs, self.templates)[which] if t != pair[which]]
        pair[which] = others[int(rng.integers(len(others)))]
        return written(pair)


def written(pair):
    """Return the prompt that names two templates."""
    return f'Compare "{pair[0]}" with "{pair[1]}".'
