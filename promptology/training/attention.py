"""How label attention starts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError


def heads_for(
    vectors: NDArray[Any], heads: int, width: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of network `label-attention`: equal projections, and the mean and spread of training vectors.

    The projections are slices of one random orthogonal matrix (of several, where they are more rows than one has), so
    that attention begins as a softmax of cosines. `width`: of each head, 0 for an equal share of the vectors' own.
    Raises UsageError where heads do not fit.
    """
    d = vectors.shape[1]
    width = width or max(1, d // max(heads, 1))
    if heads < 1 or not 1 <= width <= d:
        raise UsageError(f"{heads} heads of width {width} do not fit vectors of width {d}")
    draws = rng.standard_normal((-(-heads * width // d), d, d))
    rows = np.concatenate([np.linalg.qr(one)[0] for one in draws])[: heads * width]
    projections = rows.reshape(heads, width, d).astype(np.float32)
    spread = vectors.std(axis=0)
    spread[spread < 1e-6] = 1.0
    return {"query": projections, "key": projections.copy(), "mean": vectors.mean(axis=0), "spread": spread}
