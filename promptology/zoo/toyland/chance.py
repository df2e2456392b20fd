"""Random numbers that depend on an image's own seed alone, so that an image is the same in any batch and any style."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Seeds = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LIMB = np.uint64(0xFFFF)


def mixed(values: Seeds) -> Seeds:
    """Return well-mixed 64-bit values, one for each of `values` (the finalizer of SplitMix64)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * _FIRST
        values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def image_seeds(seed: int, count: int, stream: int = 0) -> Seeds:
    """Return the seeds of `count` images of a Toyland seed (0 or more); another `stream` gives other images."""
    with np.errstate(over="ignore"):
        start = mixed(mixed(np.array([seed], np.uint64) + _STEP) + np.uint64(stream))
        return mixed(start + _STEP * np.arange(1, count + 1, dtype=np.uint64))


def uniform(seeds: Seeds, stream: int, count: int = 1) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), shape (len(seeds), count); each stream is a sequence of its own."""
    return (raw(seeds, stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def raw(seeds: Seeds, stream: int, count: int) -> Seeds:
    """Return 64 random bits for each seed and place, shape (len(seeds), count)."""
    with np.errstate(over="ignore"):
        own = mixed(seeds + _STEP * np.uint64(stream + 1))
        return mixed(own[:, None] + _STEP * np.arange(1, count + 1, dtype=np.uint64))


def grain(seeds: Seeds, stream: int, px: int) -> NDArray[np.float32]:
    """Return noise of mean 0 and deviation 1, shape (len(seeds), 3, px, px), bell-shaped within 2.5 deviations."""
    bits = raw(seeds, stream, 2 * px * px).reshape(len(seeds), 2, px * px)
    out = np.empty((len(seeds), 3, px * px), np.float32)
    for channel in range(3):
        at = np.uint64(16 * channel)
        both = ((bits[:, 0] >> at) & _LIMB).astype(np.float32) + ((bits[:, 1] >> at) & _LIMB).astype(np.float32)
        out[:, channel] = both / np.float32(65535) - np.float32(1)
    return (out * np.float32(6**0.5)).reshape(len(seeds), 3, px, px)
