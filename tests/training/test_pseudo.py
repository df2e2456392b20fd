"""Pseudo-labels by hand."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.training.pseudo import agreed, softmax, teach


def test_what_agrees_is_likeliest_and_likely_enough():
    q = np.array([[0.6, 0.4], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    assert agreed(q, [0, 1, 0, 1], 0.5).tolist() == [True, False, True, True]
    assert agreed(q, [0, 1, 0, 1], 0.7).tolist() == [False, False, False, True]
    assert agreed(np.zeros((0, 2)), [], 0.5).tolist() == []


def test_softmax_of_rows():
    np.testing.assert_allclose(softmax(np.array([[0.0, np.log(3.0)], [1e4, 1e4]])), [[0.25, 0.75], [0.5, 0.5]])


def test_a_teacher_knows_what_it_saw_and_nothing_of_a_class_without_texts():
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], np.float32)
    q = teach(vectors, ["a", "a", "b", "b"], np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), ["a", "b", "c"])
    assert q.argmax(axis=1).tolist() == [0, 1]
    assert (q[:, 2] < 1e-3).all()
    np.testing.assert_allclose(q.sum(axis=1), 1.0)
    alone = teach(vectors, ["a"] * 4, vectors, ["a", "b"])
    assert alone[:, 0].min() == pytest.approx(1.0, abs=1e-3)
