"""The rule grammar, on cases computed by hand."""

from __future__ import annotations

import math

import pytest

from promptology.claims.announced import entries
from promptology.claims.rules import Interval, evaluate, interval, parse
from promptology.errors import UsageError

T2, T3 = 4.302652729911275, 3.182446305284263
"""Upper 97.5 % points of Student's t with 2 and 3 degrees of freedom, from printed tables."""
A, B = [1.0, 2.0, 3.0], [0.5, 0.5, 0.5]
MEASURED = {
    "a": {"accuracy": A, "calls": [2.0, 2.0, 2.0]},
    "b": {"accuracy": B, "calls": [8.0, 8.0, 8.0]},
    "one": {"accuracy": [1.0, 1.0, 1.0], "calls": [1.0, 2.0, 4.0]},
}


def judge(rule):
    return evaluate(parse(rule, MEASURED), MEASURED)


def test_the_interval_is_a_paired_t_interval_over_seeds():
    # Differences 0.5, 1.5, 2.5: mean 1.5, standard deviation 1, three seeds.
    (term,) = judge("better(a, b)")
    reach = T2 * 1.0 / math.sqrt(3)
    assert term[1:4] == pytest.approx((1.5, 1.5 - reach, 1.5 + reach))
    assert not term.holds  # 1.5 - 2.484 is below 0


def test_pairing_takes_away_what_seeds_share():
    measured = {"a": {"x": [0.1, 0.6, 0.9, 0.3]}, "b": {"x": [0.0, 0.4, 0.8, 0.1]}}
    (term,) = evaluate(parse("better(a, b)", measured), measured)
    # Differences 0.1, 0.2, 0.1, 0.2: mean 0.15, variance 0.01 / 3.
    reach = T3 * math.sqrt(0.01 / 3) / 2
    assert term[1:4] == pytest.approx((0.15, 0.15 - reach, 0.15 + reach))
    assert term.holds


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("better(calls: b, a)", True),
        ("better(calls: b, a, by=5.9)", True),
        ("better(calls: b, a, by=6)", False),  # the lower end is 6, not above it
        ("better(a, a)", False),
        ("not_worse(a, a, by=0.02)", True),
        ("not_worse(calls: a, b, by=6)", False),  # -6 is not above -6
        ("not_worse(calls: a, b, by=6.1)", True),
        ("not_worse(a, b, by=1)", True),  # the lower end is -0.984
        ("not_worse(a, b, by=0.98)", False),
        ("at_least(one, 1.0)", True),
        ("at_most(one, 1.0)", True),
        ("at_least(one, 1.001)", False),
        ("at_most(a, 2.0)", False),  # the mean is 2, the interval reaches beyond
        ("at_least(a, -0.5)", True),
        ("ratio(calls: a, b) <= 0.25", True),
        ("ratio(calls: a, b) <= 0.249", False),
        ("ratio(a, a) <= 1.0", True),
    ],
)
def test_terms(rule, holds):
    (term,) = judge(rule)
    assert term.rule == rule and term.holds is holds


def test_a_ratio_is_taken_on_logs():
    # one / a by calls: 1/2, 2/2, 4/2; logs -log 2, 0, log 2: mean 0, standard deviation log 2.
    (term,) = judge("ratio(calls: one, a) <= 5.6")
    reach = T2 * math.log(2) / math.sqrt(3)
    assert term[1:4] == pytest.approx((1.0, math.exp(-reach), math.exp(reach)))
    assert term.high == pytest.approx(5.595, abs=0.001) and term.holds
    assert not judge("ratio(calls: one, a) <= 5.59")[0].holds


def test_a_ratio_needs_values_above_zero():
    measured = {"a": {"x": [1.0, 0.0]}, "b": {"x": [1.0, 1.0]}}
    with pytest.raises(UsageError, match="a value is not above 0"):
        evaluate(parse("ratio(a, b) <= 1", measured), measured)


def test_where_all_seeds_are_equal_the_interval_is_that_value():
    assert interval([0.1] * 7) == Interval(0.1, 0.1, 0.1)
    assert interval([0.0, 0.0]) == Interval(0.0, 0.0, 0.0)


def test_joined_terms_keep_their_order_and_stand_alone():
    terms = judge("better(calls: b, a) and at_most(accuracy: a, 0.5) and ratio(calls: a, b) <= 0.3")
    assert [term.holds for term in terms] == [True, False, True]
    assert [term.rule for term in terms][1] == "at_most(accuracy: a, 0.5)"


def test_a_rule_without_a_metric_is_about_the_first_one():
    assert judge("at_most(one, 1)")[0].value == 1.0
    with pytest.raises(UsageError, match="is about 'loss', and arm 'a' was measured by accuracy, calls"):
        judge("better(loss: a, b)")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("better(a, c)", "about an arm 'c'; there are a, b, one"),
        ("worse(a, b)", "is not understood"),
        ("better(a)", "is not understood"),
        ("better(a, b) or better(b, a)", "is not understood"),
        ("better(a, b, by=x)", "is not understood"),
        ("not_worse(a, b)", "does not say by how much"),
        ("ratio(a, b)", "is not understood"),
        ("ratio(a, b) < 1", "is not understood"),
        ("at_least(a)", "is not understood"),
        ("at_least(a, b)", "is not understood"),
        ("better(a, b) and ", "is not understood"),
        ("", "is not understood"),
    ],
)
def test_what_is_outside_the_grammar_is_refused(rule, says):
    with pytest.raises(UsageError, match=says):
        parse(rule, MEASURED)


def test_every_announced_rule_is_read_and_names_only_its_arms():
    known = entries()
    assert len(known) == 77
    for entry in known:
        assert entry.terms and all(arm in entry.arms for term in entry.terms for arm in term.arms)
        assert " and ".join(term.text for term in entry.terms) == entry.rule
