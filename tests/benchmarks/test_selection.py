"""B9: its tables, the rules it is measured against, and figures of means."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.b09_selection import ITEMS, PROMPTS, SETTINGS, SIDES, drawn, generated
from benchmarks.common import run_side
from benchmarks.environments import PEERS
from benchmarks.ratios import bootstrap


def test_generated_tables_have_the_accuracy_they_name_and_shared_difficulty():
    cases = [generated(seed) for seed in range(40)]
    assert cases[0].scores.shape == (PROMPTS, ITEMS) and set(np.unique(cases[0].scores)) == {0.0, 1.0}
    off = [case.scores.mean(axis=1) - case.true for case in cases]
    # The items of a table move all its prompts together: the mean over 40 tables of 200 items is within 4 errors.
    assert abs(np.mean(off)) < 4 * np.std([np.mean(o) for o in off]) / np.sqrt(40)
    assert 0.05 < np.mean([case.true.std() for case in cases]) < 0.07
    agreement = np.mean([np.corrcoef(case.scores)[0, 1:].mean() for case in cases])
    assert agreement > 0.2
    assert np.array_equal(generated(3).scores, cases[3].scores)


def test_drawn_tables_keep_the_items_of_the_measure_apart():
    whole = np.arange(40 * 250).reshape(40, 250) % 7 / 7.0
    case = drawn(whole, 5)
    assert case.scores.shape == (PROMPTS, ITEMS) and case.true.shape == (PROMPTS,)
    rows = np.random.default_rng(5).permutation(40)[:PROMPTS]
    total = case.scores.sum(axis=1) + case.true * (250 - ITEMS)
    assert total == pytest.approx(whole[rows].sum(axis=1))


def test_the_rules_on_a_table_without_doubt():
    """One prompt is right throughout, one on every second item, two never."""
    table = np.zeros((4, 60))
    table[2], table[1, ::2] = 1.0, 1.0
    spec = {"tables": [table.tolist()], **SETTINGS, "keep": [1, 2]}
    found = run_side("bare", "selection.choose", spec)["found"]
    assert found["full evaluation"] == [[2, 240]]
    # After one block of 20 all others are clearly worse than one rival; with two survivors, 0 and 3 leave.
    assert found["CAPO race, keep 1"] == [[2, 80]] == found["CAPO race, keep 2"]
    ours = run_side("ours", "selection.choose", spec)["found"]
    assert {chosen for ((chosen, _),) in ours.values()} == {2}
    assert all(spent <= 240 for ((_, spent),) in ours.values())


def test_figures_of_means():
    assert bootstrap(lambda a, b: a / b, [1.0, 3.0, 8.0], [2.0, 6.0, 16.0], centre="mean") == (0.5, 0.5, 0.5)
    assert bootstrap(lambda a: a, [1.0, 2.0, 9.0], centre="mean").value == 4.0
    assert bootstrap(lambda a: a, [1.0, 2.0, 9.0]).value == 2.0


def test_the_pruner_comes_with_what_it_computes_with():
    assert PEERS["optuna"].also == ("scipy",) and "optuna" in SIDES
