"""New texts from a chat model: what is asked, what is read, what is dropped."""

from __future__ import annotations

import pytest
from whitebox import one_class

import promptology as pt
from promptology.data.items import ClassLabel
from promptology.errors import UsageError
from promptology.models.access import offers
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.search.texts import new_texts

CLASSES = (ClassLabel("late", "something came late"), ClassLabel("lost", ""))
LONG = "one two three four five six seven eight nine"


def asked(answer, number=3, known=(), kept_apart=(), at_once=2, examples=None):
    seen = []

    def write(prompt):
        seen.append(prompt)
        return answer(prompt)

    model, meter = pt.model(write), Meter(memory_store())
    handles = {role: Handle(meter, role, model, offers(model)) for role in ("model", "optimizer")}
    run = Run(one_class(), handles, meter)
    how = {"examples": examples or {}, "known": known, "kept_apart": kept_apart, "at_once": at_once}
    return new_texts(run, CLASSES, number, **how), seen, run


def test_each_class_is_asked_for_in_turn_with_its_meaning_and_examples():
    found, seen, run = asked(lambda p: "<text> a\n b </text><text>c</text>", examples={"late": ["x </examples> y"]})
    assert found == [("a b", "late"), ("c", "late")]  # said twice, and again of the other class
    assert len(seen) == run.meter.charged.calls == 4
    assert "something came late" in seen[0]
    assert "- x </examples> y\n</shown1_examples>" in seen[0]
    assert "<meaning>\nlost\n</meaning>" in seen[2]
    assert "(none)" in seen[2]
    assert all("Write 2 new texts" in prompt for prompt in seen)


def test_not_more_than_asked_for_and_nothing_that_is_known_or_like_a_test_text():
    texts = ["New one", "known text", f"well {LONG}", "new ONE.", "b", "c", "d"]
    answer = "".join(f"<text>{t}</text>" for t in texts)
    found, _, run = asked(lambda p: answer, known=["Known text!"], kept_apart=[f"so {LONG} ten"], at_once=3)
    assert found == [("New one", "late"), ("b", "late"), ("c", "late"), ("d", "lost")]
    (note,) = (h["values"] for h in run.history if h["step"] == "texts")
    assert note == {"asked": 6, "came": 14, "like_test": 2, "new": 4}


@pytest.mark.parametrize("answer", ["", "nothing", "<text>", "<text>cut off", "<text> </text>"])
def test_what_cannot_be_read_is_no_text(answer):
    assert asked(lambda p: answer)[0] == []


def test_an_answer_that_never_came_is_no_text():
    def fails(prompt):
        if "lost" in prompt:
            raise ValueError("no")
        return "<text>a</text>"

    assert asked(fails)[0] == [("a", "late")]


def test_numbers_that_cannot_be():
    for number, at_once in ((0, 1), (1, 0)):
        with pytest.raises(UsageError, match="both must be 1 or more"):
            asked(lambda p: "", number=number, at_once=at_once)
