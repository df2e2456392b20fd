"""The instance-wise front on a hand-made score table."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from promptology.data.items import Signature
from promptology.prompts.start import start_from
from promptology.search.pareto import Population, best_on, contested, draw, frequencies, front

nan = np.nan
# Best per item: item 0 A, B and D; item 1 B and D; item 2 C; item 3 A, B, C and D; item 4 B; item 5 D.
TABLE = np.array(
    [
        [1.0, 0.0, 0.0, 1.0, 0.2, 0.0],  # A: only where B is as good
        [1.0, 1.0, 0.0, 1.0, 0.9, 0.0],  # B
        [0.0, 0.0, 0.3, 1.0, 0.0, 0.0],  # C: the lowest mean, and alone on item 2
        [1.0, 1.0, 0.0, 1.0, 0.0, 0.4],  # D
        [0.9, 0.9, 0.2, 0.9, 0.8, 0.3],  # E: a good mean, and nowhere the best
    ]
)


def test_frequencies_of_a_hand_made_table():
    assert best_on(TABLE).sum(axis=1).tolist() == [2, 4, 2, 4, 0]
    assert frequencies(TABLE).tolist() == [0, 4, 2, 4, 0]
    assert front(TABLE)[1].tolist() == [True, True, False, True, True, False]


def test_every_item_keeps_a_best_one_and_who_could_go_is_gone():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.integers(0, 3, size=(rng.integers(1, 8), rng.integers(1, 6))) / 2
        best, kept = best_on(values), front(values)
        assert kept.any(axis=0).all() and not (kept & ~best).any()
        for row in np.flatnonzero(kept.any(axis=1)):
            alone = kept[row] & (kept.sum(axis=0) == 1)
            assert alone.any()
            assert (kept[row] == best[row]).all()


def test_the_lower_mean_leaves_first_and_among_equals_the_older():
    assert frequencies(np.array([[1.0, 0.5], [1.0, 0.4], [0.0, 0.6]])).tolist() == [1, 0, 1]
    assert frequencies(np.array([[1.0, 0.0], [1.0, 0.0]])).tolist() == [0, 2]


def test_a_chain_of_covers_is_resolved_one_by_one():
    # Any two of the three cover all items: the first goes, then the others are needed.
    assert frequencies(np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], float)).tolist() == [0, 2, 2]


def test_missing_scores_are_never_the_best():
    values = np.array([[nan, 1.0, nan], [0.0, nan, nan]])
    assert best_on(values).tolist() == [[False, True, False], [True, False, False]]
    assert frequencies(values).tolist() == [1, 1]
    assert draw(np.full((2, 3), nan), np.random.default_rng(0)) == 0


def test_draws_follow_the_frequencies():
    rng = np.random.default_rng(1)
    drawn = Counter(draw(TABLE, rng) for _ in range(10_000))
    assert set(drawn) == {1, 2, 3}
    # 4 : 2 : 4; three standard errors of a share of 0.4 of 10,000 draws are 0.015.
    for candidate, share in ((1, 0.4), (2, 0.2), (3, 0.4)):
        assert drawn[candidate] / 10_000 == pytest.approx(share, abs=0.015)


def population(scores, parents):
    start = start_from(Signature(instruction="Say it."), ("generates",))
    return Population([start.with_instruction(f"p{n}") for n in range(len(parents))], parents, np.array(scores, float))


def test_merges_join_cousins_over_their_nearest_ancestor():
    scores = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.9, 0, 0.2]]
    cousins = population(scores, [(), (0,), (0,), (1,)])
    assert cousins.ancestors(3) == {0, 1}
    # 3 stems from 1; 1 and 2 as well as 2 and 3 have only the start in common.
    assert cousins.pairs() == [(1, 2, 0), (2, 3, 0)]
    cousins.merged.add((1, 2))
    assert cousins.pairs() == [(2, 3, 0)]
    nearer = population([[0, 0, 0], [0.2, 0.2, 0.2], [1, 0, 0.1], [0, 1, 0.1]], [(), (0,), (1,), (1,)])
    assert nearer.pairs() == [(2, 3, 1)]
    worse = population([[0, 0, 0], [0.6, 0.6, 0.6], [1, 0, 0], [0, 1, 0]], [(), (0,), (1,), (1,)])
    assert worse.pairs() == []


def test_a_long_line_of_descent_is_no_problem():
    n = 3000
    line = population(np.zeros((n, 1)), [(), *((i,) for i in range(n - 1))])
    assert len(line.ancestors(n - 1)) == n - 1


def test_contested_items_come_in_turn():
    one, two = np.array([1, 1, 1, 0, 0, nan, 0.5]), np.array([0, 0, 0, 1, 0, 0, 0.5])
    chosen = contested(one, two, 5, np.random.default_rng(0))
    assert len(set(chosen)) == 5 and 5 not in chosen
    kinds = Counter(float(np.sign(one[i] - two[i])) for i in chosen)
    assert kinds == {1.0: 2, -1.0: 1, 0.0: 2}
    assert sorted(contested(one, two, 50, np.random.default_rng(0))) == [0, 1, 2, 3, 4, 6]
