"""What the report shows beside the figures: by hand, bounded, and the same whatever the size."""

from __future__ import annotations

import json

import pytest
from documents import HOSTILE, evidence, large_document, made, measured, result, task_of

from promptology.data.judging import Graded, JudgeMetric
from promptology.data.metrics import Accuracy
from promptology.evidence.details import POINTS, agreement, confusion, curves, flips
from promptology.evidence.documents import write_document
from promptology.evidence.report import render


def entry(step, calls, **values):
    return {"step": step, "values": values}, {"calls": calls}


def curves_of(entries):
    return curves([history for history, _ in entries], [spent for _, spent in entries])


def test_curves_by_hand():
    history = [
        entry("candidate", 10, score=0.4, best=0.5),
        entry("candidate", 20, score=0.7, best=0.7),
        entry("rescored", 30, best=0.6),
        entry("training", 30, loss=2.0),
        entry("training", 40, loss=1.0, value=0.8),
        entry("candidate", 50, outcome="no usable proposal"),
    ]
    best, loss = curves_of(history)
    assert best == {
        "kind": "score",
        "step": "candidate",
        "figure": "best",
        "values": [0.5, 0.7],
        "costs": {"calls": [10, 20]},
    }
    assert (loss["kind"], loss["values"], loss["costs"]) == ("loss", [2.0, 1.0], {"calls": [30, 40]})


def test_accepted_rounds_are_counted():
    rounds = ["accepted", "rejected", "no usable proposal", "accepted"]
    (curve,) = curves_of([entry("round", 10 * n, outcome=said) for n, said in enumerate(rounds)])
    assert (curve["kind"], curve["values"]) == ("accepted", [1.0, 1.0, 1.0, 2.0])
    assert curves_of([entry("candidate", n, outcome="no usable proposal") for n in range(3)]) == []


def test_a_history_without_figures_has_no_curve():
    assert curves_of([entry("advice", 1, text="try"), entry("step", 2, best=float("nan"))]) == []


def test_a_long_curve_keeps_its_ends():
    (curve,) = curves_of([entry("step", n, best=n / 10_000) for n in range(10_000)])
    assert len(curve["values"]) == POINTS == len(curve["costs"]["calls"])
    assert (curve["values"][0], curve["values"][-1]) == (0.0, 0.9999)
    assert curve["values"] == sorted(curve["values"])


def test_agreement_by_hand():
    one = measured("aabb", "aaaa")
    other = measured("abab", "aaaa", ids=["i0", "i1", "i2", "i9"])
    found = agreement(Accuracy(), [("one", one), ("other", other)])
    assert found["labels"] == ["one", "other"]
    # common are i0 (both right), i1 (only one), i2 (only the other)
    assert found["cells"][0][1] == [1, 0, 1, 1]
    assert found["cells"][1][0] == [1, 0, 1, 1]
    assert found["cells"][0][0] == [2, 2, 0, 0]


def test_confusion_by_hand():
    task = task_of("wxyz", "aabb", ["a", "b"])
    found = confusion(task, measured(["a", "b", None, "b"], "aabb"))
    assert found == {"n": 4, "errors": 2, "classes": ["a", "b"], "counts": [[1, 1, 0], [0, 1, 1]]}


def test_of_many_classes_the_most_confused_pairs():
    classes = [f"c{n:02}" for n in range(13)]
    task = task_of(classes, classes, classes)
    said = ["c01", "c01", *classes[2:12], None]
    found = confusion(task, measured([*said, "c01", "c07"], [*classes, "c00", "c08"]))
    assert found == {"n": 15, "errors": 4, "pairs": [["c00", "c01", 2], ["c08", "c07", 1], ["c12", None, 1]]}


def test_flips_by_hand():
    task = task_of(["first", "second", "third", "y" * 1000], "aaaa", ["a", "b"])
    before = measured(["b", "a", "b", None], "aaaa", {"i0": "I say b", "i3": "z" * 1000})
    after = measured(["a", "b", "b", "a"], "aaaa", {"i0": "a"})
    found = flips(task, before, after, {i.id: i for i in task.test}, 1)
    assert found["better"]["count"] == 2
    assert found["better"]["items"] == [{"input": "first", "right": "a", "before": "b\nI say b", "after": "a"}]
    assert (found["worse"]["count"], found["worse"]["items"][0]["input"]) == (1, "second")
    (_, last) = flips(task, before, after, {i.id: i for i in task.test}, 9)["better"]["items"]
    assert len(last["input"]) < 410 and len(last["before"]) < 310
    assert last["before"].startswith("(not readable)\nzzz")


def test_what_a_judge_graded_is_shown_with_its_grade():
    task = task_of(["first", "second"], "ab", ["a", "b"])
    metric = JudgeMetric()
    before = measured([Graded("short", 0.25), Graded("fine", 1.0)], [None, None], {"i0": "short", "i1": "fine"})
    after = measured([Graded("long", 1.0), None], [None, None], {"i0": "so long", "i1": None})
    found = flips(task.with_metric(metric), before, after, {}, 5)
    assert found["better"]["items"] == [
        {"input": "", "right": "", "before": "short (graded 0.25)", "after": "long (graded 1)\nso long"}
    ]
    assert found["worse"]["items"][0]["after"] == "(not readable)"


def test_an_arm_that_is_the_start_has_no_flips():
    task = task_of("wxyz", "aabb", ["a", "b"])
    before, after = measured("aaaa", "aabb"), measured("aabb", "aabb")
    results = [
        result(task, evidence(task, before, before, "start"), "manual", found="Say it."),
        result(task, evidence(task, before, after)),
    ]
    doc = made(task, results)
    assert doc["agreement"]["labels"] == ["start (manual)", "opro"]
    assert doc["agreement"]["cells"][0][1] == [2, 0, 0, 2]
    assert "flips" not in doc["arms"][0]
    assert doc["arms"][1]["flips"]["better"]["count"] == 2
    assert doc["start"]["confusion"]["errors"] == 2


def test_half_a_character_is_written_and_read_again(tmp_path):
    task = task_of("wx", "aa", ["a", "b"])
    before, after = measured("ba", "aa", {"i0": HOSTILE[4]}), measured("aa", "aa")
    doc = made(task, [result(task, evidence(task, before, after))])
    again = json.loads((write_document(doc, tmp_path) / "result.json").read_text(encoding="utf-8"))
    assert again["arms"][0]["flips"]["better"]["items"][0]["before"].endswith("\ud800 half")


@pytest.fixture(scope="module")
def large():
    return large_document()


def test_fifty_thousand_items_and_ten_thousand_candidates_stay_small(large):
    assert large["arms"][0]["score"]["n"] == 50_000
    assert large["arms"][0]["lineage"]["count"] >= 10_000
    assert sum(large["agreement"]["cells"][0][1]) == 50_000
    assert large["arms"][0]["steps"] == 10_000
    assert len(json.dumps(large)) < 2_000_000
    assert len(render(large).encode()) < 2_000_000
