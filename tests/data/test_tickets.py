"""The bundled task `tickets`: size, variety, difficulty."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

import promptology as pt


@pytest.fixture(scope="module")
def tickets():
    return pt.load_task("tickets")


@pytest.fixture(scope="module")
def items(tickets):
    return [*tickets.train, *tickets.validation, *tickets.open_test()]


def test_sizes(tickets, items):
    assert len(tickets.signature.classes) == 8
    assert all(c.description.count(".") == 1 for c in tickets.signature.classes)
    assert min(Counter(i.target for i in items).values()) >= 80
    assert len(items) >= 640
    assert min(Counter(i.target for i in tickets.open_test()).values()) >= 56
    assert len({i.id for i in items}) == len({i.inputs["text"] for i in items}) == len(items)


def test_no_two_texts_are_alike(items):
    grams = [frozenset(t[i : i + 5] for i in range(len(t) - 4)) for t in (i.inputs["text"].lower() for i in items)]
    assert max(len(a & b) / len(a | b) for a, b in combinations(grams, 2)) < 0.6


def test_words_alone_solve_it_partly(tickets):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train = [*tickets.train, *tickets.validation]
    test = tickets.open_test()
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([i.inputs["text"] for i in train], [i.target for i in train])
    accuracy = np.mean(model.predict([i.inputs["text"] for i in test]) == np.array([i.target for i in test]))
    assert 0.65 <= accuracy <= 0.90


def test_minilm_zero_shot_solves_it_partly(tickets):
    result = pt.evaluate(tickets, "minilm")
    assert result.score.n == len(tickets.test)
    assert 0.45 <= result.score.value <= 0.80
