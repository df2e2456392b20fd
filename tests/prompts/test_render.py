from __future__ import annotations

import json

import pytest

from promptology.data.items import ClassLabel, Field, Signature
from promptology.errors import UsageError
from promptology.prompts.export import to_messages, to_text
from promptology.prompts.learned import Demonstrations, Example, Learned, Readout, Text
from promptology.prompts.render import fill, frame, messages, placeholders
from promptology.prompts.start import start_from

SIGNATURE = Signature((Field("text"),), "class", (ClassLabel("spam", "Unwanted."), ClassLabel("ham")))
PAIR = Signature((Field("premise"), Field("claim")), "class", (ClassLabel("yes"), ClassLabel("no")))


def user(learned, inputs, signature=SIGNATURE):
    return messages(learned, inputs, signature)[-1][1]


def learned(instruction, *more, system=""):
    return Learned((Text(instruction, system), *more, Readout("answer")), SIGNATURE)


def test_instruction_classes_blank_line_input():
    text = user(learned("Sort it."), {"text": "buy now"})
    assert text == (
        "Sort it.\n\nClasses:\n- spam: Unwanted.\n- ham\n\nAnswer with the name of one class only.\n\nbuy now"
    )


def test_a_prompt_that_names_every_class_is_left_alone():
    assert user(learned("Is it Spam or ham?"), {"text": "x"}) == "Is it Spam or ham?\n\nx"


def test_placeholders_are_filled_once_and_data_is_never_expanded():
    text = user(learned("spam or ham: {text} {other}"), {"text": "{text} {label} {0} %s"})
    assert text == "spam or ham: {text} {label} {0} %s {other}"
    assert placeholders("{a} {b} {a}", ("a",)) == ["a", "a"]
    assert fill("{a}{b}", {"a": "{b}", "b": "1"}) == "{b}1"


def test_what_is_shown_in_tags_can_not_end_them():
    template = "Look.\n<a>\n{one}\n</a>\n<b>\n{two}\n</b>\nWrite between <b> and </b>."
    plain = frame(template, {"one": "1 < 2, </ab> {two}", "two": "<c>"})
    assert plain == fill(template, {"one": "1 < 2, </ab> {two}", "two": "<c>"})
    for breaking in ("</a>", "</B >", "< / b>", "<\\/a>", "＜／ａ＞", "<\u200b/a\u200b>", "<a>"):
        text = frame(template, {"one": breaking, "two": "{one}"})
        assert text == (
            f"Look.\n<shown1_a>\n{breaking}\n</shown1_a>\n<shown1_b>\n{{one}}\n</shown1_b>\nWrite between <b> and </b>."
        )
    both = {"one": "</a></shown1_a></SHOWN2_b>", "two": "shown4_"}
    assert "</shown3_a>" in frame(template, both)


def test_several_fields_and_system():
    prompt = Learned((Text("yes or no?", "Be brief."), Readout("answer")), PAIR)
    assert messages(prompt, {"premise": "p", "claim": "c"}, PAIR) == (
        ("system", "Be brief."),
        ("user", "yes or no?\n\npremise: p\nclaim: c"),
    )


def test_demonstrations_stand_before_the_input():
    shown = Demonstrations((Example({"text": "win $$$"}, "spam"),))
    assert "Input: win $$$\nOutput: spam\n\nhello" in user(learned("spam or ham?", shown), {"text": "hello"})


def test_exports():
    prompt = learned("spam or ham? {text}", system="Be brief.")
    assert to_text(prompt) == "Be brief.\n\nspam or ham? {text}"
    assert json.loads(to_messages(prompt)) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "spam or ham? {text}"},
    ]
    with pytest.raises(UsageError, match="model that embeds"):
        to_text(start_from(SIGNATURE, ["embeds"]))


def test_start_follows_access():
    assert start_from(SIGNATURE.with_prompt("Mine."), ["generates", "embeds"]).instruction == "Mine."
    assert start_from(SIGNATURE, ["embeds"]).readout.options["label_template"] == "{label}"
    with pytest.raises(UsageError, match="wording of the labels"):
        start_from(SIGNATURE.with_prompt("Classify."), ["embeds"])


@pytest.mark.parametrize("kind", ["answer", "label-likelihood"])
def test_a_template_is_all_that_the_model_reads(kind):
    readout = Readout(kind, {"input_template": "{input} It is:"})
    prompt = Learned((Text("Sort it.", "Be brief."), readout), SIGNATURE)
    assert messages(prompt, {"text": "{input} buy"}, SIGNATURE) == (("user", "{input} buy It is:"),)
    assert to_text(prompt) == "{text} It is:"
    assert messages(prompt, {"premise": "p", "claim": "c"}, PAIR)[0][1] == "premise: p\nclaim: c It is:"
