"""What every search over texts must do, whoever proposes: budgets, splits, pairs, leaks, memory.

Kill and resume, the same result for any number of workers, and plans are promises of `check_method`.
"""

from __future__ import annotations

import re
from itertools import count

import pytest
from searches import LACKING, SMALL
from skilled import TASK, Skilled

import promptology as pt
from promptology.methods.registry import create

SEARCHES = [slug for slug in SMALL if slug not in LACKING]
BY_SCORE = [slug for slug in SEARCHES if slug != "spo"]


class Everyone(Skilled):
    """Task model, optimizer and judge in one; keeps what it was asked, and may take several calls an answer."""

    def __init__(self, prompts=None, tries=lambda n: 1):
        super().__init__(prompts)
        self.tries = tries
        self.calls = 0
        self.texts = []

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            text = request.messages[-1][1]
            self.texts.append(text)
            took = self.tries(len(self.texts))
            if took > attempts:  # all tries that the run allows failed for a moment
                self.calls += attempts
                yield n, pt.Failure("busy", transient=False, attempts=attempts)
                continue
            self.calls += took
            yield n, pt.Answer(self.reply(text, request), attempts=took)

    def reply(self, text, request):
        if "<outputs_a>" in text:
            return "<choice>B</choice>"
        if "Do not write the improved text itself" in text:
            return "It is too vague."
        ((_, outcome),) = super().generate([request])
        return outcome.text


def fit(slug, model, task=TASK, **options):
    return pt.fit(task, model, create(slug, SMALL[slug]), **{"budget": "100000calls", "cache": False} | options)


@pytest.mark.parametrize("limit", [1, 7, 40, 90])
@pytest.mark.parametrize("slug", SEARCHES)
def test_a_budget_holds_over_all_roles_with_tries_that_failed(slug, limit):
    model = Everyone(tries=lambda n: 1 + (n % 5 == 0) + 9 * (n % 50 == 0))
    result = fit(slug, model, budget=f"{limit}calls", missing=1.0)
    assert model.calls == result.charged.calls <= limit
    assert limit > 7 or any("the budget ended the search" in w for w in result.warnings)


@pytest.mark.parametrize("slug", SEARCHES)
def test_the_hold_out_is_asked_last_and_shown_to_nobody(slug):
    model = Everyone()
    fit(slug, model)
    held = [bool(re.search(r"\btest \d+", text)) for text in model.texts]
    assert any(held)
    # The judge of a duel is not among them: the task has labels.
    assert all(held[held.index(True) :])
    asked = [text for text, is_test in zip(model.texts, held, strict=True) if is_test]
    assert all(text.split("\n\n")[-1].startswith("test") for text in asked)


@pytest.mark.parametrize("slug", BY_SCORE)
def test_what_is_proposed_from_training_items_and_selected_on_validation_items(slug):
    model = Everyone()
    fit(slug, model)
    for text in model.texts:
        if "between <prompt> and </prompt>" in text or "Do not write the improved text itself" in text:
            assert "validation" not in text


@pytest.mark.parametrize("slug", BY_SCORE)
def test_a_better_figure_that_may_be_chance_is_no_improvement(slug):
    model = Everyone(f"Skill {n}. Hardly better." for n in count(23))
    result = fit(slug, model)
    assert result.evidence.verdict in ("no evidence", "start", "no worse")


@pytest.mark.parametrize("slug", BY_SCORE)
def test_a_prompt_that_copies_a_training_item_is_told(slug):
    said = "the parcel that I sent to my aunt in spring never came back to me"
    train = [(f"{said} {i.inputs['text']}", i.target) for i in TASK.train]
    task = pt.Task(train, TASK.validation, TASK.open_test(), signature=TASK.signature)
    result = fit(slug, Everyone(f"Skill {90 + n % 9}. If {said} say yes, version {n}." for n in count()), task)
    assert any("shares 8 words or more in a row with 12 training items" in w for w in result.warnings)


@pytest.mark.parametrize("slug", [slug for slug in BY_SCORE if slug not in ("gepa", "random-search")])
def test_a_prompt_with_other_signs_is_not_bought_again(slug):
    signs = ("Skill 50. Sort it!", "Skill 50: sort IT.", "Skill 50 sort it", "**Skill 50.** Sort it?")
    model = Everyone(signs[n % 4] if n % 5 else f"Skill {30 + n % 60}. Version {n}." for n in count(1))
    fit(slug, model)
    scored = {line for line, *_ in model.answered if re.sub(r"\W+", "", line).casefold() == "skill50sortit"}
    assert len(scored) <= 1


@pytest.mark.parametrize("slug", [slug for slug in SEARCHES if slug not in ("random-search",)])
def test_the_lineage_says_what_a_proposer_was_told(slug):
    settings = SMALL[slug] | ({"variant": "ga"} if slug == "evoprompt" else {})
    result = pt.fit(TASK, Everyone(), create(slug, settings), budget="100000calls", cache=False)
    assert any(len(node.get("why", "")) > 10 for node in result.lineage["nodes"])
