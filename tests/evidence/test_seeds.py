"""Several seeds: figures by hand, what the interval covers, and the limits of the estimate."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from promptology.data.metrics import F1, Accuracy
from promptology.evidence.measuring import Measured
from promptology.evidence.protocols import Evidence
from promptology.evidence.seeds import TEST, pool
from promptology.evidence.statistics import bootstrap_interval, mcnemar, over_seeds, paired, sign_flips
from promptology.run.cost import ZERO


def test_seeds_alone_are_a_t_test_by_hand():
    mean = over_seeds([0.1, 0.2, 0.3], np.zeros((3, 3)), 50)
    # standard error 0.1 / sqrt(3), t of 2 degrees of freedom: 4.30265; p = 1 - t / sqrt(t^2 + 2) with t = 2 sqrt(3)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.2, 0.2 - 0.248414, 0.2 + 0.248414), abs=1e-6)
    assert mean.p == pytest.approx(1 - 12**0.5 / 14**0.5, abs=1e-9)


def test_items_alone_are_a_t_test_by_hand():
    mean = over_seeds([0.2, 0.2], np.full((2, 2), 0.0025), 101)
    assert mean.high - 0.2 == pytest.approx(1.983972 * 0.05, abs=1e-6)  # t of 100 degrees of freedom


def test_seeds_and_items_add_by_hand():
    mean = over_seeds([0.2, 0.4], np.array([[0.010, 0.004], [0.004, 0.010]]), 50)
    # A = 0.02 / 2, B = 0.004, freedom = 0.014^2 / (0.01^2 / 1 + 0.004^2 / 49) = 1.9536, between t of 1 and t of 2
    half = (mean.high - mean.low) / 2 / 0.014**0.5
    assert 4.30265 < half < 12.7062
    assert half == pytest.approx(4.41, abs=0.02)


def test_never_below_what_the_items_alone_say():
    apart = np.array([[0.01, -0.002], [-0.002, 0.01]])
    mean = over_seeds([0.2, 0.2], apart, 10_001)
    assert mean.high - 0.2 == pytest.approx(1.9602 * apart.mean() ** 0.5, rel=1e-3)
    assert over_seeds([0.2, 0.2], np.zeros((2, 2)), 10) is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [(0.0, 1.0, 1.0), (0.3, 1.0, 1.0), (0.1, 0.0, 1.0), (1.0, 0.3, 0.3)])
def test_interval_covers_the_truth_over_seeds_and_items(seeds, spread):
    of_seed, of_item, of_both = spread
    rng = np.random.default_rng(7)
    hits, narrow = 0, 0
    for _ in range(400):
        scores = of_seed * rng.normal(size=(seeds, 1)) + of_item * rng.normal(size=(1, 60))
        scores = scores + of_both * rng.normal(size=(seeds, 60))
        mean = over_seeds(scores.mean(axis=1), np.cov(scores) / 60, 60)
        hits += mean.low <= 0 <= mean.high
        reach = 1.96 * (np.cov(scores) / 60).mean() ** 0.5  # the items alone, seeds taken for certain
        narrow += abs(scores.mean()) <= reach
    assert hits / 400 >= 0.9
    if of_seed >= 0.3:
        assert narrow / 400 < 0.85  # why the seeds must be in it


def test_sign_flips_by_hand():
    assert sign_flips([2, 1]) == pytest.approx(2 / 4)
    assert sign_flips([2, 2, 1, 0]) == pytest.approx(2 / 8)
    assert sign_flips([1] * 5 + [-1] * 2 + [0] * 9) == pytest.approx(mcnemar(5, 2))
    assert sign_flips([0, 0]) == sign_flips([]) == 1.0


def test_sign_flips_equal_the_enumeration():
    rng = np.random.default_rng(3)
    for _ in range(30):
        sums = rng.integers(-3, 4, 9).tolist()
        signs = np.array(list(itertools.product((-1, 1), repeat=9)))
        far = np.abs(signs @ np.abs(sums)) >= abs(sum(sums))
        assert sign_flips(sums) == pytest.approx(far.mean())


def result(found, start=None, protocol="holdout", verdict="no evidence", ids=None):
    ids = ids or [f"i{n}" for n in range(len(found))]
    sides = [Measured(list(said), ["a"] * len(ids), ids, 0, 1.0, ZERO) for said in (found, start or "b" * len(found))]
    rng = np.random.default_rng(0)
    metric = Accuracy()
    intervals = [bootstrap_interval(metric, m.outputs, m.targets, rng) for m in sides]
    pair = paired(metric, sides[0].outputs, sides[1].outputs, sides[0].targets, rng)
    evidence = Evidence(protocol, "accuracy", verdict, len(ids), intervals[1], intervals[0], pair, sides[1], sides[0])
    return SimpleNamespace(evidence=evidence)


def rng():
    return np.random.default_rng(0)


def test_two_seeds_on_four_items_by_hand():
    pooled = pool([result("aabb"), result("abbb")], Accuracy(), rng())
    d = pooled.difference
    # A = 0.03125 / 2; items: covariance 0.125 / 4, freedom 3.857, so half = 2.8195 * sqrt(0.046875)
    assert (d.difference, d.better, d.worse, d.n, d.test) == (0.375, 2, 0, 4, TEST)
    assert (d.high - d.low) / 2 == pytest.approx(0.6104, rel=0.05)
    assert d.p == pytest.approx(0.5)  # four signs of (2, 1), two of them as far: the items allow no less
    assert (pooled.score.value, pooled.score.low, pooled.score.n) == (0.375, 0.0, 4)
    assert pooled.start.value == 0.0


def test_seeds_that_score_alike_are_one_seed():
    one = result("aaab" * 10)
    pooled = pool([one, result("aaac" * 10), result("aaab" * 10)], Accuracy(), rng())
    assert pooled.difference == one.evidence.difference
    assert pooled.score == one.evidence.found


def test_only_items_of_all_seeds_count():
    short = result("aab", ids=["i2", "i1", "i9"])
    pooled = pool([result("aaaa"), short, result("aaab")], Accuracy(), rng())
    assert (pooled.score.n, pooled.score.value) == (2, 1.0)
    assert pool([result("aaaa"), result("", ids=[])], Accuracy(), rng()) is None


def test_a_figure_that_is_no_mean_of_items():
    pooled = pool([result("aabbab"), result("abbbaa"), result("aaabaa")], F1("macro"), rng())
    assert pooled.difference.low < pooled.difference.difference < pooled.difference.high
    assert 0 < pooled.difference.p <= 1


def test_duels_over_seeds():
    def duel(votes, verdict="no evidence"):
        ids = [f"i{n}" for n in range(len(votes))]
        found = Measured(votes, [None] * len(votes), ids, 0, 1.0, ZERO)
        evidence = Evidence("duel", "win share", verdict, len(votes), found_measured=found if votes else None)
        return SimpleNamespace(evidence=evidence)

    results = [duel([1.0] * 8 + [0.0] * 2), duel([1.0] * 6 + [0.5] * 4), duel([], "start")]
    pooled = pool(results, Accuracy(), rng())
    assert pooled.score.value == pytest.approx((0.8 + 0.8 + 0.5) / 3)
    assert pooled.difference.difference == pytest.approx(0.2)
    assert pooled.start.value == 0.5
    # sums over seeds, in half votes: 6 x 2, 2 x 1, 2 x -1
    assert pooled.difference.p >= sign_flips([2] * 6 + [1] * 2 + [-1] * 2)
