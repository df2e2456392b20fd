"""What a prompt asks for, and that a right answer in that form is read back as the target."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import promptology as pt
from promptology.prompts import Demonstrations, Example, Learned, Readout, Text
from promptology.prompts.export import to_messages, to_text
from promptology.prompts.outputs import answer_form, answer_text, choices_of, parse_answer
from promptology.prompts.render import messages
from promptology.prompts.start import start_from

TAGS = (pt.ClassLabel("billing", "Money."), pt.ClassLabel("refund"), pt.ClassLabel("late, lost"))
CLASSES = pt.Signature((pt.Field("text"),), "classes", TAGS[:2])
AWKWARD = pt.Signature((pt.Field("text"),), "classes", TAGS)
SPANS = pt.Signature((pt.Field("text"),), "spans")
RANKING = pt.Signature((pt.Field("query"), pt.Field("options", "list")), "ranking")
OPTIONS = ("pear", "red apple", "fig\n4. plum")


def prompt(signature, inputs, instruction="Do it.", examples=()):
    parts = (Text(instruction), *([Demonstrations(examples)] if examples else []), Readout("answer"))
    return messages(Learned(parts, signature), inputs, signature)[-1][1]


def test_classes_are_listed_and_all_that_apply_are_asked_for():
    text = prompt(CLASSES, {"text": "x"})
    assert "- billing: Money.\n- refund\n" in text
    assert "all classes that apply, separated by commas; answer none where no class applies." in text
    named = prompt(CLASSES, {"text": "x"}, "Is it billing or refund?")
    assert "- billing" not in named and "separated by commas" in named
    assert "separated by semicolons" in prompt(AWKWARD, {"text": "x"})
    none = pt.Signature((pt.Field("text"),), "classes", (pt.ClassLabel("none"), pt.ClassLabel("some")))
    assert "answer none" not in answer_form(none)


def test_spans_and_rankings_say_their_form_whatever_the_instruction():
    assert "JSON list" in prompt(SPANS, {"text": "x"}, "List the names in {text}, please.")
    text = prompt(RANKING, {"query": "q", "options": OPTIONS})
    assert "query: q\noptions:\n1. pear\n2. red apple\n3. fig 4. plum" in text
    assert "numbers of all candidates" in text
    inline = prompt(RANKING, {"query": "q", "options": OPTIONS}, "Rank {options} for {query}.")
    assert "Rank 1. pear\n2. red apple\n3. fig 4. plum for q." in inline


def test_demonstrations_show_targets_in_the_form_that_is_asked_for():
    for signature, target, inputs, shown in (
        (CLASSES, ("billing", "refund"), {"text": "a"}, "Output: billing, refund"),
        (CLASSES, (), {"text": "a"}, "Output: none"),
        (SPANS, ("a b",), {"text": "a b c"}, 'Output: ["a b"]'),
        (RANKING, ("red apple", "pear", OPTIONS[2]), {"query": "q", "options": OPTIONS}, "Output: 2, 1, 3"),
        (pt.Signature(), ("first", "second"), {"text": "a"}, "Output: first"),
    ):
        example = Example(inputs, answer_text(target, signature, inputs))
        assert shown in prompt(signature, inputs, examples=(example,))


@pytest.mark.parametrize("signature", [CLASSES, AWKWARD])
@given(st.data())
def test_a_right_answer_is_read_back(signature, data):
    names = data.draw(st.lists(st.sampled_from(signature.class_names), unique=True))
    target = tuple(n for n in signature.class_names if n in names)
    assert parse_answer(answer_text(target, signature), signature, {}) == target


@given(st.permutations(OPTIONS))
def test_a_right_order_is_read_back(order):
    inputs = {"query": "q", "options": OPTIONS}
    assert parse_answer(answer_text(tuple(order), RANKING, inputs), RANKING, inputs) == tuple(order)
    assert json.loads(answer_text(tuple(order), RANKING)) == order


@given(st.lists(st.sampled_from(["Ann", "Bob Ray", "Rome, Italy", 'the "Hub"']), unique=True))
def test_right_spans_are_read_back(spans):
    inputs = {"text": 'Ann met Bob Ray in Rome, Italy at the "Hub".'}
    found = parse_answer(answer_text(tuple(spans), SPANS), SPANS, inputs)
    assert set(found) == set(spans)


def test_plain_starts_and_exports():
    for signature, words in (
        (CLASSES, "all classes that apply"),
        (SPANS, "parts of the text"),
        (RANKING, "right order"),
    ):
        start = start_from(signature, ("generates",))
        assert words in start.instruction
        assert answer_form(signature) in to_text(start)
        assert json.loads(to_messages(start))
    with pytest.raises(pt.PromptologyError, match="this task's output is a ranking"):
        start_from(RANKING, ("embeds",))
    assert start_from(CLASSES, ("embeds",)).readout.options["margin"] == 0.05
    one = pt.Signature((pt.Field("text"),), "class", TAGS)
    assert "margin" not in start_from(one, ("embeds",)).readout.options


def test_items_stay_data():
    hostile = "{text} {options} </answer> 1. x"
    text = prompt(RANKING, {"query": hostile, "options": (hostile, "b")}, "Rank {options} for {query}.")
    assert text.count(hostile) == 2


def test_a_signature_may_name_its_separator():
    signature = pt.Signature((pt.Field("text"),), "classes", TAGS[:2], separator=";")
    assert "separated by semicolons" in answer_form(signature)
    assert answer_text(("billing", "refund"), signature) == "billing; refund"
    assert choices_of(signature, " ") == ((" billing", " refund"), ";")
    assert parse_answer("refund; billing", signature, {}) == ("billing", "refund")
    assert pt.Signature.from_json(signature.to_json()) == signature
    assert "separator" not in CLASSES.to_json()  # what was saved before stays what it was
    with pytest.raises(pt.PromptologyError, match=r"parted by one of ',', ';', '\|'"):
        pt.Signature((pt.Field("text"),), "classes", TAGS[:2], separator="/")
    with pytest.raises(pt.PromptologyError, match="parted by one of"):
        pt.Signature((pt.Field("text"),), "class", TAGS[:2], separator=";")
    with pytest.raises(pt.PromptologyError, match="stands in the name of a class"):
        pt.Signature((pt.Field("text"),), "classes", TAGS, separator=",")
