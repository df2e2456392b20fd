"""How far the confidence of predictions is from how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 15
"""Bins of equal width, as in the paper's experiments."""


def calibration_error(confidence: Sequence[float], outputs: Sequence[Any], targets: Sequence[Any]) -> float:
    """Return the expected calibration error, 0 to 1: over bins of confidence, the mean gap to the share that is right.

    `confidence`: the probability of each output, in (0, 1]. Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger, "On
    Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599, section 2; a bin holds its upper end.
    """
    sure = np.asarray(confidence, np.float64)
    right = np.array([a == b for a, b in zip(outputs, targets, strict=True)], np.float64)
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, right - sure, BINS)
    return float(np.abs(gaps).sum() / max(1, len(sure)))
