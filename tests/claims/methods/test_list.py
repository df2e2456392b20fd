"""LiST's claims: equal steps, the entry's sizes, and a teacher that is wrong about two of five texts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from promptology.claims.fixtures import learned_by, zoo_model
from promptology.claims.methods import list as lists
from promptology.methods.weights.list import LiST
from promptology.zoo.folders import find

needs_model = pytest.mark.skipif(find(lists.MODEL) is None, reason="zoo model word-mlm is not there")


def test_the_fixture_is_the_entry_s():
    task = lists.task_of(0)
    assert [len(s) for s in (task.train, task.validation, task.test, task.unlabeled)] == [20, 20, 600, 1000]
    assert len(task.signature.classes) == 4
    for items in (task.train, task.validation):
        assert {sum(i.target == n for i in items) for n in task.signature.class_names} == {5}
    assert not any(i.labelled for i in task.unlabeled)
    assert len(lists.task_of(0, classes=2).signature.classes) == 2


def test_both_arms_make_600_steps_of_16():
    ours, other = lists.list_of({}), lists.prompted({})
    first, last, uniform = ours._lengths(20)
    assert first + ours.rounds * (ours.steps + last) == 600
    assert uniform == 90
    assert other._lengths(20)[0] + other.rounds == 600
    assert ours.batch == ours.labelled_batch == other.labelled_batch == 16
    assert ours.rank == other.rank == LiST().rank


def test_auc_by_hand():
    values, right = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert lists.auc(values, right) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert lists.auc(np.zeros(4), right) == 0.5


@needs_model
def test_two_of_five_labels_are_flipped_and_shuffling_permutes_the_weights(monkeypatch):
    monkeypatch.setattr(lists, "UNLABELLED", 40)
    monkeypatch.setattr(lists, "TEST", 4)
    short = {"rounds": 1, "steps": 3, "teacher_steps": 2, "labelled_steps": 0, "rank": 4, "warmup": 0.0}
    seen = []
    plain = LiST.pseudo_labels
    monkeypatch.setattr(LiST, "pseudo_labels", lambda *a: seen.append(plain(*a)) or seen[-1])
    weighed = LiST.weigh
    given = []
    monkeypatch.setattr(LiST, "weigh", lambda *a: given.append(weighed(*a)) or given[-1])
    method = lists.Mistaught(**{**vars(lists.list_of(lists.GRID[0])), **short, "shuffled": True})
    learned_by(method, lists.task_of(1, classes=2), zoo_model(lists.MODEL), 1)
    (q,) = seen
    flipped = next(iter(reversed(lists._SEEN.values())))
    assert len(flipped) == 16 == round(0.4 * len(q))
    assert len(given) == 3
    with monkeypatch.context() as patch:
        patch.setattr(LiST, "weigh", lambda *a: torch.arange(4.0))
        lists._SEEN[id(q)] = {0, 2}
        found = method.weigh(q, None, None, None, None, [0, 1, 2, 3])
    assert sorted(found.tolist()) == [0.0, 1.0, 2.0, 3.0]


def test_the_size_is_the_closed_form():
    found = lists.size(0, None)
    adapters = 24 * 2 * 2 * 1024 * 128
    head = 1024 * 1024 + 1024 + 2 * 1024 + 50265
    assert found["list"]["trained parameters"] == adapters + head
    assert found["full"]["trained parameters"] == pytest.approx(355e6, rel=0.01)
