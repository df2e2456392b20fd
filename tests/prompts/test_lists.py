"""Answers that are lists: forms that models give, and what must not be read into them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptology.prompts.lists import parse_classes, parse_ranking, parse_spans

NAMES = ("billing", "refund", "delivery", "faulty item")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("billing, refund", {"billing", "refund"}),
        ("Refund", {"refund"}),
        ("Refund and billing.", {"billing", "refund"}),
        ("billing, delivery and faulty item", {"billing", "delivery", "faulty item"}),
        ("- billing\n- refund", {"billing", "refund"}),
        ("1. Billing\n2. Faulty-item", {"billing", "faulty item"}),
        ("* **billing**\n* **refund**", {"billing", "refund"}),
        ('["billing", "faulty_item"]', {"billing", "faulty item"}),
        ('```json\n["refund"]\n```', {"refund"}),
        ('{"labels": ["refund", "billing"]}', {"billing", "refund"}),
        ('{"answer": "refund"}', {"refund"}),
        ("<answer>billing; refund</answer>", {"billing", "refund"}),
        ("Labels: billing | refund", {"billing", "refund"}),
        ("The labels are:\n\nbilling, refund", {"billing", "refund"}),
        ("Final answer: refund", {"refund"}),
        ("It mentions delivery first, but that is settled.\nbilling, refund", {"billing", "refund"}),
        ("I read about delivery.\n- billing\n- refund", {"billing", "refund"}),
        ("This is about billing, refund", {"billing", "refund"}),
        ("It is not delivery, refund", {"refund"}),
        ("I would say this is a refund matter.", {"refund"}),
        ("billing, payments", {"billing"}),
        ("- billing\n- payments\n- refund", {"billing", "refund"}),
        ('["billing", "payments"]', {"billing"}),
        ("none", set()),
        ("None.", set()),
        ("[]", set()),
        ("No class applies", set()),
        ("<answer>none</answer>", set()),
        ("Answer: none", set()),
        ("none, refund", {"refund"}),
        ("payments", None),
        ("I cannot tell.", None),
        ("", None),
        ('["payments"]', None),
    ],
)
def test_classes(text, found):
    said = parse_classes(text, NAMES)
    assert (None if said is None else set(said)) == found
    assert said is None or list(said) == [n for n in NAMES if n in said]


def test_names_that_hold_separators_or_none():
    names = ("world, politics", "sports", "none", "rock and roll")
    assert parse_classes("world, politics", names) == ("world, politics",)
    assert parse_classes("sports; world, politics", names) == ("world, politics", "sports")
    assert parse_classes("- rock and roll\n- sports", names) == ("sports", "rock and roll")
    assert parse_classes("none", names) == ("none",)


@given(st.sets(st.sampled_from(NAMES)), st.sampled_from([", ", "; ", "\n", " | ", "\n- "]))
def test_what_is_asked_for_is_read(names, parted):
    text = parted.join(names) or "none"
    assert set(parse_classes(text, NAMES)) == names


INPUT = {"text": "Maria Lopez flew from Berlin, Germany to  Oslo on 3 May."}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["Oslo", "Maria Lopez"]', ("Maria Lopez", "Oslo")),
        ('Here it is: ["Oslo"]', ("Oslo",)),
        ('```json\n{"spans": ["Oslo"]}\n```', ("Oslo",)),
        ("[]", ()),
        ("none", ()),
        ("None.", ()),
        ("- Maria Lopez\n- Oslo", ("Maria Lopez", "Oslo")),
        ("Maria Lopez; Oslo", ("Maria Lopez", "Oslo")),
        ("Maria Lopez, Oslo", ("Maria Lopez", "Oslo")),
        ("Berlin, Germany", ("Berlin, Germany",)),
        ('The names are "Maria Lopez" and "Oslo".', ("Maria Lopez", "Oslo")),
        ("<answer>Oslo</answer>", ("Oslo",)),
        ("oslo ON 3 may", ("oslo ON 3 may",)),
        ('["Oslo", "oslo"]', ("Oslo",)),
        ('["Paris"]', ("Paris",)),
        ('["Paris", "Oslo"]', ("Oslo", "Paris")),
        ("I am not able to do that.", None),
        ("", None),
    ],
)
def test_spans(text, found):
    assert parse_spans(text, INPUT) == found


CANDIDATES = ("red apple", "green pear", "blue plum")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("2, 3, 1", (2, 3, 1)),
        ("2 > 3 > 1", (2, 3, 1)),
        ("[2, 3, 1]", (2, 3, 1)),
        ('{"ranking": [2, 3, 1]}', (2, 3, 1)),
        ("2 3 1", (2, 3, 1)),
        ("The order is: 2, 3, 1", (2, 3, 1)),
        ("1. green pear\n2. blue plum\n3. red apple", (2, 3, 1)),
        ("2. green pear\n3. blue plum\n1. red apple", (2, 3, 1)),
        ("1. 2\n2. 3\n3. 1", (2, 3, 1)),
        ('["Green pear", "blue plum", "red apple"]', (2, 3, 1)),
        ("Green pear, blue plum, red apple.", (2, 3, 1)),
        ("I prefer the green pear to the blue plum; worst is the red apple", (2, 3, 1)),
        ("<answer>2, 3, 1</answer>", (2, 3, 1)),
        ("[2], [3], [1]", (2, 3, 1)),
        ("2, 3", (2, 3, 1)),
        ("2", None),
        ("2, 2, 1", None),
        ("4, 2, 1", None),
        ("all are good", None),
        ("", None),
    ],
)
def test_rankings(text, order):
    assert parse_ranking(text, CANDIDATES) == (order and tuple(CANDIDATES[n - 1] for n in order))


def test_candidates_that_are_numbers_are_read_by_their_text_first():
    assert parse_ranking("3, 2, 1", ("2", "3", "1")) == ("3", "2", "1")
    assert parse_ranking("2", ("a", "b")) is None


@pytest.mark.parametrize("parse", [lambda t: parse_classes(t, NAMES), lambda t: parse_spans(t, INPUT)])
@given(st.text())
def test_any_text_can_be_read(parse, text):
    found = parse(text)
    assert found is None or isinstance(found, tuple)


@given(st.text())
def test_any_text_is_no_order_or_a_whole_one(text):
    found = parse_ranking(text, CANDIDATES)
    assert found is None or sorted(found) == sorted(CANDIDATES)
