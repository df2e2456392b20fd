"""Metrics of lists against scikit-learn, scipy and counts by hand; resampling against the loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import f1_score, jaccard_score, ndcg_score
from sklearn.preprocessing import MultiLabelBinarizer

from promptology.data.metrics import metric
from promptology.data.scoring import Metric, resample

NAMES = ("a", "b", "c", "d")
sets = st.sets(st.sampled_from(NAMES)).map(lambda s: tuple(sorted(s)))
pairs = st.lists(st.tuples(st.one_of(sets, st.none()), sets), min_size=1)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_several_classes_equal_scikit_learn(pairs):
    predictions, targets = map(list, zip(*pairs, strict=True))
    binary = MultiLabelBinarizer(classes=NAMES)
    real, said = binary.fit_transform(targets), binary.fit_transform([p or () for p in predictions])
    present = np.flatnonzero(real.any(axis=0))
    figures = metric("micro-f1").aggregate(predictions, targets)
    assert list(figures) == ["micro_f1", "macro_f1", "exact_match", "jaccard"]
    assert figures["micro_f1"] == pytest.approx(f1_score(real, said, average="micro", zero_division=0))
    macro = f1_score(real, said, average="macro", labels=present, zero_division=0) if len(present) else 0.0
    assert figures["macro_f1"] == pytest.approx(macro)
    unread = np.array([p is None for p in predictions])
    assert figures["exact_match"] == pytest.approx(((real == said).all(axis=1) & ~unread).mean())
    read, share = ~unread, float((~unread).mean())
    items = [metric("micro_f1").item(p, t) for p, t in zip(predictions, targets, strict=True)]
    for figure, theirs in ((figures["jaccard"], jaccard_score), (np.mean(items), f1_score)):
        mean = theirs(real[read], said[read], average="samples", zero_division=1.0) if read.any() else 0.0
        assert figure == pytest.approx(mean * share)


def test_classes_that_no_target_has_still_cost_micro_f1():
    assert metric("micro_f1").aggregate([("a", "z")], [("a",)])["micro_f1"] == pytest.approx(2 / 3)
    assert metric("macro_f1").aggregate([("a", "z")], [("a",)])["macro_f1"] == 1.0


WORDS = ("Rome", "rome.", "New  York", "new york", "Oslo", "Bern")
ORDERS = [tuple(np.random.default_rng(n).permutation(list("wxyz")).tolist()) for n in range(24)]


def drawn(name, rng, n=40):
    """Return predictions and targets of the kind that a metric scores."""
    if name in ("kendall_tau", "ndcg", "mrr"):
        pick = lambda: ORDERS[rng.integers(24)]  # noqa: E731
    else:
        pool = WORDS if name in ("span_f1", "token_f1") else NAMES
        pick = lambda: tuple(sorted(w for w in pool if rng.random() < 0.4))  # noqa: E731
    return [pick() if rng.random() < 0.9 else None for _ in range(n)], [pick() for _ in range(n)]


LISTS = ("micro_f1", "macro_f1", "exact_match", "jaccard", "span_f1", "token_f1", "kendall_tau", "ndcg", "mrr")


@pytest.mark.parametrize("name", LISTS)
def test_resampled_equals_the_loop(name):
    rng = np.random.default_rng(1)
    scored = metric(name)
    assert isinstance(scored, Metric)
    predictions, targets = drawn(name, rng)
    indices = rng.integers(0, 40, (50, 40))
    indices[:10] = indices[:10, :1]
    loop = [
        next(iter(scored.aggregate([predictions[i] for i in row], [targets[i] for i in row]).values()))
        for row in indices
    ]
    np.testing.assert_allclose(resample(scored, predictions, targets, indices), loop, atol=1e-12)
    if scored.decomposes:
        items = np.array([scored.item(p, t) for p, t in zip(predictions, targets, strict=True)])
        np.testing.assert_allclose(items[indices].mean(axis=1), loop)


@pytest.mark.parametrize(
    ("said", "real", "score"),
    [
        (("Rome", "Oslo"), ("rome.",), 2 / 3),
        (("New  York",), ("new york",), 1.0),
        ((), (), 1.0),
        ((), ("Rome",), 0.0),
        (("Rome",), (), 0.0),
        (None, (), 0.0),
    ],
)
def test_spans_of_one_item(said, real, score):
    assert metric("span-f1").item(said, real) == pytest.approx(score)


def test_spans_are_counted_over_all_items():
    figures = metric("span_f1").aggregate([("Rome", "Oslo"), ("Bern",), None], [("Rome",), ("Bern", "Oslo"), ("x",)])
    assert figures["span_precision"] == pytest.approx(2 / 3)
    assert figures["span_recall"] == pytest.approx(2 / 4)
    assert figures["span_f1"] == pytest.approx(4 / 7)
    assert list(figures) == ["span_f1", "span_precision", "span_recall", "token_f1", "exact_match"]
    assert metric("span_f1").aggregate([()], [()])["span_f1"] == 1.0
    assert metric("token_f1").item(("New York", "Oslo"), ("York", "Oslo")) == pytest.approx(4 / 5)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(5)), st.permutations(range(5)))
def test_rankings_equal_scipy_and_scikit_learn(said, real):
    place = {c: n for n, c in enumerate(real)}
    tau = kendalltau([place[c] for c in said], range(5)).statistic
    assert metric("kendall-tau").item(tuple(said), tuple(real)) == pytest.approx((tau + 1) / 2)
    worth, shown = [[4 - place[c] for c in range(5)]], [[-said.index(c) for c in range(5)]]
    assert metric("ndcg").item(tuple(said), tuple(real)) == pytest.approx(ndcg_score(worth, shown))
    assert metric("mrr").item(tuple(said), tuple(real)) == 1 / (said.index(real[0]) + 1)


def test_rankings_right_reversed_and_unread():
    right, wrong = ("x", "y", "z"), ("z", "y", "x")
    figures = metric("kendall_tau").aggregate([right, wrong, None], [right] * 3)
    assert list(figures) == ["kendall_tau", "ndcg", "mrr", "exact_match"]
    assert figures["kendall_tau"] == pytest.approx(1 / 3)
    assert figures["exact_match"] == pytest.approx(1 / 3)
    assert metric("kendall_tau").item(("b", "a"), ("a", "b")) == 0.0
