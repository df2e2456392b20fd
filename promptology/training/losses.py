"""What losses weigh by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def positive_weights(counts: Sequence[int], cap: float = 0.0) -> NDArray[np.float32]:
    """Return the weight of a positive label per class, max_k n_k / n_c (PTEC, arXiv:2309.12075), float32, shape (C,).

    `counts`: training items n_c of each class; a class with none counts as one with 1. `cap`: the largest weight, 0 for
    none: a weight can be huge for a rare class.
    """
    n = np.maximum(np.asarray(counts, np.float64), 1.0)
    weights = n.max() / n
    found: NDArray[np.float32] = (np.minimum(weights, cap) if cap else weights).astype(np.float32)
    return found
