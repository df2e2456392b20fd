"""GEPA: the card's exact invariants."""

from __future__ import annotations

import re
from itertools import chain, count, cycle

import numpy as np
import pytest

import promptology as pt
from promptology.data.scoring import ByItem
from promptology.errors import TooManyMissing, UsageError
from promptology.methods.search.gepa import MERGE, REFLECT, gain
from promptology.models.simulated.skills import skill_of
from promptology.search.errors import Answered

TASK = pt.Task(
    [(f"train {n}", "yes" if n % 2 else "no") for n in range(60)],
    [(f"validation {n}", "yes" if n % 2 else "no") for n in range(60)],
    [(f"test {n}", "yes" if n % 2 else "no") for n in range(4)],
    signature=pt.Signature(
        output="class", classes=(pt.ClassLabel("yes"), pt.ClassLabel("no")), instruction="Right on 0."
    ),
)
ASKED = {"reflect": "Read all of them.", "merge": "developed further in two directions"}
SMALL = {"metric_calls": 90, "items": 10, "finalists": 1}


def right(prompt, n):
    """Whether a prompt "Right on 0 2." gets item n right: those whose number leaves that remainder by 4."""
    return str(n % 4) in re.search(r"Right on ([\d ]*)\.", prompt)[1].split()


class Scripted:
    """Right on what the prompt names; reflects and merges as it is given."""

    local = False
    name = identity = "scripted"

    def __init__(self, reflections, merges=()):
        self.replies = {"reflect": iter(reflections), "merge": iter(merges)}
        self.asked = {"reflect": [], "merge": []}
        self.answered, self.temperatures = [], set()

    def generate(self, requests, attempts=1):
        for at, request in enumerate(requests):
            text = request.messages[-1][1]
            kind = next((k for k, part in ASKED.items() if part in text), None)
            if kind:
                self.asked[kind].append(text)
                self.temperatures.add(request.temperature)
                yield at, pt.Answer(f"<prompt>{next(self.replies[kind])}</prompt>")
            else:
                prompt, question = text.splitlines()[0], text.split("\n\n")[-1]
                self.answered.append((prompt, question, request.temperature))
                n = int(question.split()[-1])
                yield at, pt.Answer("yes" if right(prompt, n) == bool(n % 2) else "no")


def fit(model, task=TASK, seed=0, **settings):
    return pt.fit(task, model, pt.GEPA(**{**SMALL, **settings}), budget="1000000calls", cache=False, seed=seed)


def logged(result, step):
    return [h["values"] for h in result.history if h["step"] == step]


def on_validation(model, result, prompt):
    """Return the validation items that a prompt answered during the search."""
    learning = result.learning.calls - sum(map(len, model.asked.values()))
    return {q for p, q, _ in model.answered[:learning] if p == prompt and q.startswith("validation")}


def versions(*known):
    """Yield so many different useless prompts, after the ones given."""
    return chain(known, (f"Right on 0. Version {n}." for n in count()))


def test_defaults_are_the_cards():
    method = pt.GEPA()
    assert (method.metric_calls, method.minibatch, method.items, method.merges) == (780, 3, 100, 0)
    # The card: between (budget - val) / (6 + val) and budget / 6 proposals, 780 metric calls with 100 items.
    large = pt.Task(
        [(f"t {n}", "a" if n % 2 else "b") for n in range(99)],
        [(f"v {n}", "a" if n % 2 else "b") for n in range(100)],
        [("x", "a"), ("y", "b")],
    )
    assert 680 <= pt.GEPA(finalists=1).plan(large).calls <= 780 + 780 / 6


def test_a_rejected_proposal_costs_two_mini_batches_and_one_reflection():
    model = Scripted(versions())
    result = fit(model)
    rounds = logged(result, "round")
    # A mini-batch may hold only items that the start gets right, and then nobody is asked.
    outcomes = [r["outcome"] for r in rounds]
    assert set(outcomes) <= {"rejected", "nothing to learn"} and "rejected" in outcomes
    costs = np.diff([10, *(r["metric_calls"] for r in rounds)]).tolist()
    assert costs == [6 if o == "rejected" else 3 for o in outcomes]
    assert len(model.asked["reflect"]) == outcomes.count("rejected")
    # A round begins only where all of it fits: 2 * 3 + 10.
    assert 90 - 16 < rounds[-1]["metric_calls"] <= 90
    assert result.learned.instruction == "Right on 0."
    assert {t for *_, t in model.answered} == {0.0} and model.temperatures == {1.0}


def test_an_accepted_proposal_is_scored_on_all_of_v_and_becomes_a_parent():
    model = Scripted(versions("Right on 0 1 2 3."))
    result = fit(model)
    rounds = logged(result, "round")
    accepted = next(n for n, r in enumerate(rounds) if r["outcome"] == "accepted")
    before = rounds[accepted - 1]["metric_calls"] if accepted else 10
    assert rounds[accepted]["metric_calls"] - before == 6 + 10
    assert rounds[accepted]["members"] == 2
    # It is right everywhere, so it alone is the front, and no mini-batch has anything left to learn.
    later = rounds[accepted + 1 :]
    assert later and {(r["parent"], r["outcome"]) for r in later} == {(1, "nothing to learn")}
    assert len(on_validation(model, result, "Right on 0 1 2 3.")) == 10
    assert on_validation(model, result, "Right on 0.") == on_validation(model, result, "Right on 0 1 2 3.")
    assert result.learned.instruction == "Right on 0 1 2 3." and result.learned.method == "gepa"


def test_calls_are_metric_calls_and_reflections_and_never_exceed_the_budget():
    many = pt.Task(
        [(f"train {n}", "yes" if n % 2 else "no") for n in range(400)],
        TASK.validation,
        TASK.open_test(),
        signature=TASK.signature,
    )
    for budget in (40, 90, 200):
        model = Scripted(versions())
        result = fit(model, many, metric_calls=budget)
        spent = logged(result, "round")[-1]["metric_calls"]
        assert spent <= budget
        assert result.learning.calls == spent + len(model.asked["reflect"])


def test_a_specialist_stays_a_parent():
    # Good where the start fails and bad where it is right: neither leaves the front.
    model = Scripted(versions("Right on 1 2."))
    result = fit(model, metric_calls=400)
    parents = [r["parent"] for r in logged(result, "round")]
    start = next(n for n, r in enumerate(logged(result, "round")) if r["outcome"] == "accepted")
    assert {0, 1} <= set(parents[start + 1 :])


def test_reflection_reads_the_mini_batch_and_the_metrics_own_words():
    class Strict(ByItem):
        name = "strict"

        def item(self, prediction, target):
            return float(prediction == target)

        def feedback(self, prediction, target):
            return f"The inspector wanted {target} and got {prediction}."

    model = Scripted(versions())
    fit(model, TASK.with_metric(Strict()))
    batches = [tuple(re.findall(r"^Input \d: (train \d+)$", r, re.M)) for r in model.asked["reflect"]]
    assert all(len(b) == 3 for b in batches) and len(set(batches)) == len(batches)
    # An epoch goes through the training items once.
    shown = [q for b in batches[:20] for q in b]
    assert len(shown) == len(set(shown))
    for request in model.asked["reflect"]:
        notes = re.findall(r"^Note \d: The inspector wanted (\w+) and got (\w+)\.$", request, re.M)
        assert len(notes) == 3 and any(wanted != got for wanted, got in notes)
        assert "<prompt>\nRight on 0.\n</prompt>" in request
    model = Scripted(versions())
    fit(model)
    assert all(len(re.findall(r"^Note \d: (Right|Wrong): ", r, re.M)) == 3 for r in model.asked["reflect"])


def test_what_was_refused_is_judged_anew_and_a_member_is_not_taken_up_twice():
    again = Scripted(cycle(["Right on 0. Again."]))
    outcomes = [r["outcome"] for r in logged(fit(again), "round")]
    assert outcomes.count("rejected") > 1
    twice = Scripted(chain(["Right on 0 1."], cycle(["right on 0 1"])))
    result = fit(twice, metric_calls=200)
    assert [r["outcome"] for r in logged(result, "round")].count("accepted") == 1


def test_merges_join_two_of_the_front_and_must_be_as_good_as_the_better():
    model = Scripted(chain(["Right on 1.", "Right on 2."], versions()), ["Right on 1 2 0."])
    result = fit(model, metric_calls=400, items=20, merges=1)
    (merge,) = logged(result, "merge")
    assert merge["accepted"] and merge["ancestor"] == 0 and {merge["one"], merge["two"]} <= {1, 2}
    (request,) = model.asked["merge"]
    assert "<common_origin>\nRight on 0.\n</common_origin>" in request
    assert len(on_validation(model, result, "Right on 1 2 0.")) == 20
    refused = Scripted(chain(["Right on 1.", "Right on 2."], versions()), ["Right on 3."])
    result = fit(refused, metric_calls=400, items=20, merges=1)
    assert not logged(result, "merge")[0]["accepted"]
    # It was asked on 5 items of V, and not on the others.
    assert len([q for p, q, _ in refused.answered if p == "Right on 3."]) == 5


def test_the_best_few_are_scored_again_on_items_kept_apart():
    model = Scripted(versions("Right on 0 1.", "Right on 0 1 2."))
    result = fit(model, metric_calls=200, items=15, finalists=2)
    (again,) = logged(result, "rescored")
    assert (again["candidates"], again["items"]) == (2, 15)


def test_gain_is_taken_over_items_that_were_answered_both_times():
    items = [pt.Item(str(n), {"text": "x"}, target="a") for n in range(3)]

    def answered(*scores):
        return [Answered(i, "", "", s) for i, s in zip(items, scores, strict=True) if s is not None]

    assert gain(answered(0, 1, 0), answered(1, 1, 0)) == 1
    assert gain(answered(0, None, 1), answered(1, 1, None)) == 1
    assert gain(answered(0.1, 0.2, 0.3), answered(0.3, 0.1, 0.2)) == 0
    assert gain([], answered(1, 1, 1)) == 0


def test_a_small_budget_is_told_and_an_optimizer_without_ideas_is_an_error():
    warned = fit(Scripted(versions()), metric_calls=30)
    assert any("may not be enough for 3 proposals on 10 items" in w for w in warned.warnings)
    assert not any("may not be enough" in w for w in fit(Scripted(versions())).warnings)
    for said in ("Right on 0.", ""):
        with pytest.raises(TooManyMissing, match="was unusable"):
            fit(Scripted(cycle([said])))


def test_a_judge_needs_no_labels_and_its_words_are_the_feedback():
    notes = pt.Task(
        unlabeled=[f"notes {n}" for n in range(30)],
        test=["x"],
        metric="judge",
        signature=pt.Signature(instruction="Write."),
    )
    asked = []

    def writer(prompt):
        if ASKED["reflect"] in prompt:
            asked.append(prompt)
            return f"<prompt>Write at length {len(asked)}.</prompt>"
        return "Long." if "at length" in prompt else "Short."

    def judge(prompt):
        return "Fine. <grade>5</grade>" if "Long." in prompt else "It is too short. <grade>2</grade>"

    result = pt.fit(notes, writer, pt.GEPA(**SMALL), helpers={"judge": judge}, cache=False)
    assert result.learned.instruction == "Write at length 1."
    request = asked[0]
    assert len(re.findall(r"^Note \d: Graded 2 of 5\. It is too short\.$", request, re.M)) == 3
    assert "Right answer" not in request


def test_training_items_are_needed():
    bare = pt.Task([], TASK.validation, TASK.open_test(), signature=TASK.signature)
    with pytest.raises(UsageError, match="no labelled training items"):
        fit(Scripted(versions()), bare)


def test_the_simulated_optimizer_reads_the_requests_as_rewrites():
    for request in (REFLECT, MERGE):
        filled = re.sub(r"\{(\w+)\}", "Sort this customer message.", request)
        assert skill_of(filled, len(filled)) == "rewrite"


def test_the_same_seed_gives_the_same_and_seeds_differ():
    settings = {"metric_calls": 150, "items": 20, "merges": 2}
    found = [fit("simulated:tickets", pt.load_task("tickets"), seed=s, **settings) for s in (1, 1, 2)]
    assert found[0].learned.same_as(found[1].learned)
    assert found[0].history == found[1].history != found[2].history


def test_wrong_settings_are_told():
    for settings in ({"minibatch": 0}, {"merges": -1}, {"temperature": 3.0}):
        with pytest.raises(UsageError, match="gepa"):
            pt.fit(TASK, Scripted(versions()), "gepa", settings=settings)
