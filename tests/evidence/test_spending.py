"""The budget over time: what the history noted, role on role, and the end from the ledger."""

from __future__ import annotations

import re

import pytest

from promptology.evidence.spending import POINTS, areas, course
from promptology.run.cost import Cost


def entry(role, phase="learning", **cost):
    return {"role": role, "phase": phase, "charged": Cost(**cost).to_json(), "paid": Cost().to_json()}


def spent(**roles):
    return {"calls": sum(r.get("calls", 0) for r in roles.values()), "roles": roles}


SPENT = [spent(), spent(model={"calls": 10}), spent(model={"calls": 10}, judge={"calls": 5})]
LEDGER = [entry("model", calls=20), entry("judge", calls=20), entry("model", "evidence", calls=99)]


def test_a_course_by_hand():
    assert course(SPENT, LEDGER) == {
        "steps": 3,
        "at": [1, 2, 3, 4],
        "roles": {"model": {"calls": [0, 10, 10, 20]}, "judge": {"calls": [0, 0, 5, 20]}},
    }


def test_older_histories_have_no_roles():
    assert course([{"calls": 3}, {}], LEDGER) is None
    assert course([], LEDGER) is None
    assert course([{"calls": 3}, *SPENT[1:]], LEDGER)["at"] == [2, 3, 4]
    assert areas(None) == [] and areas(course(SPENT, [])) == []


def test_of_many_steps_a_few_are_kept():
    many = [spent(model={"calls": n}) for n in range(10_000)]
    found = course(many, LEDGER)
    assert len(found["at"]) == len(found["roles"]["model"]["calls"]) == POINTS + 1
    assert (found["at"][0], found["at"][-2], found["at"][-1]) == (1, 10_000, 10_001)
    assert all(n == calls + 1 for n, calls in zip(found["at"][:-1], found["roles"]["model"]["calls"], strict=False))


def corners(path):
    return [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_areas_stand_one_on_another():
    (found,) = areas(course(SPENT, LEDGER))
    assert found.unit == "calls"
    assert [a.text for a in found.areas] == ["model: 20 calls, 50 %", "judge: 20 calls, 50 %"]
    model, judge = (corners(a.path) for a in found.areas)
    assert len(model) == len(judge) == 10
    assert judge[5:][::-1] == model[:5]  # the lower edge of the one is the upper edge of the other
    base = model[-1][1]
    heights = [base - y for _, y in judge[:5]]
    assert heights == pytest.approx([h * heights[-1] / 40 for h in (0, 0, 10, 15, 40)], abs=0.2)
    steps = [x for x, _ in judge[:5]]
    assert steps == pytest.approx([steps[0] + k * (steps[1] - steps[0]) for k in range(5)], abs=0.2)
    assert found.rows == [
        ("step 1", ["0", "0"]),
        ("step 2", ["10", "0"]),
        ("step 3", ["10", "5"]),
        ("end of learning", ["20", "20"]),
    ]


def test_passes_stand_apart_from_calls_and_money_before_both():
    ledger = [entry("model", calls=4, tokens_in=8), entry("encoder", passes=6)]
    found = areas(course([spent(model={"calls": 1, "tokens": 2}, encoder={"passes": 3})], ledger))
    assert [(one.unit, [a.role for a in one.areas]) for one in found] == [("calls", ["model"]), ("passes", ["encoder"])]
    paid = areas(course([spent(model={"usd": 0.01})], [entry("model", calls=4, usd=0.0325), entry("judge", calls=1)]))
    assert [(one.unit, [a.text for a in one.areas]) for one in paid] == [
        ("US dollars", ["model: 0.0325 US dollars, 100 %"])
    ]
