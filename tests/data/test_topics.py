"""The bundled task `topics`: size, labels, variety, difficulty; read from its files."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import promptology as pt

FOLDER = Path(pt.__file__).parent / "data" / "bundled"


@pytest.fixture(scope="module")
def meta():
    return json.loads((FOLDER / "topics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def names(meta):
    return [c["name"] for c in meta["classes"]]


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in (FOLDER / "topics.jsonl").read_text(encoding="utf-8").splitlines()]


def truth(rows, names):
    return np.array([[name in row["labels"] for name in names] for row in rows])


def micro_f1(predicted, true):
    return 2 * (predicted & true).sum() / (predicted.sum() + true.sum())


def test_the_description_fits_the_rows(meta, names, rows):
    assert meta["name"] == "topics"
    assert meta["output"] == "classes"
    assert 8 <= len(set(names)) == len(names) <= 10
    assert all(c["description"].count(".") == 1 and c["description"].endswith(".") for c in meta["classes"])
    for row in rows:
        assert set(row) == {"id", "split", "text", "labels"}
        assert row["labels"] == [name for name in names if name in row["labels"]], row["id"]


def test_sizes(names, rows):
    assert len(rows) >= 300
    assert len({r["id"] for r in rows}) == len({r["text"] for r in rows}) == len(rows)
    shares = {split: n / len(rows) for split, n in Counter(r["split"] for r in rows).items()}
    assert shares == pytest.approx({"train": 0.375, "validation": 0.1875, "test": 0.4375}, abs=0.01)
    assert all(10 <= len(r["text"].split()) <= 50 for r in rows)


def test_each_label_is_frequent_in_each_split(names, rows):
    by_split = Counter((r["split"], label) for r in rows for label in r["labels"])
    for name in names:
        assert sum(by_split[split, name] for split in ("train", "validation", "test")) >= 40
        assert min(by_split[split, name] for split in ("train", "validation", "test")) >= 5


def test_one_to_three_labels(rows):
    counts = Counter(len(r["labels"]) for r in rows)
    assert set(counts) == {1, 2, 3}
    assert {k: n / len(rows) for k, n in counts.items()} == pytest.approx({1: 0.4, 2: 0.4, 3: 0.2}, abs=0.05)


def test_labels_mix_freely(names, rows):
    pairs = {pair for r in rows for pair in combinations(r["labels"], 2)}
    assert len(pairs) == len(names) * (len(names) - 1) // 2


def test_no_two_texts_are_alike(rows):
    grams = [frozenset(t[i : i + 5] for i in range(len(t) - 4)) for t in (r["text"].lower() for r in rows)]
    assert max(len(a & b) / len(a | b) for a, b in combinations(grams, 2)) < 0.6


def test_words_alone_solve_it_partly(names, rows):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    train = [r for r in rows if r["split"] != "test"]
    test = [r for r in rows if r["split"] == "test"]
    # Each label is on about one text in six: without balanced weights one-vs-rest would hardly ever say yes.
    each = LogisticRegression(max_iter=1000, class_weight="balanced")
    model = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(each))
    model.fit([r["text"] for r in train], truth(train, names).astype(int))
    predicted = model.predict([r["text"] for r in test]).astype(bool)
    assert 0.45 <= micro_f1(predicted, truth(test, names)) <= 0.85


def test_minilm_zero_shot_solves_it_partly(meta, names, rows):
    """Even told how many labels each text has, the nearest label wordings are neither chance nor the ceiling."""
    test = [r for r in rows if r["split"] == "test"]
    true = truth(test, names)
    model = pt.model("minilm")
    texts = np.asarray(model.embed([r["text"] for r in test]))
    wordings = np.asarray(model.embed([f"{c['name']}: {c['description']}" for c in meta["classes"]]))
    rank = np.argsort(np.argsort(-(texts @ wordings.T), axis=1), axis=1)
    k = true.sum(axis=1, keepdims=True)
    chance = float((k**2).sum() / len(names) / k.sum())
    assert 1.5 * chance <= micro_f1(rank < k, true) <= 0.85
