"""Losses against numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from promptology.training.losses import positive_weights


def test_positive_weights_are_those_of_the_paper():
    assert positive_weights([10, 5, 1]).tolist() == [1.0, 2.0, 10.0]
    assert positive_weights([10, 5, 1], cap=4).tolist() == [1.0, 2.0, 4.0]
    assert positive_weights([4, 0]).tolist() == [1.0, 4.0]
    assert positive_weights([1, 2]).dtype == np.float32
