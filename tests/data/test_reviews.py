"""The bundled task `reviews`: size, balance, variety, difficulty."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

import promptology as pt
from promptology.data.loaders import BUNDLED

SENTIMENTS = ("negative", "mixed", "positive")
DOMAINS = ("restaurants", "hotels", "appliances", "courses")


@pytest.fixture(scope="module")
def reviews():
    return pt.load_task("reviews")


@pytest.fixture(scope="module")
def items(reviews):
    return [*reviews.train, *reviews.validation, *reviews.open_test()]


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in (BUNDLED / "reviews.jsonl").read_text(encoding="utf-8").splitlines()]


def test_sizes(reviews, items):
    assert tuple(c.name for c in reviews.signature.classes) == SENTIMENTS
    assert all(c.description.count(".") == 1 for c in reviews.signature.classes)
    assert len(items) >= 480
    assert len({i.id for i in items}) == len({i.inputs["text"].casefold() for i in items}) == len(items)
    assert all(8 <= len(i.inputs["text"].split()) <= 45 for i in items)


def test_every_sentiment_of_every_domain_is_as_frequent(rows):
    cells = Counter((row["label"], row["domain"]) for row in rows)
    assert set(cells) == set(product(SENTIMENTS, DOMAINS))
    assert min(cells.values()) >= 40
    for split, share in (("train", 0.375), ("validation", 0.1875), ("test", 0.4375)):
        parts = Counter((row["label"], row["domain"]) for row in rows if row["split"] == split)
        assert len(parts) == len(cells)
        assert len(set(parts.values())) == 1
        assert sum(parts.values()) / len(rows) == pytest.approx(share, abs=0.02)


def test_no_two_texts_are_alike(items):
    grams = [frozenset(t[i : i + 5] for i in range(len(t) - 4)) for t in (i.inputs["text"].lower() for i in items)]
    assert max(len(a & b) / len(a | b) for a, b in combinations(grams, 2)) < 0.6


def test_words_alone_solve_it_partly(reviews):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = [*reviews.train, *reviews.validation]
    test = reviews.open_test()
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([i.inputs["text"] for i in train], [i.target for i in train])
    accuracy = np.mean(model.predict([i.inputs["text"] for i in test]) == np.array([i.target for i in test]))
    assert 0.50 <= accuracy <= 0.85


def test_minilm_zero_shot_solves_it_partly(reviews):
    result = pt.evaluate(reviews, "minilm")
    assert result.score.n == len(reviews.test)
    assert 0.40 <= result.score.value <= 0.75
