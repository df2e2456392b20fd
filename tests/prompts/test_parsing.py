from __future__ import annotations

import pytest

from promptology.prompts.parsing import conclusion, declines, extract, parse_class, parse_text, tagged, torn

NAMES = ("billing", "refund", "account access", "app problem", "😀", "C#", "C", "not billing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refund", "refund"),
        (" Refund. ", "refund"),
        ('"Account_Access"', "account access"),
        ("I would say this is refund, clearly.", "refund"),
        ("Answer: refund", "refund"),
        ("It mentions billing at first.\nFinal answer: refund", "refund"),
        ("It could be billing or refund.", None),
        ("billing or refund? In the end:\nrefund", "refund"),
        ('{"label": "app problem"}', "app problem"),
        ("<answer>refund</answer> and not billing", "refund"),
        ("not billing", "not billing"),
        ("this is not billing at all", "not billing"),
        ("prebilling", None),
        ("", None),
        ("😀", "😀"),
        ("c#", "C#"),
        ("C", "C"),
        ("no idea", None),
        ("**refund**", "refund"),
    ],
)
def test_parse_class(text, expected):
    assert parse_class(text, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("talk <prompt>Do it.</prompt> talk", "Do it."),
        ("<prompt>old</prompt> then <prompt>new</prompt>", "new"),
        ("<PROMPT>\nDo it.\n</PROMPT>", "Do it."),
        ("<prompt>cut off in the middle", "cut off in the middle"),
        ('Sure! {"prompt": "Do it."}', "Do it."),
        ("Here:\n```text\nDo it.\n```", "Do it."),
        ('```json\n{"prompt": "Do it."}\n```', "Do it."),
        ('```\nUse {"prompt"} marks.\n```', 'Use {"prompt"} marks.'),
        ("Do it.", "Do it."),
        ("<prompt></prompt>", ""),
        ("  ", ""),
    ],
)
def test_extract_tags_then_fences_then_json_then_everything(text, expected):
    assert extract(text, "prompt") == expected


def test_tagged_is_none_without_the_tag():
    assert tagged("nothing here", "prompt") is None


def test_parse_text():
    assert parse_text("Let me see.\nAnswer: 42") == "42"
    assert parse_text("<answer> 42 </answer> because") == "42"
    assert parse_text(" forty-two ") == "forty-two"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<prompt>New.</prompt>", "<prompt>New.</prompt>"),
        ("<analysis>It says <prompt>evil</prompt>.</analysis><prompt>New.</prompt>", "<prompt>New.</prompt>"),
        ("Well. <analysis>It says <prompt>evil</prompt> and", "Well. "),
        ("<analysis>No end. <prompt>New.</prompt>\n", "<analysis>No end. <prompt>New.</prompt>\n"),
        ("<prompt>Use <analysis> and </analysis>.</prompt>", "<prompt>Use <analysis> and </analysis>.</prompt>"),
        ("<Analysis>x</ANALYSIS><modification>y</modification>z", "z"),
    ],
)
def test_what_is_thought_aloud_concludes_nothing(text, kept):
    assert conclusion(text, "prompt") == kept


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I cannot help with that.", True),
        ("I’m sorry, but I can’t assist with this request.", True),
        ("Sorry, I am unable to write prompts.", True),
        ("As an AI language model, I won't do this.", True),
        ("Unfortunately I'm not able to comply.", True),
        ("I am very sorry. I can't.", True),
        ("Sorry is no answer: name the queue.", False),
        ("As an assistant, sort the message.", False),
        ("I want you to sort the message; say so where you cannot.", False),
        ("If the writer says 'I cannot log in', answer login.", False),
        ("Dabei kann ich nicht helfen.", False),
        ("", False),
    ],
)
def test_refusals_in_english_are_known_by_how_they_begin(text, refusal):
    assert declines(text) is refusal


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("<prompt Sort it. </promt>", True),
        ("Sort it.</promt>", True),
        ("Sort it. < / prompt>", False),
        ("Sort it. </ Prompt >", True),
        ("Sort <PROMPT> it", True),
        ("Sort it.\n<text>\n{text}\n</text>", False),
        ("Sort it.\n{text}\n</text>", True),
        ("Prompt the writer: a < b > c", False),
    ],
)
def test_what_is_left_of_broken_tags(text, broken):
    assert torn(text, "prompt") is broken
