"""Requests that show several prompts, in the words of others, and lists of prompts."""

from __future__ import annotations

import json

import pytest

from promptology.models.simulated import SimulatedChat
from promptology.models.simulated.crossing import mixed, mutates, parents, wanted
from promptology.models.simulated.skills import current_prompt, fill_form
from promptology.prompts.parsing import tagged
from promptology.search.crossing import CROSS, DIFFER

GENETIC = """Please follow the instruction step-by-step to generate a better prompt.
1. Crossover the following prompts and generate a new prompt:
Prompt 1: Say it.
Prompt 2: Tell me.
2. Mutate the prompt generated in Step 1 and generate a final prompt bracketed with <prompt> and </prompt>.

1. Crossover Prompt: Say it to me.
2. <prompt>Let me hear it.</prompt>

Please follow the instruction step-by-step to generate a better prompt.
1. Crossover the following prompts and generate a new prompt:
Prompt 1: {}
Prompt 2: {}
2. Mutate the prompt generated in Step 1 and generate a final prompt bracketed with <prompt> and </prompt>.

1."""
MERGE = """Please merge the two prompts into a single coherent prompt:
Prompt 1: {}
Prompt 2: {}

Return the new prompt in the following format:
<prompt>new prompt</prompt>"""


class Draws:
    """Numbers from 0 to 1 that are drawn in turn."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0)


def test_the_prompts_to_cross_are_the_last_of_their_numbers_or_tags():
    assert parents(GENETIC.format("A. B.", "A. C.")) == ["A. B.", "A. C."]
    assert parents(MERGE.format("A. B.", "A. C.")) == ["A. B.", "A. C."]
    assert parents(CROSS.format(first="A. B.", second="A. C.")) == ["A. B.", "A. C."]
    four = DIFFER.format(first="A.", second="B.", best="C.", member="D.")
    assert parents(four) == ["A.", "B.", "C.", "D."]
    assert parents("Improve this.\n\nPrompt: Say it.") == parents("Cross out what is wrong.\n\nPrompt 1: Say it.") == []


def test_what_all_have_stays_and_the_rest_by_its_share():
    request = GENETIC.format("A. B.", "A. C.")
    # A is in both, B and C are each in one of two: their chance is 1/2.
    assert mixed(request, ["A. B.", "A. C."], Draws(0.99, 0.49, 0.5)) == "A. B."
    assert mixed(request, ["A. B.", "A. C.", "A. D.", "A. B."], Draws(0.99, 0.49, 0.25, 0.24)) == "A. B. D."
    assert mixed(MERGE.format("A. B.", "A. C."), ["A. B.", "A. C."], Draws()) == "A. B. C."
    assert mutates(request) and not mutates(MERGE)


def test_a_crossing_in_a_world_keeps_what_both_have_and_adds_one_sentence():
    model = SimulatedChat("chain")
    rules = [f.sentences[0] for f in model.world.features[:3]]
    one, two = (" ".join([model.world.start, rules[0], rule]) for rule in rules[1:])
    held = {rule: 0 for rule in rules}
    for seed in range(200):
        child = tagged(model.reply([("user", GENETIC.format(one, two))], seed, 1.0), "prompt")
        assert child.startswith(f"{model.world.start} {rules[0]}")
        for rule in rules:
            held[rule] += rule in child
    assert held[rules[0]] == 200 and held[rules[1]] == pytest.approx(100, abs=30)
    merged = tagged(model.reply([("user", MERGE.format(one, two))], 1, 1.0), "prompt")
    assert merged == " ".join([model.world.start, *rules])


def test_lists_of_prompts():
    asked = "Create overall 4 prompts within json format, meaning strings in quotation marks as an array."
    assert wanted(asked) == 4 and wanted("Write 4 prompts.") == wanted("Reply in JSON.") == 0
    made = json.loads(SimulatedChat("tickets").reply([("user", asked)], 1, 1.0))
    assert len(made) == len(set(made)) == 4 and all(p.startswith("Sort this customer message. ") for p in made)


def test_placeholders_fences_and_markers_around_the_prompt():
    rephrase = "Rephrase the prompt.\nPrompt: Say it.\n\nReturn it so:\n<prompt>new prompt</prompt>"
    assert current_prompt(rephrase, []) == "Say it." and "<prompt>X.</prompt>" in fill_form(rephrase, prompt="X.")
    fences = "I gave these instructions:\n```\nSay it.\n```\n\nThese are inputs and outputs:\n```\nlong, long\n```"
    assert current_prompt(fences, []) == "Say it."
    field = "[[ ## basic_instruction ## ]]"
    fields = f"{field}\n{{basic_instruction}}\n\n{field}\nSay it.\n\n[[ ## tip ## ]]"
    assert current_prompt(fields, []) == "Say it."
    last = f"{field}\nSay it.\n\nRespond with the field `[[ ## proposed_instruction ## ]]`."
    assert current_prompt(last, []) == "Say it."
