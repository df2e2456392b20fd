import re
from collections import Counter

import numpy as np
import pytest

from promptology.errors import UsageError
from promptology.zoo.recipes.vocabulary import tokenizer
from promptology.zoo.wordland import words
from promptology.zoo.wordland.kind import for_evaluation
from promptology.zoo.wordland.kinds import (
    HELD_OUT,
    HELD_OUT_CLASSIFICATION,
    KINDS,
    MAPPINGS,
    TRAINED,
    joined,
    kind,
    rows,
)
from promptology.zoo.wordland.vocabulary import vocabulary

SIZES = {"train": 256, "validation": 200, "test": 600, "unlabeled": 1000}
"""As large as any claim asks for."""


@pytest.fixture(scope="module")
def drawn():
    return {name: rows(KINDS[name], 7, SIZES) for name in KINDS}


def test_there_are_enough_kinds():
    assert len(TRAINED) >= 20 and len(MAPPINGS) >= 8 and not any(k.held_out for k in MAPPINGS)
    assert len(HELD_OUT) >= 5 and len(HELD_OUT_CLASSIFICATION) >= 3
    assert len(KINDS["topic"].classes) >= 12
    assert list(KINDS) == sorted(KINDS)
    assert all(c.terms for name in ("theme", "topic") for c in KINDS[name].classes)
    assert all(len(k.classes) >= 4 for k in HELD_OUT_CLASSIFICATION)


def test_splits_share_no_input_and_hold_none_twice(drawn):
    for splits in drawn.values():
        keys = [example.key for examples in splits.values() for example in examples]
        assert len(keys) == len(set(keys)) == sum(SIZES.values())
        assert all(map(for_evaluation, keys))


def test_the_answer_is_among_the_options_once(drawn):
    for name, splits in drawn.items():
        for example in splits["test"]:
            assert example.options.count(example.answer) == 1
            assert len(set(example.options)) == len(example.options) >= 2
            if KINDS[name].classes:
                assert example.options == KINDS[name].class_names
            assert tuple(example.inputs) == KINDS[name].fields


def test_where_an_option_stands_says_nothing(drawn):
    for name in ("map-city", "lookup", "extraction", "odd-word", "comparison"):
        examples = drawn[name]["test"] + drawn[name]["unlabeled"]
        for place in (0, -1):
            found = sum(e.options[place] == e.answer for e in examples)
            shares = [1 / len(e.options) for e in examples]
            assert abs(found - sum(shares)) < 5 * sum(p * (1 - p) for p in shares) ** 0.5, name


def test_classes_are_equally_frequent_in_every_split(drawn):
    for name, splits in drawn.items():
        if KINDS[name].classes:
            for examples in splits.values():
                counts = Counter(e.answer for e in examples)
                assert set(counts) == set(KINDS[name].class_names)
                assert max(counts.values()) - min(counts.values()) <= 1


def test_every_word_of_a_text_is_in_the_vocabulary(drawn):
    known = set(vocabulary())
    for splits in drawn.values():
        for example in splits["test"] + splits["unlabeled"]:
            assert set(re.findall(r"\w+", " ".join((*example.inputs.values(), *example.options)))) <= known


def test_same_seed_same_splits_and_later_sizes_do_not_matter(drawn):
    topic = KINDS["topic"]
    assert rows(topic, 7, {**SIZES, "unlabeled": 10})["test"] == drawn["topic"]["test"]
    assert rows(topic, 8, SIZES)["test"] != drawn["topic"]["test"]


def test_pre_training_and_evaluation_share_no_input(drawn):
    rng = np.random.default_rng(0)
    for name, splits in drawn.items():
        trained = {e.key for e in KINDS[name].draw(rng, 100)}
        assert not trained & {e.key for e in splits["test"]}
        assert not any(map(for_evaluation, trained))


def test_inputs_of_held_out_classification_with_their_instruction_are_short(drawn):
    reader = tokenizer(vocabulary(), "seq2seq", positions=128)
    for held_out in HELD_OUT_CLASSIFICATION:
        texts = [f"{held_out.wordings[0]}\n\n{e.inputs['text']}" for e in drawn[held_out.name]["test"]]
        assert max(len(reader(text)["input_ids"]) for text in texts) <= 48


def test_joined_sentences_are_of_as_many_classes():
    splits = joined(KINDS["topic"], 0, {"train": 300, "test": 300})
    alone = {e.key for e in KINDS["topic"].draw(np.random.default_rng(0), 500)}
    for examples in splits.values():
        counts = Counter(len(e.meta["classes"]) for e in examples)
        assert set(counts) == {1, 2, 3} and min(counts.values()) > 60
    sentences = [s for examples in splits.values() for e in examples for s in re.findall(r"[^.]+\.", e.inputs["text"])]
    assert len({s.strip() for s in sentences}) == len(sentences)
    assert not alone & {s.strip() for s in sentences}
    for example in splits["test"]:
        said = Counter(words.THEME_OF[w] for w in re.findall(r"\w+", example.key) if w in words.THEME_OF)
        assert all(said[name] >= 2 for name in example.meta["classes"])
        assert example.answer == "; ".join(sorted(example.meta["classes"]))
    assert len({name for e in splits["train"] for name in e.meta["classes"]}) == 12


def test_a_kind_that_is_used_up_says_so():
    with pytest.raises(UsageError, match="no more inputs"):
        rows(KINDS["arithmetic"], 0, {"test": 100_000})
    with pytest.raises(UsageError, match="unknown Wordland kind"):
        kind("nothing")
    with pytest.raises(UsageError, match="unknown split"):
        rows(KINDS["topic"], 0, {"dev": 3})
