"""What metrics say in words about an answer."""

from __future__ import annotations

import pytest

from promptology.data.metrics import as_metric, metric
from promptology.data.scoring import ByItem, Explains, feedback_of
from promptology.errors import UsageError


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "micro_f1"])
def test_of_classes(name):
    chosen = metric(name)
    assert isinstance(chosen, Explains)
    assert feedback_of(chosen, "late", "late") == "Right: late."
    assert feedback_of(chosen, "broken", "late") == "Wrong: it says broken. Right is late."
    assert feedback_of(chosen, None, "late") == "Wrong: no class can be read from it. Right is late."


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "jaccard"])
def test_of_sets_of_classes(name):
    chosen = metric(name)
    assert feedback_of(chosen, ("b", "a"), ("a", "b")) == "Right: a, b."
    assert feedback_of(chosen, (), ()) == "Right: none."
    assert feedback_of(chosen, ("a",), ("a", "b", "c")) == "Wrong: it lacks b, c. Right is a, b, c."
    assert feedback_of(chosen, ("a", "d"), ("a",)) == "Wrong: it should not say d. Right is a."
    assert feedback_of(chosen, ("d",), ()) == "Wrong: it should not say d. Right is none."
    assert feedback_of(chosen, ("d",), ("a",)) == "Wrong: it lacks a and it should not say d. Right is a."
    assert feedback_of(chosen, None, ("a",)) == "Wrong: no classes can be read from it. Right is a."


def test_a_metric_that_says_nothing_gives_its_score():
    assert not isinstance(metric("token_f1"), Explains)
    assert feedback_of(metric("token_f1"), "a b", "a c") == "Score 0.50, where 1 is perfect."
    assert feedback_of(as_metric(lambda said, real: 0.25), "x", "y") == "Score 0.25, where 1 is perfect."


class Chatty(ByItem):
    name = "chatty"

    def item(self, prediction, target):
        return 0.0

    def feedback(self, prediction, target):
        if prediction is None:
            raise KeyError("no\nanswer")
        return f"Too {target}."


def test_a_metric_of_ones_own():
    assert feedback_of(Chatty(), "x", "long") == "Too long."
    with pytest.raises(UsageError, match=r"metric chatty: its feedback failed with KeyError: 'no\\nanswer'"):
        feedback_of(Chatty(), None, "long")
