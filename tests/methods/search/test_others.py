"""manual, few-shot, knn-demos, random-search, template-search."""

from __future__ import annotations

import numpy as np
import pytest

import promptology as pt
from promptology.errors import AccessError, UsageError
from promptology.methods.search.knn_demos import best_k
from promptology.prompts import Demonstrations

THINGS = {"rose": "red", "grass": "green", "sky": "blue"}


class Bag:
    """Embeds words by hand: one axis per thing and per colour, aligned where they belong together."""

    name = identity = "bag"
    local = True

    def embed(self, texts):
        rows = []
        for text in texts:
            row = np.full(3, 0.01)
            for axis, (thing, colour) in enumerate(THINGS.items()):
                row[axis] += (thing in text) + 0.6 * (colour in text)
            rows.append(row / np.linalg.norm(row))
        return np.array(rows, np.float32)


def copycat(prompt):
    """Answer with the output of the demonstration whose input shares the thing; without one, guess red."""
    question = prompt.rstrip().splitlines()[-1]
    for block in prompt.split("Input: ")[1:]:
        source, _, rest = block.partition("\nOutput: ")
        if source.split()[0] == question.split()[0]:
            return rest.splitlines()[0]
    return "red"


def test_manual_is_the_start(colours):
    result = pt.fit(colours, Bag(), "manual")
    assert result.evidence.verdict == "start"
    assert result.learning.passes == 0
    assert result.learned.same_as(result.start)


def test_few_shot_shows_every_class_equally(colours):
    result = pt.fit(colours, copycat, pt.FewShot(shots=6), budget="1000calls")
    shown = result.learned.part(Demonstrations)
    assert sorted(e.output for e in shown.examples) == ["blue", "blue", "green", "green", "red", "red"]
    assert result.evidence.verdict == "better"
    assert result.evidence.found.value == 1.0
    again = pt.fit(colours, copycat, pt.FewShot(shots=6), budget="1000calls", seed=1)
    assert not again.learned.same_as(result.learned)


def test_knn_demos_votes_and_keeps_its_vectors(colours, tmp_path):
    result = pt.fit(colours, Bag(), "knn-demos", out=tmp_path / "p")
    assert result.evidence.found.value == 1.0
    loaded = pt.load(tmp_path / "p")
    assert loaded.bind(Bag()).predict(["rose", "sky"]).outputs == ["red", "blue"]
    counted = CountingBag()
    loaded.bind(counted).predict(["rose"])
    assert counted.texts == ["rose"]
    other = CountingBag()
    other.identity = "another model"
    loaded.bind(other).predict(["rose"])
    assert len(other.texts) == 1 + len(colours.train)


class CountingBag(Bag):
    def __init__(self):
        self.texts = []

    def embed(self, texts):
        self.texts += texts
        return super().embed(texts)


def test_best_k_by_leave_one_out():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    points = rng.normal(size=(40, 2)) * 0.05 + np.where(labels[:, None], [1, 0], [0, 1])
    points[0] = [0.999, 0.04]
    vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    assert best_k(vectors, np.eye(2)[labels], 0.1, [1, 5]) == 5
    accuracies = []
    for i in range(40):
        nearest = [j for j in np.argsort(-(vectors @ vectors[i]), kind="stable") if j != i][:5]
        votes = [sum(np.exp((vectors[j] @ vectors[i] - 1) / 0.1) for j in nearest if labels[j] == c) for c in (0, 1)]
        accuracies.append(int(np.argmax(votes)) == labels[i])
    assert np.mean(accuracies) == 39 / 40


def test_template_search_finds_a_wording_that_names_what_is_meant(colours):
    vague = pt.Task(
        colours.train,
        colours.validation,
        colours.open_test(),
        signature=pt.Signature(
            colours.signature.fields,
            "class",
            tuple(pt.ClassLabel(colour, f"such as {thing}") for thing, colour in THINGS.items()),
            "{label} nothing",
        ),
    )

    class Blind(Bag):
        identity = "blind"

        def embed(self, texts):
            return super().embed([t if "such as" in t or "number" in t else "" for t in texts])

    result = pt.fit(vague, Blind(), "template-search")
    assert result.start.readout.options["label_template"] == "{label} nothing"
    assert "{description}" in result.learned.readout.options["label_template"]
    assert result.evidence.verdict == "better"


def test_template_search_checks_its_share(colours):
    with pytest.raises(UsageError, match="share lies above 0"):
        pt.fit(colours, Bag(), "template-search", settings={"share": 0.0})


def test_random_search_keeps_the_best_and_scores_all_on_the_same_items(colours):
    result = pt.fit(colours, copycat, pt.RandomSearch(candidates=3, shots=3), helpers={"optimizer": reworder()})
    steps = [h["values"]["score"] for h in result.history if h["step"] == "candidate"]
    assert len(steps) == 3
    assert result.learned.part(Demonstrations) is not None
    assert result.evidence.verdict == "better"


def test_random_search_scores_its_best_again_on_fresh_items():
    rows = [(f"{thing} number {n}", colour) for thing, colour in THINGS.items() for n in range(30)]
    task = pt.Task(rows[::2], rows[1::2], rows[:9])
    method = pt.RandomSearch(candidates=4, shots=2, items=10, finalists=3)
    result = pt.fit(task, copycat, method, helpers={"optimizer": reworder()}, cache=False)
    (again,) = [h["values"] for h in result.history if h["step"] == "rescored"]
    assert (again["candidates"], again["items"]) == (3, 10)
    assert result.learning.calls == method.plan(task).calls == 10 + 4 * (1 + 10) + 3 * 10
    once = pt.RandomSearch(candidates=4, shots=2, items=10, finalists=1)
    result = pt.fit(task, copycat, once, helpers={"optimizer": reworder()}, cache=False)
    assert not [h for h in result.history if h["step"] == "rescored"]
    assert result.learning.calls == once.plan(task).calls == 10 + 4 * (1 + 10)


def reworder():
    versions = iter(range(1000))

    def optimizer(prompt):
        return f"<prompt>Name the colour, wording {next(versions)}.</prompt>"

    return pt.model(optimizer, identity="reworder")


@pytest.mark.parametrize("method", ["few-shot", "random-search", "spo"])
def test_access_is_checked_before_anything_runs(colours, method):
    with pytest.raises(AccessError, match="generates"):
        pt.fit(colours, Bag(), method)


@pytest.mark.parametrize("method", ["knn-demos", "template-search"])
def test_an_encoder_is_needed(colours, method):
    with pytest.raises(AccessError, match="embeds"):
        pt.fit(colours, copycat, method)


def test_labels_are_needed_outside_the_test_split():
    task = pt.Task(test=[("a", "x"), ("b", "y")], unlabeled=["c"], classes=["x", "y"])
    for method in ("few-shot", "random-search"):
        with pytest.raises(UsageError, match="label"):
            pt.fit(task, copycat, method, helpers={"optimizer": reworder()} if method == "random-search" else {})


def test_unknown_names_are_answered_with_the_nearest(colours):
    with pytest.raises(UsageError, match="did you mean 'few-shot'"):
        pt.fit(colours, copycat, "fewshot")
    with pytest.raises(UsageError, match="no role referee"):
        pt.fit(colours, copycat, "few-shot", helpers={"referee": copycat})
