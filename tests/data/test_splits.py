"""Drawing splits: partition, shares, strata, groups of identical inputs."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptology.data.items import Item
from promptology.data.splits import DEFAULT_SHARES, draw, hold_out, scale
from promptology.errors import UsageError

SHARES = list(DEFAULT_SHARES.values())
shares = st.tuples(*[st.integers(0, 10)] * 3).filter(any).map(lambda s: dict(zip(DEFAULT_SHARES, s, strict=True)))
sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 25), min_size=1, max_size=20)


def distinct(counts):
    """Items of these classes, shuffled, every input its own."""
    labels = [label for label, size in counts.items() for _ in range(size)]
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    return [Item(str(n), {"text": f"input {n}"}, labels[k]) for n, k in enumerate(order)]


def is_free_text(counts):
    return 2 * len(counts) > sum(counts.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.text("xyz", max_size=2), st.sampled_from(["a", "b", None])), max_size=60), shares)
def test_splits_partition_in_order_and_identical_inputs_stay_together(rows, weights):
    items = [Item(str(n), {"text": text}, label) for n, (text, label) in enumerate(rows)]
    splits = draw(items, weights, 3)
    assert sorted((i for split in splits for i in split), key=lambda i: int(i.id)) == items
    assert all([int(i.id) for i in split] == sorted(int(i.id) for i in split) for split in splits)
    texts = [{i.inputs["text"] for i in split} for split in splits]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])
    assert draw(items, weights, 3) == splits
    assert all(weights[name] or not split for name, split in zip(DEFAULT_SHARES, splits, strict=True))


@settings(max_examples=200, deadline=None)
@given(sizes, shares, st.integers(0, 3))
def test_every_class_is_within_one_item_of_its_shares(counts, weights, seed):
    scaled = list(scale(weights).values())
    splits = draw(distinct(counts), weights, seed)
    for split, share in zip(splits, scaled, strict=True):
        got = Counter(i.target for i in split)
        for label, size in counts.items():
            assert is_free_text(counts) or abs(got[label] - share * size) < 1 + 1e-9


@settings(max_examples=200, deadline=None)
@given(sizes.filter(lambda counts: min(counts.values()) >= 5), st.integers(0, 3))
def test_totals_are_within_one_item_of_the_shares(counts, seed):
    """With 5 items or more, every class reaches every split without bending the totals."""
    items = distinct(counts)
    for split, share in zip(draw(items, DEFAULT_SHARES, seed), SHARES, strict=True):
        assert abs(len(split) - share * len(items)) < 1
        assert {i.target for i in split} == set(counts)


@settings(max_examples=200, deadline=None)
@given(sizes, st.floats(0.05, 0.95), st.integers(0, 3))
def test_the_share_held_out_is_within_one_item_where_classes_need_no_place(counts, share, seed):
    items = distinct({label: 1 for label in counts} if is_free_text(counts) else counts)
    rest, held = hold_out(items, share, seed)
    assert len(rest) + len(held) == len(items)
    bent = 0 if is_free_text(counts) else sum(size * min(share, 1 - share) < 1 for size in counts.values())
    assert abs(len(held) - share * len(items)) < 1 + bent


@pytest.mark.parametrize("size", [1, 2, 7, 13])
def test_small_classes_do_not_add_up_to_skewed_totals(size):
    counts = {f"class {n}": size for n in range(50)}
    items = distinct(counts)
    if size == 1:
        counts = {"": 50}
    lengths = [len(split) for split in draw(items, DEFAULT_SHARES, 0)]
    assert lengths == [round(share * len(items)) for share in SHARES]


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_a_class_of_three_or_more_is_in_every_split(size):
    counts = {f"class {n}": size for n in range(9)}
    for split in draw(distinct(counts), DEFAULT_SHARES, 1):
        assert {i.target for i in split} == set(counts)


def test_the_splits_share_what_classes_in_every_split_take():
    counts = {f"class {n}": 3 + n % 2 for n in range(60)}
    lengths = [len(split) for split in draw(distinct(counts), DEFAULT_SHARES, 0)]
    assert lengths == [75, 60, 75]


def test_a_class_in_groups_is_in_every_split_too():
    items = [Item(str(n), {"text": f"{label}{n // 2}"}, label) for n, label in enumerate("a" * 6 + "b" * 6)]
    for seed in range(20):
        for split in draw(items, DEFAULT_SHARES, seed):
            assert {i.target for i in split} == {"a", "b"}


def test_classes_that_are_one_group_spread_over_the_splits():
    items = [Item(f"{n}{k}", {"text": f"only {n}"}, f"class {n}") for n in range(50) for k in range(2)]
    lengths = [len(split) for split in draw(items, DEFAULT_SHARES, 0)]
    assert all(abs(n - share * 100) <= 10 for n, share in zip(lengths, SHARES, strict=True)), lengths


def test_equal_inputs_are_equal_whatever_the_order_of_their_fields():
    one = [Item(f"1-{n}", {"a": str(n), "b": "x"}, "yes") for n in range(30)]
    two = [Item(f"2-{n}", {"b": "x", "a": str(n)}, "no") for n in range(30)]
    rest, held = hold_out([*one, *two], 0.5, 0)
    assert not {i.inputs["a"] for i in rest} & {i.inputs["a"] for i in held}


def test_unlabelled_items_are_a_stratum_of_their_own():
    items = [Item(str(n), {"text": str(n)}, None if n % 2 else "ab"[n % 4 // 2]) for n in range(100)]
    for split, share in zip(draw(items, DEFAULT_SHARES, 0), SHARES, strict=True):
        assert sum(not i.labelled for i in split) == round(50 * share)


def test_free_text_is_one_stratum():
    items = [Item(str(n), {"text": str(n)}, f"answer {n}") for n in range(11)]
    lengths = [len(split) for split in draw(items, DEFAULT_SHARES, 0)]
    assert lengths in ([4, 2, 5], [5, 2, 4])


def test_seeds_differ_and_hash_randomisation_does_not_matter():
    items = distinct({"a": 20, "b": 20})
    assert draw(items, DEFAULT_SHARES, 0) != draw(items, DEFAULT_SHARES, 1)
    code = (
        "from promptology.data.items import Item; from promptology.data.splits import draw, DEFAULT_SHARES;"
        "items = [Item(str(n), {'text': str(n)}, 'abc'[n % 3]) for n in range(40)];"
        "print([[i.id for i in s] for s in draw(items, DEFAULT_SHARES, 5)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_nothing_to_draw_from():
    assert draw([], DEFAULT_SHARES, 0) == ([], [], [])
    assert hold_out([], 0.5, 0) == ([], [])
    one = [Item("1", {"text": "a"}, "x")]
    assert sorted(map(len, draw(one, DEFAULT_SHARES, 0))) == [0, 0, 1]


def test_shares_need_not_sum_to_one():
    items = distinct({"a": 25, "b": 25})
    assert draw(items, {"train": 2, "validation": 1, "test": 2}, 0) == draw(items, DEFAULT_SHARES, 0)
    assert [len(s) for s in draw(items, {"train": 0, "validation": 0, "test": 1}, 0)] == [0, 0, 50]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"train": 1.0}, "train, validation, test"),
        ({"train": -1, "validation": 1, "test": 1}, "0 or more"),
        ({"train": 0, "validation": 0, "test": 0}, "not all 0"),
        ({"train": math.nan, "validation": 1, "test": 1}, "0 or more"),
    ],
)
def test_unusable_shares(weights, words):
    with pytest.raises(UsageError, match=words) as caught:
        draw(distinct({"a": 4}), weights, 0)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="between 0 and 1"):
        hold_out([], 1.5, 0)
