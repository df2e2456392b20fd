import re

import numpy as np

from promptology.zoo.wordland import words
from promptology.zoo.wordland.held_out import SIGNS
from promptology.zoo.wordland.kind import for_evaluation
from promptology.zoo.wordland.kinds import HELD_OUT, HELD_OUT_CLASSIFICATION
from promptology.zoo.wordland.passages import RARER, unlabelled
from promptology.zoo.wordland.vocabulary import vocabulary


def spelled(text):
    return re.findall(r"[a-z]+", text)


PASSAGES = unlabelled(np.random.default_rng(5), 4000)


def test_running_text_follows_from_the_generator():
    assert unlabelled(np.random.default_rng(5), 50) == PASSAGES[:50]
    assert len(set(PASSAGES)) > 3990


def test_no_sentence_is_an_input_for_evaluation():
    for passage in PASSAGES:
        sentences = re.findall(r"[^.?!]+[.?!]", passage)
        assert 2 <= len(sentences) <= 4
        assert not any(for_evaluation(s.strip()) for s in sentences), passage


def test_every_word_is_in_the_vocabulary():
    assert {w for p in PASSAGES for w in spelled(p)} <= set(vocabulary())


def test_names_of_held_out_classes_meet_their_words_more_than_any_others():
    for kind in HELD_OUT_CLASSIFICATION:
        for name in kind.class_names:
            near = [set(spelled(p)) for p in PASSAGES if name in spelled(p)]
            met = {other: sum(bool(p & set(signs)) for p in near) for other, signs in SIGNS[kind.name].items()}
            assert met[name] > 0.8 * len(near) > 10
            assert all(met[name] > 3 * count for other, count in met.items() if other != name)


def test_rarer_words_meet_what_they_mean():
    for word in RARER:
        assert any(word in spelled(p) and set(RARER[word]) & set(spelled(p)) for p in PASSAGES), word
    assert any("contrary" in p and any(a in spelled(p) for a in words.ADJECTIVES) for p in PASSAGES)


def test_held_out_kinds_are_not_told_in_their_own_sentences():
    """A passage may use the words of a held-out kind, never its patterns."""
    rng = np.random.default_rng(9)
    sentences = {s.strip() for p in PASSAGES for s in re.findall(r"[^.?!]+[.?!]", p)}
    for kind in HELD_OUT:
        shapes = [
            re.sub("|".join(sorted(map(re.escape, words.NAMES), key=len)), "X", e.key) for e in kind.draw(rng, 200)
        ]
        told = {re.sub("|".join(sorted(map(re.escape, words.NAMES), key=len)), "X", s) for s in sentences}
        assert not told & set(shapes)
