"""ROUGE-L and BLEU against the packages that define them; several right texts; resampling against the loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from promptology.data.metrics import metric
from promptology.data.scoring import Metric, resample

SAID = ["the cat sat on the mat", "a dog", "there is a red house by the sea", "yes", None, "it was late in the evening"]
REAL = [
    "the cat is on the mat",
    "the dog ran away quickly",
    "there is a red house at the sea",
    "yes",
    "x",
    "it was late",
]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=40), st.text(st.characters(codec="ascii"), max_size=40))
def test_rouge_equals_rouge_score(said, real):
    expected = RougeScorer(["rougeL"], use_stemmer=False).score(real, said)["rougeL"].fmeasure
    found = metric("rouge-l").item(said, real)
    assert found == pytest.approx(expected) or not any(c.isalnum() for c in real)


def test_rouge_by_hand_and_in_other_scripts():
    rouge = metric("rouge_l")
    assert rouge.item("the cat sat", "the black cat sat down") == pytest.approx(2 * 1 * 0.6 / 1.6)
    assert rouge.item("кот сидит", "кот спит") == pytest.approx(0.5)
    assert rouge.item("no", ("yes", "No.")) == 1.0
    assert (rouge.item("😀", "😀"), rouge.item("😀", "😡"), rouge.item(None, "x"), rouge.item("", "x")) == (1, 0, 0, 0)
    assert list(rouge.aggregate(SAID, REAL)) == ["rouge_l"]


def test_bleu_equals_sacrebleu():
    bleu = metric("bleu")
    said = [s or "" for s in SAID]
    assert bleu.aggregate(SAID, REAL) == {"bleu": pytest.approx(sacrebleu.corpus_bleu(said, [REAL]).score / 100)}
    for s, r in zip(SAID, REAL, strict=True):
        expected = 0.0 if s is None else sacrebleu.sentence_bleu(s, [r], use_effective_order=True).score / 100
        assert bleu.item(s, r) == pytest.approx(expected)
    several = [(r, "another way to say it") for r in REAL]
    expected = sacrebleu.corpus_bleu(said, [REAL, ["another way to say it"] * 6]).score / 100
    assert bleu.aggregate(SAID, several) == {"bleu": pytest.approx(expected)}
    mixed = [several[0], *REAL[1:]]
    expected = sacrebleu.corpus_bleu(said, [REAL, ["another way to say it", *[None] * 5]]).score / 100
    assert bleu.aggregate(SAID, mixed) == {"bleu": pytest.approx(expected)}
    assert 0.2 < bleu.aggregate(SAID, REAL)["bleu"] < 0.8
    assert not bleu.decomposes


@pytest.mark.parametrize("name", ["rouge_l", "bleu", "exact_match", "token_f1"])
def test_resampled_equals_the_loop_with_several_right_texts(name):
    scored = metric(name)
    assert isinstance(scored, Metric)
    targets = [(r, "the cat sat") if n % 2 else r for n, r in enumerate(REAL)]
    indices = np.random.default_rng(0).integers(0, 6, (30, 6))
    loop = [scored.aggregate([SAID[i] for i in row], [targets[i] for i in row])[scored.name] for row in indices]
    np.testing.assert_allclose(resample(scored, SAID, targets, indices), loop)
    assert all(math.isnan(v) for v in scored.aggregate([], []).values())


def test_the_best_of_several_right_texts_counts():
    assert metric("exact_match").item("b", ("a", "b")) == 1
    assert metric("token_f1").item("black cat", ("dog", "black cat sleeps")) == pytest.approx(0.8)
