"""Word edits: the distance against the textbook's table, and the metric that negates it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from promptology.data.edits import EditCost, edit_distance, edits, words
from promptology.data.metrics import metric
from promptology.evidence.statistics import bootstrap_interval


def by_table(one, other):
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("", "a b", 2),
        ("a b", "", 2),
        ("the cat sat", "the cat sat", 0),
        ("the cat sat", "the  cat\n sat ", 0),  # spaces are nothing
        ("the cat sat", "The cat sat", 1),  # case is something
        ("the cat sat", "the cat sat.", 1),
        ("the cat sat", "a cat sat down", 2),
        ("k i t t e n", "s i t t i n g", 3),
        ("don't go", "do not go", 2),
        ("fine \U0001f642", "fine", 1),
    ],
)
def test_distances_by_hand(one, other, distance):
    assert edits(one, other) == edits(other, one) == distance
    assert (distance == 0) == (words(one) == words(other))


def test_the_distance_is_that_of_the_table():
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = ([str(w) for w in rng.integers(4, size=rng.integers(80))] for _ in range(2))
        assert edit_distance(one, other) == by_table(one, other)


def test_texts_of_100_kilobytes_take_seconds_at_most():
    rng = np.random.default_rng(1)
    one, other = (" ".join(map(str, rng.integers(1000, size=20_000))) for _ in range(2))
    began = time.monotonic()
    assert 0 < edits(one, other) <= 20_000
    assert time.monotonic() - began < 10


def test_the_metric_is_negated_and_takes_the_nearest_of_several_texts():
    cost = metric("edit-cost")
    assert isinstance(cost, EditCost)
    assert cost.item("a b c", "a b c") == 0 and cost.item("a b", "a b c d") == -2
    assert cost.item("a b", ("x y z", "a")) == -1
    assert cost.item(None, "a b c") == -3
    assert cost.aggregate(["a b", "a b"], ["a b", "a"]) == {"edit_cost": -0.5, "edits_per_100_words": 25.0}


def test_drafts_that_are_all_right_have_no_interval_above_0():
    found = bootstrap_interval(EditCost(), ["a b"] * 9, ["a b"] * 9, np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (0, 0, 0)
