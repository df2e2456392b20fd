"""Cloze templates and verbalizers, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.data.items import ClassLabel, Field, Signature
from promptology.errors import UsageError
from promptology.prompts.cloze import check_template, class_scores, cloze_of, label_words, shortened

PAIR = Signature((Field("premise"), Field("claim")), "class", (ClassLabel("yes"), ClassLabel("no")))
ONE = Signature((Field("text"),), "class", (ClassLabel("good"), ClassLabel("bad")))
MASK = "[MASK]"


def words(text):
    return len(text.split())


def logs(values):
    return values - np.logaddexp.reduce(values, axis=1, keepdims=True)


def test_a_cloze_is_the_template_with_the_text_and_one_mask():
    cloze = cloze_of("{input} it was {mask}.", MASK, ONE)
    assert cloze({"text": "a {mask} film"}) == "a {mask} film it was [MASK]."
    assert cloze({"text": "odd [MASK] film"}).count(MASK) == 1
    assert (
        cloze_of("{premise}? {mask}, {claim}", MASK, PAIR)({"premise": "a", "claim": "{premise}"})
        == "a? [MASK], {premise}"
    )
    assert cloze_of("{input} so{mask}", "", ONE)({"text": "a"}) == "a so"


def test_what_is_too_long_loses_words_of_the_longest_text_and_never_of_the_template():
    long, short = " ".join(f"a{n}" for n in range(50)), "b0 b1 b2"
    cloze = cloze_of("{premise} then what is meant {mask} , {claim} .", MASK, PAIR, most=24, count=words)
    found = cloze({"premise": long, "claim": short})
    assert found.endswith(f"then what is meant {MASK} , {short} .")
    assert words(found) == 24 - 4
    both = cloze({"premise": long, "claim": long.replace("a", "b")})
    assert words(both) <= 20
    assert both.count("a0 a1 a2 a3 a4 a5 then") == 1
    assert both.endswith("b0 b1 b2 b3 b4 b5 .")
    assert shortened({"x": "a b c", "y": "d"}, 3, words) == {"x": "a b", "y": "d"}
    assert shortened({"x": "a b c", "y": "d"}, 0, words) == {"x": "", "y": ""}
    unknown = cloze_of("{input} it was {mask}.", MASK, ONE, most=4, count=lambda text: None)
    assert unknown({"text": long}).startswith(long)


def test_one_word_a_class_is_the_softmax_over_them_in_every_aggregate():
    values = np.random.default_rng(0).normal(size=(5, 3)) * 4
    one = [["a"], ["b"], ["c"]]
    for how in ("mean", "words"):
        np.testing.assert_allclose(class_scores(values, one, how), logs(values))
    np.testing.assert_allclose(class_scores(values, one, "mean", [3.0, 1.0, 2.0]), logs(values))
    np.testing.assert_allclose(np.exp(class_scores(values, one)).sum(axis=1), 1.0)


def test_several_words_a_class():
    values = np.log(np.array([[0.1, 0.4, 0.2]]))
    pairs = [["a", "b"], ["c"]]
    by_logits = np.array([[np.sqrt(0.1 * 0.4), 0.2]])
    np.testing.assert_allclose(class_scores(values, pairs), np.log(by_logits / by_logits.sum()))
    # The common factor of a softmax over all words falls away again over classes of equal weight.
    np.testing.assert_allclose(class_scores(values, pairs, "words"), np.log(by_logits / by_logits.sum()))
    weighted = np.array([[0.1**0.25 * 0.4**0.75, 0.2]])
    np.testing.assert_allclose(class_scores(values, pairs, "words", [1, 3, 5]), np.log(weighted / weighted.sum()))


def test_the_order_of_classes_permutes_the_scores():
    values = np.random.default_rng(1).normal(size=(4, 3))
    found = class_scores(values, [["a", "b"], ["c"]])
    np.testing.assert_allclose(class_scores(values[:, [2, 0, 1]], [["c"], ["a", "b"]]), found[:, ::-1])


def test_label_words_are_read_in_the_order_of_the_classes():
    assert label_words("", ONE) == {"good": ("good",), "bad": ("bad",)}
    assert label_words("great | fine, terrible", ONE) == {"good": ("great", "fine"), "bad": ("terrible",)}
    with pytest.raises(UsageError, match="are for 1 classes, and there are 2: good, bad; write"):
        label_words("great", ONE)
    with pytest.raises(UsageError, match="are for 2 classes"):
        label_words("great,", ONE)
    with pytest.raises(UsageError, match="'fine' stands for two classes"):
        label_words("fine,fine", ONE)


def test_templates_that_cannot_be():
    assert check_template("{premise} {mask} {claim}", PAIR)
    for template in ("{input}", "{mask}", "{input} {mask} {mask}"):
        with pytest.raises(UsageError, match=r"must hold \{mask\} once, and \{input\} or \{text\}"):
            check_template(template, ONE)
    with pytest.raises(UsageError, match="same field twice"):
        check_template("{text} {text} {mask}", ONE)
    with pytest.raises(UsageError, match="aggregate 'max' is unknown"):
        class_scores(np.zeros((1, 1)), [["a"]], "max")
