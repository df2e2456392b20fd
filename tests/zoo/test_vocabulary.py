"""Every listed word is one token, text comes back as it was, and what follows never changes the tokens before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from promptology.models.local.reading import Reader
from promptology.zoo.recipes.vocabulary import CONTRACTIONS, tokenizer, words_of

_TEXT = (
    "the a of is with and river mountain sports music topic farmer kitchen bread train Classify Answer Classes answer "
    "Which which one word yes no positive negative letter late evening quiet naïve"
)
WORDS = _TEXT.split()
STYLES = ("causal", "masked", "seq2seq")
MADE = {style: tokenizer(WORDS, style, positions=64, chat=style == "causal", sentinels=4) for style in STYLES}
PARTS = st.one_of(
    st.sampled_from(WORDS), st.sampled_from([" ", "  ", "\n", "\n\n", "\t", ".", ":", "- ", "?", "'s", "7", "42"])
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=12).map("".join))


def ids(made: Any, text: str) -> list[int]:
    return list(made(text, add_special_tokens=False)["input_ids"])


@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("style", STYLES)
def test_text_comes_back_as_it_was(style: str, text: str) -> None:
    made = MADE[style]
    assume(not any(str(mark) in text for mark in made.added_tokens_decoder.values()))
    expected = text.removeprefix(" ") if style == "seq2seq" else text
    assert made.decode(ids(made, text)) == expected
    assert made.decode(made(text)["input_ids"], skip_special_tokens=True) == expected


@given(before=TEXTS, word=st.sampled_from(WORDS))
@settings(max_examples=150, deadline=None)
def test_a_label_behind_a_prompt_leaves_the_prompts_tokens_alone(before: str, word: str) -> None:
    made = MADE["causal"]
    assume("<|assistant|>" not in before)
    assert ids(made, f"{before} {word}") == ids(made, before) + ids(made, f" {word}")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("before", ["", " ", "\n", "the\n", "the ", "- ", "Answer: ", '"', "the\n\n"])
def test_every_word_is_one_token_wherever_it_stands(style: str, before: str) -> None:
    made = MADE[style]
    alone = len(ids(made, before.removesuffix(" ")))
    for word in WORDS:
        assert len(ids(made, before + word)) == alone + 1, word
        assert len(ids(made, f"{before}{word}.")) == alone + 2, word


def test_signs_digits_and_newlines_are_tokens_of_their_own() -> None:
    made = MADE["causal"]
    text = "12 + 5 = 17?\n\n- a: no, yes.\n"
    pieces = [made.decode([n]) for n in ids(made, text)]
    assert pieces == [*"12", " +", " 5", " =", " 1", *"7?\n\n", "-", " a", ":", " no", ",", " yes", ".", "\n"]
    for sign in CONTRACTIONS:
        assert len(ids(made, f"farmer{sign} bread")) == 3


def test_an_unknown_word_falls_into_few_pieces_that_words_help_with() -> None:
    made = MADE["causal"]
    assert [made.decode([n]) for n in ids(made, " rivers")] == [" river", "s"]
    for word in ("Kitchen", "breadth", "trainer", "another", "musical"):
        assert len(ids(made, f" {word}")) <= 5, word


def test_the_same_list_gives_the_same_file() -> None:
    again = tokenizer([*WORDS, *WORDS], "causal", positions=64, chat=True, sentinels=4)
    assert again.backend_tokenizer.to_str() == MADE["causal"].backend_tokenizer.to_str()


@pytest.mark.parametrize("style", STYLES)
def test_a_saved_tokenizer_loads_as_it_was(style: str, tmp_path: Path) -> None:
    made = MADE[style]
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Classify the rivers.\n\nClasses:\n- sports\n\nÄ quiet evening 7\n\nAnswer:"
    assert dict(loaded(text)) == dict(made(text))
    assert loaded.special_tokens_map == made.special_tokens_map
    assert (loaded.model_max_length, len(loaded)) == (64, len(made))
    assert set(loaded(text)) == {"input_ids", "attention_mask"}


def test_special_tokens_stand_where_the_style_wants_them() -> None:
    around = {style: MADE[style].convert_ids_to_tokens(MADE[style]("river")["input_ids"]) for style in STYLES}
    assert around == {"causal": ["<s>", "river"], "masked": ["[CLS]", "river", "[SEP]"], "seq2seq": ["Ġriver", "</s>"]}
    made = MADE["masked"]
    shown = made.convert_ids_to_tokens(ids(made, "it is [MASK] ."))
    assert shown[-2:] == ["[MASK]", "Ġ."]
    assert len(ids(made, "it is")) == len(shown) - 2, "the blank before the mask belongs to it"
    assert ids(MADE["seq2seq"], "<extra_id_0><extra_id_3>") == MADE["seq2seq"].convert_tokens_to_ids(
        ["<extra_id_0>", "<extra_id_3>"]
    )


def test_the_chat_template_writes_marks_that_are_tokens_and_the_library_reads_it() -> None:
    made = MADE["causal"]
    turns = [("system", "Answer with one word."), ("user", "Which topic?\n\nAnswer:")]
    reader = Reader(made, "causal", name="word", chat=True, limit=64)
    shown = made.convert_ids_to_tokens(reader.encode_all([turns])[0])
    assert shown[:3] == ["<s>", "<|system|>", "Answer"]
    assert shown.count("<s>") == 1 and shown[-1] == "<|assistant|>"
    assert shown[shown.index("<|user|>") - 1 :][:3] == ["</s>", "<|user|>", "Which"]
    assert reader.continuation(turns, " sports") == reader.continuation(turns, "sports") == ids(made, "sports")


@pytest.mark.parametrize("style", STYLES)
def test_the_library_finds_one_token_for_a_label(style: str) -> None:
    reader = Reader(MADE[style], style, name="word", chat=False, limit=64)
    for word in WORDS:
        assert [reader.label(word)] == ids(MADE[style], f" {word}")
    assert reader.continuation("Answer:", " music", end=False) == ids(MADE[style], " music")
    if style == "seq2seq":
        assert ids(MADE[style], " music") == ids(MADE[style], "music") == ids(MADE[style], "the music")[1:]


def test_words_of_texts_are_counted() -> None:
    assert words_of(["the river, the farmer's 3 bread", "bread the"]) == ["the", "bread", "farmer", "river", "s"]


def test_a_word_that_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="two-part"):
        tokenizer(["river", "two-part"], "causal", positions=8)
