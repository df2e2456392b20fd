"""Metrics: figures against scikit-learn, resampling against the loop, names and faults of users' functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from promptology.data.items import ClassLabel, Field, Signature
from promptology.data.metrics import (
    F1,
    FITTING,
    METRICS,
    Accuracy,
    ExactMatch,
    FunctionMetric,
    Metric,
    TokenF1,
    as_metric,
    default_metric,
    metric,
    resample,
)
from promptology.data.scoring import feedback_of
from promptology.errors import UsageError

answers = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "other", None]), st.sampled_from("abc")), min_size=1)


def one_line(wrong, *words, call=as_metric):
    with pytest.raises(UsageError) as caught:
        call(wrong)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def by_loop(scored, predictions, targets, indices):
    return [
        next(iter(scored.aggregate([predictions[i] for i in row], [targets[i] for i in row]).values()))
        for row in indices
    ]


@settings(max_examples=150, deadline=None)
@given(answers)
def test_figures_equal_scikit_learn(pairs):
    predictions, targets = map(list, zip(*pairs, strict=True))
    said = ["unparsable" if p is None else p for p in predictions]
    there = sorted(set(targets))
    figures = Accuracy().aggregate(predictions, targets)
    assert list(figures) == ["accuracy", "macro_f1"]
    assert figures["accuracy"] == pytest.approx(accuracy_score(targets, said))
    macro, micro = (
        f1_score(targets, said, labels=there, average=average, zero_division=0) for average in ("macro", "micro")
    )
    assert figures["macro_f1"] == pytest.approx(macro)
    assert F1("macro").aggregate(predictions, targets) == {"macro_f1": pytest.approx(macro)}
    assert F1("micro").aggregate(predictions, targets) == {"micro_f1": pytest.approx(micro)}


ONE_ANSWER = ("accuracy", "macro_f1", "micro_f1", "exact_match", "token_f1", "jaccard", "rouge_l", "bleu")


@pytest.mark.parametrize("name", ONE_ANSWER)
def test_resampled_equals_the_loop(name):
    rng = np.random.default_rng(4)
    scored = metric(name)
    targets = rng.choice(["red rose", "blue", "green"], 50).tolist()
    predictions = [[t, "red", "Blue.", "nothing", None][rng.integers(5)] for t in targets]
    indices = rng.integers(0, 50, (60, 50))
    # Rows that hold few of the classes are where a count over all classes would go wrong.
    indices[:10] = indices[:10, :1]
    expected = by_loop(scored, predictions, targets, indices)
    np.testing.assert_allclose(scored.resampled(predictions, targets, indices), expected)
    np.testing.assert_allclose(resample(scored, predictions, targets, indices), expected)
    assert isinstance(scored, Metric)


class Spread:
    """A third party's metric with nothing but the protocol."""

    name = "spread"
    decomposes = False
    needs: ClassVar[Mapping[str, Any]] = {}

    def item(self, prediction, target):
        return float(prediction == target)

    def aggregate(self, predictions, targets):
        return {"spread": float(np.std([p == t for p, t in zip(predictions, targets, strict=True)])), "more": 1.0}


def test_resample_falls_back_to_aggregate():
    predictions, targets = ["a", "b", "a", "c"], ["a", "b", "b", "b"]
    indices = np.random.default_rng(0).integers(0, 4, (20, 4))
    np.testing.assert_allclose(
        resample(Spread(), predictions, targets, indices), by_loop(Spread(), predictions, targets, indices)
    )


def test_resample_scores_the_items_where_the_figure_is_their_mean():
    class Mean(Spread):
        decomposes = True
        calls = 0

        def item(self, prediction, target):
            Mean.calls += 1
            return float(prediction == target)

    indices = np.zeros((30, 2), int)
    assert resample(Mean(), ["a", "b"], ["a", "a"], indices).tolist() == [1.0] * 30
    assert Mean.calls == 2


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("  The\tCat. ", "the cat", 1),
        ("STRASSE!", "straße", 1),
        ("yes?!", "Yes", 1),
        ("3.14", "3.14.", 1),
        ("cat", "cats", 0),
        ("50", "50%", 0),
        (None, "None", 0),
        (7, "7", 1),
    ],
)
def test_exact_match(prediction, target, score):
    assert ExactMatch().item(prediction, target) == score


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("the black cat", "Black cat, sleeps", 2 / 3),
        ("a a a b", "a b b", 4 / 7),
        ("same words", "words same", 1),
        ("none of it", "something else", 0),
        ("", "x", 0),
        ("x", "", 0),
        (None, "x", 0),
        ("😀", "😀", 1),
        ("😀", "😡", 0),
    ],
)
def test_token_f1(prediction, target, score):
    assert TokenF1().item(prediction, target) == pytest.approx(score)


def test_nothing_to_score_is_not_a_number():
    for name in METRICS:
        assert all(math.isnan(value) for value in metric(name).aggregate([], []).values())


def test_macro_f1_leaves_out_classes_that_are_only_predicted():
    assert F1("macro").aggregate(["a", "z"], ["a", "a"]) == {"macro_f1": pytest.approx(2 / 3)}


@pytest.mark.parametrize("name", ["macro_f1", "macro-f1", " Macro-F1 "])
def test_both_spellings(name):
    assert as_metric(name).name == "macro_f1"


def test_unknown_names():
    one_line("acuracy", "'acuracy'", "did you mean 'accuracy'", *METRICS, "module:function")
    one_line("zzz", "unknown metric 'zzz'", call=metric)
    one_line(3, "int is not a metric")
    one_line(Accuracy, "Accuracy is a class", "Accuracy(...)")


def test_objects_and_functions_are_taken():
    scored = Spread()
    assert as_metric(scored) is scored
    assert as_metric(lambda p, t: 0.5).aggregate(["x", None], ["y", "y"]) == {"<lambda>": 0.25}
    assert FunctionMetric(max, "largest").name == "largest"


@pytest.mark.parametrize("value", [True, 1, 0.5, np.float32(0.5), np.int64(2), np.array(0.25)])
def test_any_finite_number_is_a_score(value):
    assert as_metric(lambda p, t: value).item("a", "b") == float(value)


@pytest.mark.parametrize("value", [None, "0.5", math.nan, math.inf, [1.0, 2.0], np.zeros(3), {}])
def test_what_is_no_finite_number_is_told(value):
    def grade(prediction, target):
        return value

    one_line(
        as_metric(grade),
        "metric grade returned",
        "'long",
        "target 'right'",
        call=lambda m: m.item("long" * 99, "right"),
    )


def test_a_failing_function_is_told_on_one_line():
    def grade(prediction, target):
        raise ValueError("first\nsecond")

    scored = as_metric(grade)
    one_line(scored, "metric grade failed with ValueError: first second", "'x\\ny'", call=lambda m: m.item("x\ny", "t"))
    one_line(scored, "...", call=lambda m: m.aggregate(["long" * 99], ["t"]))
    with pytest.raises(UsageError) as caught:
        scored.item("a", "b")
    assert isinstance(caught.value.__cause__, ValueError)


def test_module_and_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    (tmp_path / "grades_here.py").write_text("def half(p, t):\n    return 0.5\nTABLE = {}\n")
    scored = as_metric("grades_here:half")
    assert (scored.name, scored.item("a", "b")) == ("half", 0.5)
    assert as_metric("math:dist").name == "dist"
    (tmp_path / "grades_told.py").write_text(
        "from promptology.data.metrics import Accuracy\n\n\n"
        "class Told(Accuracy):\n    name = 'told'\n    def feedback(self, p, t):\n        return f'{p} is not {t}'\n"
        "told = Told()\n"
    )
    told = as_metric("grades_told:told")
    assert (told.name, feedback_of(told, "a", "b")) == ("told", "a is not b")
    one_line("grades_told:Told", "Told is a class")
    (tmp_path / "grades_broken.py").write_text("def half(p, t:\n")
    (tmp_path / "grades_raise.py").write_text("raise RuntimeError('two\\nlines')\n")
    (tmp_path / "grades_exit.py").write_text("import sys\nsys.exit(3)\n")
    one_line("grades_here:full", "'grades_here:full'", "no function 'full'")
    one_line("grades_here:TABLE", "no function 'TABLE'")
    one_line("grades_absent:f", "cannot import 'grades_absent'", str(tmp_path))
    one_line("grades_broken:half", "SyntaxError")
    one_line("grades_raise:half", "RuntimeError: two lines")
    one_line("grades_exit:half", "SystemExit: 3")
    one_line(":half", "cannot import ''")
    assert sys.path == before


def test_defaults():
    assert default_metric(Signature()).name == "exact_match"
    assert default_metric(Signature(output="spans")).name == "span_f1"
    assert default_metric(Signature((Field("c", "list"),), "ranking")).name == "kendall_tau"
    two = (ClassLabel("a"), ClassLabel("b"))
    assert default_metric(Signature(output="classes", classes=two)).name == "micro_f1"
    for kind, names in FITTING.items():
        assert set(names) <= set(METRICS), kind
    assert default_metric(Signature(output="class", classes=(ClassLabel("a"), ClassLabel("b")))).name == "accuracy"
