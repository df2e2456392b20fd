"""The calibration error by hand."""

from __future__ import annotations

import numpy as np
import pictured
import pytest

import promptology as pt
from promptology.evidence.calibration import BINS, calibration_error


def test_by_hand():
    # One bin: 3 of 4 right at a confidence of 0.9; another: none of 1 right at 0.5.
    found = calibration_error([0.9, 0.9, 0.9, 0.9, 0.5], list("aaaab"), list("aaaba"))
    assert found == pytest.approx(4 / 5 * abs(0.75 - 0.9) + 1 / 5 * 0.5)
    assert calibration_error([1.0, 1.0], ["a", "b"], ["a", "b"]) == 0
    assert calibration_error([1.0, 1.0], ["a", "b"], ["b", "a"]) == 1
    assert calibration_error([], [], []) == 0


def test_a_bin_holds_its_upper_end():
    edge = 3 / BINS
    assert calibration_error([edge, edge - 0.01], ["a", "a"], ["a", "b"]) == pytest.approx((1 - 2 * edge + 0.01) / 2)
    assert calibration_error([edge, edge + 0.01], ["a", "a"], ["a", "b"]) == pytest.approx((1 - edge + edge + 0.01) / 2)


def test_what_is_drawn_by_its_confidence_is_calibrated():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.2, 1, 20_000)
    right = rng.random(20_000) < sure
    assert calibration_error(sure, right, [True] * len(sure)) < 0.02
    assert calibration_error(sure**0.5, right, [True] * len(sure)) > 0.1


def test_it_stands_beside_the_accuracy_where_scores_are_logits():
    found = pt.evaluate(pictured.task(), pictured.model("clip"))
    names = list(found.metrics)
    assert names[0] == "accuracy" and names[-1] == "ece" and 0 <= found.metrics["ece"] <= 1
    assert (
        len(found.measured.confidence) == found.measured.n and found.document["metrics"]["ece"] == found.metrics["ece"]
    )
