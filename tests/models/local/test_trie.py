"""Trie search: the card's exact sets, and real models that are held to their labels."""

from __future__ import annotations

import itertools

import pytest
import tiny

from promptology.errors import UsageError
from promptology.models.access import Request
from promptology.models.local import open_local
from promptology.models.local.reading import Reader
from promptology.models.local.trie import Trie, build

END, PAD, SEP = 0, 9, 5
LABELS = ("late parcel", "late", "refund", "lost card")


def trie(rows=((1, 2), (1,), (3,), (4, 4))):
    return Trie(rows, rows, (SEP,), end=END, pad=PAD)


def after(tokens, made=None):
    state = (made or trie()).begin()
    for token in tokens:
        assert token in state.allowed()
        state.take(token)
    return state


def test_at_the_root_stand_the_first_tokens_of_all_labels():
    assert set(trie().begin().allowed()) == {1, 3, 4}


def test_no_end_before_one_complete_label():
    assert END not in trie().begin().allowed()
    assert after([4]).allowed() == [4]
    assert set(after([4, 4]).allowed()) == {SEP, END}


def test_a_label_that_begins_another_can_be_ended_and_extended():
    assert set(after([1]).allowed()) == {2, SEP, END}


def test_a_label_that_was_said_is_gone():
    state = after([3, SEP])
    assert set(state.allowed()) == {1, 4}
    state = after([1, SEP])
    assert set(state.allowed()) == {1, 3, 4}
    state.take(1)
    assert state.allowed() == [2], "the shorter one was said; only the longer one is left below it"


def test_when_all_labels_are_said_only_the_end_is_left():
    assert after([1, SEP, 3, SEP, 4, 4, SEP, 1, 2]).allowed() == [END]
    assert set(after([1, SEP, 3, SEP, 4, 4]).allowed()) == {SEP, END}


def test_behind_the_end_stands_padding():
    state = after([3, END])
    assert state.allowed() == [PAD]
    state.take(PAD)
    assert state.allowed() == [PAD]


def test_one_label_without_a_separator():
    made = Trie([(1, 2), (1,), (3,)], end=END, pad=PAD)
    assert after([3], made).allowed() == [END]
    assert set(after([1], made).allowed()) == {2, END}


def test_a_separator_of_two_tokens_removes_the_label_when_it_is_whole():
    rows = ((1,), (2,))
    made = Trie(rows, rows, (5, 6), end=END, pad=PAD)
    assert after([1, 5], made).allowed() == [6]
    assert after([1, 5, 6], made).allowed() == [2]


@pytest.mark.parametrize(("room", "count"), [(2, 2), (3, 4), (4, 6), (10, 64), (99, 64)])
def test_every_way_through_ends_within_the_room(room, count):
    """All ways are walked: each ends with the end token, in time, with known labels and none twice."""
    rows = ((1, 2), (1,), (3,), (4, 4))
    stack, ways = [()], 0
    while stack:
        tokens = stack.pop()
        state = trie(rows).begin()
        for token in tokens:
            state.take(token)
        if state.over:
            ways += 1
            assert len(tokens) <= room
            said = [tuple(g) for sep, g in itertools.groupby(tokens[:-1], lambda t: t == SEP) if not sep]
            assert set(said) <= set(rows)
            assert len(set(said)) == len(said) > 0
            continue
        stack += [(*tokens, token) for token in state.allowed(room - len(tokens))]
    assert ways == count


def reader(style="gpt2", kind="causal", **special):
    return Reader(tiny.tiny_tokenizer(style, **special), kind, name="tiny", chat=False, limit=192)


def spelled(made, tokenizer, most=400):
    """Return some of the answers that a trie allows, as text."""
    found, stack = [], [()]
    while stack and len(found) < most:
        tokens = stack.pop()
        state = made.begin()
        for token in tokens:
            state.take(token)
        if state.over:
            found.append((tokens, tokenizer.decode(tokens[:-1])))
        else:
            stack += [(*tokens, t) for t in state.allowed()]
    return found


@pytest.mark.parametrize(
    ("style", "blank", "separator"), [("gpt2", " ", ","), ("gpt2", "", ", "), ("llama", " ", "\n")]
)
def test_answers_fall_into_the_tokens_that_are_trained(style, blank, separator):
    read = reader(style)
    choices = tuple(blank + label for label in LABELS)
    made = build(read, "sort this\n\nAnswer:", choices, separator, read.tokenizer.eos_token_id)
    answers = spelled(made, read.tokenizer)
    assert len(answers) == sum(1 for n in (1, 2, 3, 4) for _ in itertools.permutations(LABELS, n))
    for tokens, text in answers:
        said = text.split(separator)
        assert separator.join(said) == text
        assert {part.removeprefix(blank) for part in said} <= set(LABELS)
        assert list(tokens) == read.continuation("sort this\n\nAnswer:", text, end=True)


def test_targets_of_an_encoder_decoder():
    read = reader("t5", "seq2seq")
    made = build(read, "", LABELS, ", ", read.tokenizer.eos_token_id)
    for tokens, text in spelled(made, read.tokenizer, 50):
        assert list(tokens) == read.continuation("", text, end=True)


def test_a_tokenizer_that_joins_separator_and_label_is_refused():
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    words = {"<e>": 0, "red": 1, "blue": 2, "red,": 3, "blue,": 4, ",": 5, "?": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    from transformers import PreTrainedTokenizerFast

    read = Reader(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", unk_token="?"),
        "causal",
        name="tiny",
        chat=False,
        limit=99,
    )
    with pytest.raises(UsageError, match=r"tiny: its tokenizer joins the label 'red' or 'blue' with the separator ','"):
        build(read, "x", (" red", " blue"), ",", 0)
    with pytest.raises(UsageError, match=r"turns the label 'green' into ''"):
        build(read, "x", (" red", " green"), ", ", 0)
    with pytest.raises(UsageError, match="no end token"):
        build(read, "x", (" red", " blue"), ",", None)


@pytest.fixture(scope="module", params=["gpt2", "llama", "t5"])
def model(request, tmp_path_factory):
    folder = getattr(tiny, f"tiny_{request.param}")(tmp_path_factory.mktemp("model") / request.param)
    return open_local(folder)


def asked(model, count=12, **settings):
    blank = "" if model.kind == "seq2seq" else " "
    choices = tuple(blank + label for label in LABELS)
    texts = [f"{word} {other}\n\nAnswer:" for word, other in zip(tiny.WORDS[20:], tiny.WORDS[50:], strict=False)]
    return [Request.user(text, choices=choices, **settings) for text in texts[:count]]


@pytest.mark.parametrize("heat", [0.0, 1.5])
@pytest.mark.parametrize("most", [5, 64])
def test_an_untrained_model_says_labels_only(model, heat, most):
    separator = ", " if model.kind == "seq2seq" else ","
    requests = asked(model, separator=separator, temperature=heat, max_tokens=most)
    answers = dict(model.generate(requests))
    assert len(answers) == len(requests)
    for answer in answers.values():
        said = [part.strip() for part in answer.text.split(",")]
        assert set(said) <= set(LABELS)
        assert len(set(said)) == len(said)
        assert not answer.truncated
        assert answer.tokens_out <= most


def test_without_the_trie_it_does_not(model):
    free = [Request.user(r.messages[0][1], max_tokens=24) for r in asked(model)]
    valid = [set(a.text.strip().split(", ")) <= set(LABELS) for _, a in model.generate(free)]
    assert sum(valid) == 0


def test_one_class_is_exactly_one_label(model):
    for _, answer in model.generate(asked(model, max_tokens=64)):
        assert answer.text.strip() in LABELS


def test_a_batch_of_held_and_free_answers(model):
    held, free = asked(model, 3, max_tokens=16), [Request.user("red green", max_tokens=16)]
    together = dict(model.generate([held[0], *free, *held[1:]]))
    alone = [dict(model.generate([r]))[0] for r in [held[0], *free, *held[1:]]]
    assert [together[n].text for n in range(4)] == [a.text for a in alone]
