"""Metrics against scikit-learn, and the fast resampling against the plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from promptology.data.items import ClassLabel, Signature
from promptology.data.metrics import F1, METRICS, Accuracy, as_metric, default_metric, resample
from promptology.errors import UsageError


def case(seed, classes="abcd", n=60, unparsable=True):
    rng = np.random.default_rng(seed)
    targets = rng.choice(list(classes), n).tolist()
    pool = [*classes, "z", *([None] if unparsable else [])]
    guesses = [t if rng.random() < 0.5 else pool[rng.integers(len(pool))] for t in targets]
    return guesses, targets


@pytest.mark.parametrize("seed", range(8))
def test_against_scikit_learn(seed):
    guesses, targets = case(seed)
    said = ["(none)" if g is None else g for g in guesses]
    labels = sorted(set(targets))
    assert Accuracy().aggregate(guesses, targets)["accuracy"] == pytest.approx(accuracy_score(targets, said))
    for average in ("macro", "micro"):
        expected = f1_score(targets, said, labels=labels, average=average, zero_division=0)
        assert F1(average).aggregate(guesses, targets)[f"{average}_f1"] == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_resampling_equals_the_loop(name):
    metric = as_metric(name)
    guesses, targets = case(1, n=30)
    indices = np.random.default_rng(2).integers(0, 30, (25, 30))
    slow = [
        next(iter(metric.aggregate([guesses[i] for i in row], [targets[i] for i in row]).values())) for row in indices
    ]
    np.testing.assert_allclose(resample(metric, guesses, targets, indices), slow)


def test_texts():
    exact, tokens = as_metric("exact-match"), as_metric("token_f1")
    assert exact.item(" The  Cat. ", "the cat") == 1
    assert exact.item(None, "x") == 0
    assert tokens.item("the black cat", "black cat sleeps") == pytest.approx(2 / 3)
    assert tokens.item("", "x") == 0
    assert tokens.item("...", "!") == 1


def test_nothing_to_score_is_not_a_number():
    assert all(math.isnan(next(iter(as_metric(name).aggregate([], []).values()))) for name in METRICS)


def test_functions_and_names(tmp_path, monkeypatch):
    assert as_metric(lambda p, t: 0.25).aggregate(["a", None], ["b", "c"]) == {"<lambda>": 0.125}
    (tmp_path / "my_metric.py").write_text("def half(p, t):\n    return 0.5\n")
    monkeypatch.chdir(tmp_path)
    assert as_metric("my_metric:half").item("a", "b") == 0.5
    for wrong, words in (
        ("acc", "did you mean 'accuracy'"),
        ("my_metric:nothing", "no function 'nothing'"),
        ("no_such_module:f", "cannot import"),
        (7, "int is not a metric"),
    ):
        with pytest.raises(UsageError, match=words):
            as_metric(wrong)
    for fault in (lambda p, t: math.nan, lambda p, t: 1 / 0):
        with pytest.raises(UsageError, match="metric"):
            as_metric(fault).item("a", "b")
    assert default_metric(Signature()).name == "exact_match"
    assert default_metric(Signature((), "class", (ClassLabel("a"),))).name == "accuracy"
