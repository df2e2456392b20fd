"""Pseudo-labels by hand."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.training.pseudo import agreed, drawn_texts, ensembled, softmax, teach


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


def test_models_are_averaged_by_their_weights_and_softened():
    z = np.log(np.array([[[0.8, 0.2]], [[0.5, 0.5]]]))
    np.testing.assert_allclose(ensembled(z, np.array([1.0, 0.0])), [[0.8, 0.2]])
    np.testing.assert_allclose(ensembled(z, np.array([3.0, 3.0])), softmax(z.mean(axis=0)))
    np.testing.assert_allclose(ensembled(z, np.array([0.0, 0.0])), softmax(z.mean(axis=0)))
    np.testing.assert_allclose(ensembled(z, np.array([1.0, 0.0]), 2.0), [[2 / 3, 1 / 3]])  # sqrt(0.8 / 0.2) = 2
    np.testing.assert_allclose(ensembled(np.zeros((3, 2, 4)), np.ones(3), 2.0), np.full((2, 4), 0.25))
    # What is added to all classes of a text does not matter.
    np.testing.assert_allclose(ensembled(z + 7.0, np.array([1.0, 2.0])), ensembled(z, np.array([1.0, 2.0])))


def test_texts_are_drawn_once_by_class_and_by_how_sure_the_models_are():
    q = np.array([[0.9, 0.1]] * 3 + [[0.5, 0.5]] + [[0.2, 0.8]] * 2)
    found = drawn_texts(q, [10, 1], np.random.default_rng(0))
    assert [n for n, c in found if c == 0] == [0, 1, 2, 3] and [c for n, c in found if n > 3] == [1]
    assert drawn_texts(q, [0, 0], np.random.default_rng(0)) == []
    sure = np.array([[0.99, 0.01], [0.51, 0.49]])
    draws = [drawn_texts(sure, [1, 0], np.random.default_rng(n))[0][0] for n in range(400)]
    assert pytest.approx(1 - np.mean(draws), abs=0.08) == 0.99 / 1.5
