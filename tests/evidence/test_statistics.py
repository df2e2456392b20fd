from __future__ import annotations

import math

import numpy as np
import pytest

from promptology.data.metrics import F1, Accuracy, TokenF1, as_metric
from promptology.evidence.statistics import (
    Paired,
    binomial,
    bootstrap_interval,
    holm,
    items_needed,
    mcnemar,
    paired,
    sample_size_hint,
    verdict,
)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        right = rng.random(200) < 0.7
        interval = bootstrap_interval(Accuracy(), ["a" if r else "b" for r in right], ["a"] * 200, rng, 500)
        hits += interval.low <= 0.7 <= interval.high
    assert 0.92 <= hits / 300 <= 0.975


def test_interval_is_the_same_for_the_same_generator():
    rng = np.random.default_rng(3)
    predictions, targets = rng.choice(list("abc"), 50).tolist(), rng.choice(list("abc"), 50).tolist()
    one, two = (bootstrap_interval(F1("macro"), predictions, targets, np.random.default_rng(7)) for _ in range(2))
    assert one == two
    assert one.low < one.value < one.high


def test_all_right_is_not_a_certainty():
    rng = np.random.default_rng(0)
    all_right = bootstrap_interval(Accuracy(), ["a"] * 20, ["a"] * 20, rng)
    assert (all_right.value, all_right.high) == (1.0, 1.0)
    assert all_right.low == pytest.approx(1 - (1 - 0.025 ** (1 / 20)), abs=1e-9)
    assert all_right == binomial(20, 20)
    assert math.isnan(bootstrap_interval(Accuracy(), [], [], rng).value)


@pytest.mark.parametrize(
    ("better", "worse", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (1, 8, 0.0390625), (10, 2, 0.03857421875)]
)
def test_mcnemar_by_hand(better, worse, p):
    assert mcnemar(better, worse) == pytest.approx(p)


def test_paired_counts_discordant_items():
    targets = ["a"] * 20
    start = ["b"] * 10 + ["a"] * 10
    found = ["a"] * 9 + ["b"] + ["a"] * 9 + ["b"]
    pair = paired(Accuracy(), found, start, targets, np.random.default_rng(0))
    assert (pair.better, pair.worse, pair.n, pair.test) == (9, 1, 20, "exact McNemar")
    assert pair.difference == pytest.approx(0.4)
    assert pair.p == pytest.approx(mcnemar(9, 1))
    assert verdict(pair, pair.p) == "better"
    assert verdict(pair, 0.06) == "no evidence"
    back = paired(Accuracy(), start, found, targets, np.random.default_rng(0))
    assert verdict(back, back.p) == "worse"
    assert back.difference == -pair.difference


def test_identical_prompts_are_no_evidence():
    pair = paired(TokenF1(), ["x y"] * 9, ["x y"] * 9, ["x z"] * 9, np.random.default_rng(0))
    assert (pair.difference, pair.low, pair.high, pair.p) == (0, 0, 0, 1)
    assert verdict(pair, pair.p) == "no evidence"


def test_paired_bootstrap_for_figures_that_are_not_counts():
    rng = np.random.default_rng(1)
    targets = rng.choice(list("abc"), 200).tolist()
    start = rng.choice(list("abc"), 200).tolist()
    pair = paired(F1("macro"), targets, start, targets, rng)
    assert pair.test == "paired bootstrap"
    assert pair.p == pytest.approx(2 / 2001)
    assert verdict(pair, pair.p) == "better"


def test_false_verdicts_are_rare_under_no_difference():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        targets = ["a"] * 100
        one, two = (["a" if r else "b" for r in rng.random(100) < 0.7] for _ in range(2))
        pair = paired(Accuracy(), one, two, targets, rng, 300)
        wrong += verdict(pair, pair.p) != "no evidence"
    assert wrong / 200 <= 0.06


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    with_nan = holm([0.01, math.nan, 0.02])
    assert with_nan[0] == 0.02
    assert math.isnan(with_nan[1])
    assert holm([]) == []


def test_sample_size():
    assert items_needed(0.05, 0.15) == 471
    assert items_needed(0.03, 0.15) == 1307
    assert "1,307" in sample_size_hint(448, 0.15)
    assert "448" in sample_size_hint(448, 0.15)


def test_user_function_is_a_metric_here_too():
    metric = as_metric(lambda p, t: 1.0 if p in t else 0.0)
    pair = paired(metric, ["a", "b"], ["c", "b"], ["abc", "b"], np.random.default_rng(0))
    assert isinstance(pair, Paired)
    assert pair.better == 0
