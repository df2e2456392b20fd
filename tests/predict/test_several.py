"""Several classes from embeddings: margin, vote, starts, searches."""

from __future__ import annotations

import numpy as np
import pytest

import promptology as pt
from promptology.errors import AccessError
from promptology.methods.search.knn_demos import best_k
from promptology.predict.vectors import majority
from promptology.prompts import Demonstrations, Example, Learned, Readout

COLOURS = ("red", "green", "blue")
SIGNATURE = pt.Signature((pt.Field("text"),), "classes", tuple(pt.ClassLabel(c) for c in COLOURS))


class Bag:
    """Embeds a text by the colours that it names; a fourth axis is shared by all texts."""

    name = identity = "bag"
    local = True

    def embed(self, texts):
        rows = np.array([[*(c in t for c in COLOURS), 0.3] for t in texts], float)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def nearest(margin=None):
    options = {"label_template": "{label}", "input_template": "{input}"}
    readout = Readout("nearest-label", options if margin is None else {**options, "margin": margin})
    return Learned((readout,), SIGNATURE, {"model": "embeds"})


@pytest.fixture
def tagged():
    sets = [[c for b, c in enumerate(COLOURS) if n >> b & 1] for n in range(1, 8)]
    return pt.Task([(f"{' and '.join(sets[n % 7])} {n}", sets[n % 7]) for n in range(84)])


def test_the_margin_decides_which_classes_apply():
    texts = ["red", "red and blue", "red and green and blue"]
    assert nearest(0.05).bind(Bag()).predict(texts).outputs == [("red",), ("red", "blue"), COLOURS]
    assert nearest().bind(Bag()).predict(texts).outputs == nearest(0.05).bind(Bag()).predict(texts).outputs
    wide = nearest(2.0).bind(Bag()).predict(texts)
    assert wide.outputs == [COLOURS] * 3
    assert wide.raw == ["red, green, blue"] * 3
    assert nearest(0.0).bind(Bag()).predict([]).outputs == []


def test_the_vote_of_neighbours_with_several_classes():
    examples = tuple(Example({"text": t}, o) for t, o in [("red", "red"), ("red", "red, blue"), ("green", "none")])
    vote = Readout("neighbour-vote", {"k": 3, "temperature": 1.0})
    learned = Learned((Demonstrations(examples), vote), SIGNATURE, {"model": "embeds"})
    predictions = learned.bind(Bag()).predict(["red"])
    far = np.exp(float(Bag().embed(["red"])[0] @ Bag().embed(["green"])[0]) - 1)
    np.testing.assert_allclose(predictions.scores, [[2, 0, 1]], rtol=1e-5)
    assert predictions.outputs == [("red",)]
    assert (2 + far) / 2 > 1
    votes, total = np.array([[2.0, 1.0, 0.9], [0.2, 0.4, 0.1]]), np.array([[2.0], [2.0]])
    assert majority(votes, total).tolist() == [[True, True, False], [False, True, False]]


def test_best_k_by_leave_one_out_f1():
    rng = np.random.default_rng(0)
    members = np.repeat([[1, 0], [1, 1]], 20, axis=0)
    points = rng.normal(size=(40, 2)) * 0.05 + np.where(members[:, 1:] == 0, [1, 0], [0, 1])
    points[0] = [0.04, 0.999]
    vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    scores = {}
    for k in (1, 5):
        cosine = vectors @ vectors.T
        found = []
        for i in range(40):
            near = [j for j in np.argsort(-cosine[i], kind="stable") if j != i][:k]
            weights = np.exp((cosine[i, near] - 1) / 0.1)
            votes = weights @ members[near]
            said = votes >= weights.sum() / 2
            said[votes.argmax()] = True
            found.append(2 * (said * members[i]).sum() / (said.sum() + members[i].sum()))
        scores[k] = np.mean(found)
    assert best_k(vectors, members, 0.1, [1, 5], several=True) == max(scores, key=scores.get) == 5


@pytest.mark.parametrize("method", ["manual", "template-search", "knn-demos"])
def test_methods_for_encoders(tagged, method, tmp_path):
    result = pt.fit(tagged, Bag(), method, out=tmp_path / "p", budget="200000passes")
    assert result.evidence.metric == "micro_f1"
    assert result.evidence.found.value > 0.95
    assert set(result.evidence.metrics) == {"micro_f1", "macro_f1", "exact_match", "jaccard"}
    assert pt.load(tmp_path / "p").bind(Bag()).predict(["red and blue"]).outputs == [("blue", "red")]


def test_template_search_finds_the_margin(tagged):
    class Blurred(Bag):
        """Cosines lie close together, so that the default margin takes every class for right."""

        identity = "blurred"

        def embed(self, texts):
            rows = np.array([[*(c in t for c in COLOURS), 6.0] for t in texts], float)
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    result = pt.fit(tagged, Blurred(), "template-search", budget="200000passes")
    assert result.evidence.start.value < 0.8
    assert result.learned.readout.options["margin"] == 0.02
    assert result.evidence.verdict == "better"


def test_spans_are_not_read_from_embeddings():
    task = pt.Task([("a b", ["a"])] * 4, [], [], signature=pt.Signature(output="spans"))
    with pytest.raises(AccessError, match="this task's output is spans"):
        pt.fit(task, Bag(), "manual")
