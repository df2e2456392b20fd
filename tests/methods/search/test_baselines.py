"""APE, EvoPrompt and MIPRO where things are rough: hardly any items, and optimizers that answer badly."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import chain, cycle

import pytest
from skilled import TASK, Skilled, fit

import promptology as pt
from promptology.errors import TooManyMissing

METHODS = {
    "ape": pt.APE(subsets=2, samples=2, items=10),
    "ga": pt.EvoPrompt("ga", population=3, generations=2, items=10),
    "de": pt.EvoPrompt("de", population=3, generations=2, items=10),
    "mipro": pt.MIPRO(candidates=4, shots=1, items=10, minibatch=4, trials=5),
}
if find_spec("optuna") is None:
    del METHODS["mipro"]
BAD = {
    "empty": "",
    "blank tags": "<prompt>  </prompt>",
    "refusal in tags": "<prompt></prompt> I cannot help with that.",
    "the same prompt": "<prompt>Skill 20.</prompt>",
}


class Bad(Skilled):
    """Its proposals are these texts in turn, tags and all."""

    def __init__(self, texts):
        super().__init__()
        self.texts = iter(texts)

    def generate(self, requests, attempts=1):
        for n, outcome in super().generate(requests, attempts):
            yield n, pt.Answer(next(self.texts)) if outcome.text.startswith("<prompt>") else outcome


@pytest.mark.parametrize("name", METHODS)
def test_three_validation_items_and_two_training_items(name):
    few = pt.Task(TASK.train[:2], TASK.validation[:3], TASK.open_test(), signature=TASK.signature)
    method = METHODS[name]
    result = fit(Skilled(), method, few)
    assert result.learning.calls == pytest.approx(method.plan(few).calls, abs=2)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", METHODS)
def test_an_optimizer_without_a_usable_answer_is_an_error(name, bad):
    with pytest.raises(TooManyMissing, match="was unusable"):
        fit(Bad(cycle([BAD[bad]])), METHODS[name])


@pytest.mark.parametrize("name", METHODS)
def test_a_proposal_that_is_too_long_is_refused_and_the_next_one_is_taken(name):
    long = f"<prompt>Skill 99. {'word ' * 50_000}</prompt>"
    texts = chain([long], (f"<prompt>Skill {40 + n}. Fine.</prompt>" for n in range(50)))
    result = pt.fit(TASK, Bad(texts), METHODS[name], budget="1000000calls", cache=False, max_prompt_tokens=200)
    assert len(result.learned.instruction) < 100


@pytest.mark.parametrize("name", METHODS)
def test_a_start_with_a_place_for_the_input_keeps_it(name):
    signature = pt.Signature(output="class", classes=TASK.signature.classes, instruction="Skill 20.\n\n{text}")
    task = pt.Task(TASK.train, TASK.validation, TASK.open_test(), signature=signature)
    texts = (f"<prompt>Skill {30 + n}.{' no place' if n % 2 else chr(10) * 2 + '{text}'}</prompt>" for n in range(200))
    result = fit(Bad(texts), METHODS[name], task)
    assert "{text}" in result.learned.instruction
