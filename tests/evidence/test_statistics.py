from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from promptology.data.metrics import F1, Accuracy, TokenF1, as_metric, resample
from promptology.evidence import statistics
from promptology.evidence.statistics import (
    Paired,
    binomial,
    bootstrap_interval,
    holm,
    items_needed,
    mcnemar,
    means_over_resamples,
    paired,
    sample_size_hint,
    verdict,
)


class Gappy:
    """A figure that is not defined on some resamples: precision on class a."""

    name = "precision"
    decomposes = False
    needs: ClassVar[Mapping[str, Any]] = {}

    def item(self, prediction: Any, target: Any) -> float:
        return float(prediction == target)

    def aggregate(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        said = [t == "a" for p, t in zip(predictions, targets, strict=True) if p == "a"]
        return {self.name: sum(said) / len(said) if said else math.nan}


def words(rng, n, share):
    return ["a" if right else "b" for right in rng.random(n) < share]


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        interval = bootstrap_interval(Accuracy(), words(rng, 200, 0.7), ["a"] * 200, rng, 500)
        hits += interval.low <= 0.7 <= interval.high
    assert 0.92 <= hits / 300 <= 0.975


def test_paired_interval_covers_the_true_difference():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        kind = rng.choice(4, 200, p=[0.55, 0.15, 0.08, 0.22])  # both right, only found, only start, neither
        found = ["a" if k in (0, 1) else "b" for k in kind]
        start = ["a" if k in (0, 2) else "b" for k in kind]
        pair = paired(Accuracy(), found, start, ["a"] * 200, rng, 500)
        hits += pair.low <= 0.07 <= pair.high
    assert 0.92 <= hits / 300 <= 0.975


@pytest.mark.parametrize("metric", [Accuracy(), F1("macro"), F1("micro"), TokenF1(), Gappy()])
def test_vectorised_bootstrap_equals_the_loop(metric):
    rng = np.random.default_rng(5)
    predictions, targets = rng.choice(list("abcd"), 40).tolist(), rng.choice(list("abc"), 40).tolist()
    rows = np.random.default_rng(9).integers(0, 40, (200, 40))
    by_hand = [
        next(iter(metric.aggregate([predictions[i] for i in row], [targets[i] for i in row]).values())) for row in rows
    ]
    assert resample(metric, predictions, targets, rows) == pytest.approx(by_hand, nan_ok=True)
    if metric.decomposes:  # counts are drawn in place of items, so the draws differ; one item is 1/40
        by_hand = resample(metric, predictions, targets, np.random.default_rng(9).integers(0, 40, (20_000, 40)))
        interval = bootstrap_interval(metric, predictions, targets, np.random.default_rng(9), 20_000)
        assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])), abs=1 / 40)
        return
    interval = bootstrap_interval(metric, predictions, targets, np.random.default_rng(9), 200)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.nanquantile(by_hand, [0.025, 0.975])))


def test_many_items_are_resampled_in_pieces(monkeypatch):
    rng = np.random.default_rng(3)
    said = words(rng, 60, 0.6)
    whole = bootstrap_interval(Accuracy(), said, ["a"] * 60, np.random.default_rng(1), 400)
    monkeypatch.setattr(statistics, "CELLS", 60 * 7)
    pieces = bootstrap_interval(Accuracy(), said, ["a"] * 60, np.random.default_rng(1), 400)
    assert pieces.value == whole.value
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=0.03)


def test_a_figure_is_the_same_for_the_same_generator():
    rng = np.random.default_rng(3)
    said, other, targets = (rng.choice(list("abc"), 50).tolist() for _ in range(3))
    one, two = (bootstrap_interval(F1("macro"), said, targets, np.random.default_rng(7)) for _ in range(2))
    assert one == two
    assert one.low < one.value < one.high
    left, right = (paired(F1("macro"), said, other, targets, np.random.default_rng(7)) for _ in range(2))
    assert left == right


def test_all_right_is_not_a_certainty():
    rng = np.random.default_rng(0)
    all_right = bootstrap_interval(Accuracy(), ["a"] * 20, ["a"] * 20, rng)
    assert (all_right.value, all_right.high) == (1.0, 1.0)
    assert all_right.low == pytest.approx(0.025 ** (1 / 20))
    assert all_right == binomial(20, 20)
    all_wrong = bootstrap_interval(Accuracy(), ["b"] * 20, ["a"] * 20, rng)
    assert (all_wrong.low, all_wrong.high) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))


def test_no_items_no_figures():
    rng = np.random.default_rng(0)
    interval = bootstrap_interval(Accuracy(), [], [], rng)
    assert all(math.isnan(v) for v in interval[:3])
    assert interval.n == 0
    pair = paired(Accuracy(), [], [], [], rng)
    assert math.isnan(pair.p)
    assert verdict(pair, pair.p) == "no evidence"
    assert math.isnan(binomial(0, 0).value)


def test_binomial_against_a_table():
    assert binomial(7, 10)[:3] == pytest.approx((0.7, 0.3475471, 0.9332605))


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
    assert pair.p == pytest.approx(22 / 1024)  # 2 (C(10,0) + C(10,1)) / 2**10
    assert verdict(pair, pair.p) == "better"
    assert verdict(pair, 0.06) == "no evidence"
    back = paired(Accuracy(), start, found, targets, np.random.default_rng(0))
    assert verdict(back, back.p) == "worse"
    assert back.difference == -pair.difference


def test_both_prompts_must_be_resampled_together():
    rng = np.random.default_rng(0)
    start = words(rng, 400, 0.5)
    found = [*start[:-8], *["a"] * 8]
    pair = paired(Accuracy(), found, start, ["a"] * 400, rng)
    assert pair.high - pair.low < 0.03  # unpaired: about 0.14


@pytest.mark.parametrize("metric", [Accuracy(), TokenF1(), F1("macro")])
def test_identical_prompts_are_no_evidence(metric):
    pair = paired(metric, ["x y"] * 9, ["x y"] * 9, ["x z"] * 9, np.random.default_rng(0))
    assert (pair.difference, pair.low, pair.high, pair.p) == (0, 0, 0, 1)
    assert (pair.better, pair.worse) == (0, 0)
    assert verdict(pair, pair.p) == "no evidence"


@pytest.mark.parametrize(("n", "expected"), [(4, "no evidence"), (6, "better")])
def test_every_item_changed_is_no_certainty(n, expected):
    pair = paired(Accuracy(), ["a"] * n, ["b"] * n, ["a"] * n, np.random.default_rng(0))
    assert (pair.difference, pair.high) == (1, 1)
    assert pair.low == pytest.approx(2 * 0.025 ** (1 / n) - 1)
    assert verdict(pair, pair.p) == expected
    back = paired(Accuracy(), ["b"] * n, ["a"] * n, ["a"] * n, np.random.default_rng(0))
    assert (back.low, back.high) == pytest.approx((-1, -pair.low))


def test_paired_bootstrap_for_figures_that_are_not_counts():
    rng = np.random.default_rng(1)
    targets = rng.choice(list("abc"), 200).tolist()
    start = rng.choice(list("abc"), 200).tolist()
    pair = paired(F1("macro"), targets, start, targets, rng)
    assert pair.test == "paired bootstrap"
    assert pair.p == pytest.approx(2 / 2001)
    assert pair.low < pair.difference < pair.high
    assert verdict(pair, pair.p) == "better"


def test_f1_may_differ_where_no_item_does():
    targets = ["a", "b", "c"] * 30
    wrong = paired(F1("macro"), ["b", "b", "b"] * 30, ["c", "b", "b"] * 30, targets, np.random.default_rng(0))
    assert (wrong.better, wrong.worse) == (0, 0)
    assert wrong.difference < 0
    assert wrong.p < 1


def test_a_figure_without_value_gives_no_verdict():
    pair = paired(Gappy(), ["b"] * 9, ["b"] * 9, ["a"] * 9, np.random.default_rng(0), 50)
    assert math.isnan(pair.p)
    assert math.isnan(pair.low)
    assert verdict(pair, pair.p) == "no evidence"


def test_false_verdicts_are_rare_under_no_difference():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        one, two = words(rng, 100, 0.7), words(rng, 100, 0.7)
        pair = paired(Accuracy(), one, two, ["a"] * 100, rng, 300)
        wrong += verdict(pair, pair.p) != "no evidence"
    assert wrong / 200 <= 0.06


def test_better_needs_the_test_and_the_interval():
    pair = Paired(0.05, 0.0, 0.1, 0.01, "exact McNemar", 9, 1, 100)
    assert verdict(pair, 0.01) == "no evidence"
    assert verdict(pair._replace(low=0.001), 0.01) == "better"
    assert verdict(pair._replace(low=-0.1, high=-0.001), 0.01) == "worse"
    assert verdict(pair._replace(low=0.001), math.nan) == "no evidence"


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    with_nan = holm([0.01, math.nan, 0.02])
    assert (with_nan[0], with_nan[2]) == (0.02, 0.02)
    assert math.isnan(with_nan[1])
    assert holm([]) == []


def test_sample_size():
    assert items_needed(0.05, 0.15) == 471
    assert items_needed(0.03, 0.15) == items_needed(disagreement=0.15) == 1307
    assert sample_size_hint(448, 0.15) == (
        "to see a difference of 3 points at this disagreement (15 %) you need 1,307 items; 448 show one of 5.1 points"
    )
    assert sample_size_hint(10, 0.1).endswith("10 are too few to show any")
    assert sample_size_hint(0, 0.1) == sample_size_hint(10, 0.0) == ""


def test_user_function_is_a_metric_here_too():
    metric = as_metric(lambda p, t: 1.0 if p in t else 0.0)
    pair = paired(metric, ["a", "b"], ["c", "b"], ["abc", "b"], np.random.default_rng(0))
    assert isinstance(pair, Paired)
    assert pair.better == 0


@pytest.mark.parametrize("items", [[0, 1, 1], [1, 0, -1, 0], [0.5, 0.25, 0.25, 1]])
def test_counts_drawn_are_resamples(items):
    items = np.array(items, float)
    every = [np.round(np.mean(draw), 12) for draw in itertools.product(items, repeat=len(items))]
    expected = Counter(every)
    drawn = Counter(means_over_resamples(items, np.random.default_rng(0), 200_000).tolist())
    assert set(drawn) <= set(expected)
    for mean, count in expected.items():
        share = count / len(every)
        assert drawn[mean] / 200_000 == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 200_000))


def test_intervals_from_counts_and_from_items_agree():
    metric = as_metric("accuracy")
    rng = np.random.default_rng(3)
    targets = ["a"] * 300
    said = ["a" if right else "b" for right in rng.random(300) < 0.7]
    other = ["a" if right else "b" for right in rng.random(300) < 0.6]

    class Plain(type(metric)):
        def item(self, prediction, target):
            return super().item(prediction, target) + next(noise)

    # The same scores with differences too small to matter, so that no two items are alike and items are drawn.
    noise = (x * 1e-13 for x in itertools.count())
    for seed in range(3):
        fast = bootstrap_interval(metric, said, targets, np.random.default_rng(seed), 20_000)
        plain = bootstrap_interval(Plain(), said, targets, np.random.default_rng(seed), 20_000)
        assert plain[:3] == pytest.approx(fast[:3], abs=2 / 300)
        one = paired(metric, said, other, targets, np.random.default_rng(seed), 20_000)
        two = paired(Plain(), said, other, targets, np.random.default_rng(seed), 20_000)
        assert two[:3] == pytest.approx(one[:3], abs=3 / 300)
