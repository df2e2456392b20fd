"""Batches: each item once an epoch, the same batch for the same step, similar lengths together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptology.errors import UsageError
from promptology.training.batches import Batches, epochs_to_steps


def made(n, size, seed=0, lengths=None):
    return Batches(list(range(n)), size, np.random.default_rng(seed), lengths)


@given(n=st.integers(1, 120), size=st.integers(1, 20), seed=st.integers(0, 5), bucketed=st.booleans())
@settings(max_examples=150, deadline=None)
def test_each_item_stands_once_in_each_epoch(n, size, seed, bucketed):
    lengths = [i % 7 for i in range(n)] if bucketed else None
    batches = made(n, size, seed, lengths)
    steps = -(-3 * n // size)
    stream = [i for k in range(steps) for i in batches(k)]
    for epoch in range(3):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(n=st.integers(1, 60), size=st.integers(1, 9), bucketed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_step_is_a_function_of_its_number(n, size, bucketed):
    lengths = [i * i % 11 for i in range(n)] if bucketed else None
    forward = made(n, size, 3, lengths)
    there = [forward(k) for k in range(40)]
    back = made(n, size, 3, lengths)
    assert [back(k) for k in reversed(range(40))] == there[::-1]


def test_what_fills_no_batch_can_be_left_out_of_an_epoch():
    batches = Batches(list(range(12)), 5, np.random.default_rng(0), drop_last=True)
    whole = made(12, 12)
    for epoch in range(3):
        assert batches(2 * epoch) + batches(2 * epoch + 1) == whole(epoch)[:10]
    even = Batches(list(range(12)), 4, np.random.default_rng(0), drop_last=True)
    assert [even(k) for k in range(9)] == [made(12, 4)(k) for k in range(9)]
    with pytest.raises(UsageError, match="no larger than the 3 items"):
        Batches([1, 2, 3], 4, np.random.default_rng(0), drop_last=True)


def test_epochs_and_seeds_differ():
    assert made(50, 50)(0) != made(50, 50)(1)
    assert made(50, 50)(0) != made(50, 50, seed=1)(0)


def test_buckets_hold_similar_lengths_in_random_order():
    lengths = np.random.default_rng(1).integers(1, 200, 640)
    spread = {}
    for name, given_lengths in (("plain", None), ("bucketed", lengths)):
        batches = made(640, 16, 0, given_lengths)
        spread[name] = np.mean([np.ptp(lengths[batches.indices(k)]) for k in range(40)])
    assert spread["bucketed"] < 0.2 * spread["plain"]
    means = [lengths[made(640, 16, 0, lengths).indices(k)].mean() for k in range(40)]
    assert means != sorted(means)
    assert means[:16] != sorted(means[:16])


def test_a_batch_may_be_larger_than_the_items():
    assert sorted(made(3, 7)(0)[:3]) == [0, 1, 2]
    assert len(made(3, 7)(0)) == 7


def test_epochs_as_steps():
    assert epochs_to_steps(1, 10, 3) == 4
    assert epochs_to_steps(3, 10, 3) == 10
    assert epochs_to_steps(0.5, 10, 5) == 1
    assert epochs_to_steps(0, 10, 5) == 1
    assert made(10, 3).steps(2) == 7


def test_what_cannot_be_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="no items"):
        Batches([], 3, rng)
    with pytest.raises(UsageError, match="too small"):
        Batches([1], 0, rng)
    with pytest.raises(UsageError, match="2 lengths were given for 1 items"):
        Batches([1], 1, rng, [1, 2])
