from __future__ import annotations

import json

import pytest

from promptology.errors import UsageError
from promptology.run.budget import Budget
from promptology.run.cost import Cost, Price


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("300calls", {"calls": 300}),
        ("300", {"calls": 300}),
        ("2k calls".replace(" ", ""), {"calls": 2000}),
        ("500ktok", {"tokens": 500_000}),
        ("1.5mtok", {"tokens": 1_500_000}),
        ("20000passes", {"passes": 20_000}),
        ("10m", {"seconds": 600}),
        ("90s", {"seconds": 90}),
        ("2h", {"seconds": 7200}),
        ("50cents", {"usd": 0.5}),
        ("300calls,2usd,500ktok,20000passes,10m", None),
        (None, {}),
    ],
)
def test_parse(text, limits):
    budget = Budget.parse(text)
    if limits is None:
        assert set(budget.limits) == {"calls", "usd", "tokens", "passes", "seconds"}
    else:
        assert budget.limits == limits
    assert Budget.parse(str(budget) if budget.limits else None).limits == budget.limits


@pytest.mark.parametrize(
    "text", ["", "many", "300apples", "-5calls", "2.5calls", "5ms", "1kusd", "3calls,4calls", "1e3"]
)
def test_what_is_not_understood_is_named(text):
    with pytest.raises(UsageError) as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


def test_evidence_share_is_a_share():
    with pytest.raises(UsageError):
        Budget.parse("3calls", 1.0)


def test_covers_every_limit():
    budget = Budget.parse("10calls,100tok")
    assert budget.covers(Cost(10, 60, 40))
    assert not budget.covers(Cost(11, 0, 0))
    assert not budget.covers(Cost(1, 60, 41))
    assert not budget.covers(Cost(9), {"calls": 2})


def test_cost_each_rounds_up_and_minus_inverts_plus():
    cost = Cost(10, 101, 7, 1.0, 3, 2.0)
    assert cost.each(4) == Cost(3, 26, 2, 0.25, 1, 0.5)
    assert cost.each(0) == Cost()
    assert cost.plus(Cost(1, 2, 3)).minus(Cost(1, 2, 3)) == cost
    assert Cost.unpack(cost.pack()) == cost
    assert Cost.from_json(cost.to_json()) == cost


@pytest.mark.parametrize("cost", [Cost(), Cost(3, 2, 1, 0.1 + 0.2, 5, 1e-9, True), Cost(usd=1e300), Cost(usd=7)])
def test_packing_by_hand_is_json(cost):
    assert json.loads(cost.pack()) == [*cost[:6], int(cost.estimated)]
    assert Cost.unpack(cost.pack()) == cost


def test_money_sums_to_the_same_in_any_order():
    price = Price(0.15, 0.6)
    costs = [Cost(usd=price.usd(n, 7 * n)) for n in range(1, 400)]
    one, other = Cost(), Cost()
    for cost in costs:
        one = one.plus(cost)
    for cost in reversed(costs):
        other = other.plus(cost)
    assert one.usd == other.usd
    assert one.usd == pytest.approx(sum(n * 0.15 + 7 * n * 0.6 for n in range(1, 400)) / 1e6)
