"""Label words that are found: by hand on a table, and on the small masked model where it is there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny
import torch
from whitebox import one_class, run_of

import promptology as pt
from promptology.data.generated import kind_task
from promptology.errors import UsageError
from promptology.methods.weights.cloze_tuning import ClozeTuning
from promptology.models.local import open_local
from promptology.training.label_words import best_words, vocabulary
from promptology.training.objectives import score_of
from promptology.zoo.folders import find
from promptology.zoo.wordland.kinds import KINDS

torch.set_num_threads(1)


def test_a_planted_word_is_found_and_one_that_is_likely_everywhere_is_not():
    rng = np.random.default_rng(0)
    gold = np.repeat([0, 1, 2], 8)
    values = rng.normal(-8.0, 0.5, (24, 300))
    values[:, 7] = -1.0
    for c, word in enumerate((20, 150, 299)):
        values[gold == c, word] += 4.0
    assert best_words(values, gold, 3) == [[20, 150, 299]]
    assert [20, 150, 299] in best_words(values + rng.normal(0, 1.5, values.shape), gold, 3, count=5)


def test_many_combinations_at_once_are_what_each_is_by_itself():
    rng = np.random.default_rng(4)
    gold, values = np.repeat([0, 1, 2], 6), rng.normal(-5.0, 1.0, (18, 20))
    each = []
    for some in itertools.permutations(range(20), 3):
        scores = values[:, some]
        logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        each.append((-(scores.argmax(axis=1) == gold).mean(), -logs[np.arange(18), gold].mean(), list(some)))
    assert best_words(values, gold, 3, count=50) == [some for *_, some in sorted(each)[:50]]


def test_of_equal_accuracy_the_likelier_words_win_and_no_word_stands_twice():
    gold = np.array([0, 0, 1, 1])
    values = np.log(np.array([[0.4, 0.1, 0.2], [0.4, 0.1, 0.2], [0.1, 0.4, 0.3], [0.1, 0.4, 0.3]]))
    assert best_words(values, gold, 2) == [[0, 1]]
    assert best_words(values, gold, 2, count=2) == [[0, 1], [0, 2]]
    assert len(set(best_words(np.zeros((4, 5)), gold, 2)[0])) == 2
    with pytest.raises(UsageError, match="no words of one token tell the classes apart"):
        best_words(np.zeros((4, 1)), gold, 2)


def test_only_whole_words_in_small_letters_take_part(tmp_path):
    body = open_local(tiny.tiny_bert(tmp_path / "m")).frozen()
    words = vocabulary(body)
    assert {"parcel", "invoice", "card"} <= {*words.values()}
    assert all(body.reader.label(word) == n for n, word in words.items())
    assert not any(w.startswith("[") or not w.isalpha() for w in words.values())


def test_they_cost_a_pass_for_each_labelled_text_and_stand_in_what_is_learned(tmp_path):
    model, task = open_local(tiny.tiny_bert(tmp_path / "m")), one_class(train=12)
    run = run_of(task, model)
    method = ClozeTuning(words="auto", tune="none")
    learned = method.fit(run)
    assert run.meter.charged.passes == 12 == method.plan(task).passes
    words = [w for (w,) in learned.readout.options["words"].values()]
    assert len(set(words)) == 4
    assert words == list(next(h["values"] for h in run.history if h["step"] == "label words").values())
    few = pt.Task([i for i in task.train if i.target != "late"], [], task.open_test(), signature=task.signature)
    with pytest.raises(UsageError, match="words cannot be found for 'late': it has no labelled text"):
        method.fit(run_of(few, model))


def test_of_several_candidates_validation_items_choose(tmp_path):
    model, task = open_local(tiny.tiny_bert(tmp_path / "m")), one_class(train=12, validation=8)
    method = ClozeTuning(words="auto", candidates=3, steps=3, batch=4, checks=1, rank=2, rate=0.03)
    run = run_of(task, model)
    learned = method.fit(run)
    said = [h["values"] for h in run.history if h["step"] == "candidate"]
    assert len({one["words"] for one in said}) == 3
    words = ",".join(w for (w,) in learned.readout.options["words"].values())
    best = max(said, key=lambda one: one["score"])  # the first of equal ones
    assert words == best["words"] and score_of(run, learned, task.validation) == pytest.approx(best["score"])
    assert run.meter.charged.passes <= method.plan(task).passes
    blind = pt.Task(task.train, [], task.open_test(), signature=task.signature, name="blind")
    with pytest.raises(UsageError, match="candidates are chosen on validation items, and task 'blind' has no labelled"):
        method.fit(run_of(blind, model))
    with pytest.raises(UsageError, match="0 candidates leave nothing to tune"):
        ClozeTuning(words="auto", candidates=0).fit(run_of(task, model))


@pytest.mark.skipif(find("word-mlm") is None, reason="zoo model word-mlm is not there")
def test_found_words_tell_classes_apart_before_anything_is_trained():
    model = pt.model("zoo:word-mlm", device="cpu")
    task = kind_task(KINDS["season"], 3, {"train": 32, "validation": 4, "test": 200})
    run = run_of(task, model)
    learned = ClozeTuning(words="auto", tune="none").fit(run)
    assert score_of(run, learned, task.open_test()) > 0.5  # a quarter would be chance
