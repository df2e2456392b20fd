"""Measuring as many items as the budget covers."""

from __future__ import annotations

import numpy as np
import pytest

import promptology as pt
from promptology.evidence.measuring import affordable, measure, part_of
from promptology.predict import Predictions, bind, joined
from promptology.prompts import Learned, Readout, Text
from promptology.run.budget import Budget
from promptology.run.cost import Cost
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store

ITEMS = [pt.Item(str(n), {"text": f"word {n:03d}"}, "a" if n % 2 else "b") for n in range(200)]
SIGNATURE = pt.Signature(output="class", classes=(pt.ClassLabel("a"), pt.ClassLabel("b")))
ANSWER = 2
"""Tokens of an answer, of 50 that are reserved."""


class Terse:
    """Reports its true usage, far below what had to be reserved."""

    local = False
    name = identity = "terse"

    def __init__(self):
        self.asked = 0

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            self.asked += 1
            yield n, pt.Answer("a", len(request.messages[-1][1]) // 4, ANSWER, False, 1)


def predictors(meter, model, *prompts):
    handle = Handle(meter, "model", model, None, {"max_tokens": 50})
    return [bind(Learned((Text(p), Readout("answer")), SIGNATURE), handle) for p in prompts]


def test_a_token_limit_covers_more_items_than_its_worst_case_and_is_never_passed():
    budget, model = Budget.parse("8ktok"), Terse()
    meter = Meter(memory_store(), budget=budget)
    two = predictors(meter, model, "a or b?", "a or b, please?")
    at_worst = affordable(meter, two, ITEMS)
    both = measure(meter, two, ITEMS)
    assert both[0].asked > 2 * at_worst
    assert [m.ids for m in both] == [[i.id for i in ITEMS[: both[0].asked]]] * 2
    assert model.asked == 2 * both[0].asked
    assert meter.charged.tokens <= 8000


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 7, 50, 399, 400, 1000])
def test_a_count_limit_is_used_as_far_as_pairs_go(calls):
    model = Terse()
    meter = Meter(memory_store(), budget=Budget.parse(f"{calls}calls") if calls else Budget({"calls": 0}))
    both = measure(meter, predictors(meter, model, "one", "two"), ITEMS)
    assert model.asked == min(calls // 2 * 2, 400)
    assert (both is None) == (calls < 2)


def test_what_was_asked_before_costs_nothing_again():
    meter = Meter(memory_store(), budget=Budget.parse("300calls"))
    one, two = predictors(meter, Terse(), "one", "two")
    measure(meter, [one], ITEMS)
    assert affordable(meter, [one, two], ITEMS) == 100


def test_a_share_of_what_is_left_and_the_rest_after_it():
    meter = Meter(memory_store(), budget=Budget.parse("100calls,1m"))
    meter.held_back = {"calls": 20}
    pair = predictors(meter, Terse(), "one", "two")
    with part_of(meter, 0.5):
        assert affordable(meter, pair, ITEMS) == 20
    assert meter.held_back == {"calls": 20}
    assert affordable(meter, pair, ITEMS) == 40


def test_parts_joined_are_the_whole():
    parts = [
        Predictions(["a"], [False], ["A"], Cost(1), np.ones((1, 2), np.float32)),
        Predictions([None, "b"], [True, False], [None, "B"], Cost(2), np.zeros((2, 2), np.float32)),
    ]
    whole = joined(parts)
    assert (whole.outputs, whole.missing, whole.raw) == (["a", None, "b"], [False, True, False], ["A", None, "B"])
    assert whole.cost == Cost(3)
    assert whole.scores.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert joined([parts[0], parts[1].__class__(["b"], [False], ["B"])]).scores is None
