"""Styles, in which a scene can be drawn, and shifts: changes of finished pictures that pre-training never saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError
from promptology.zoo.toyland.chance import Seeds, grain, uniform
from promptology.zoo.toyland.lists import SHIFTS, STYLES

NOISE = np.float32(0.11)
CELLS = 11
"""Pixelated pictures have this many cells a side."""
_NIGHT = np.array((0.3, 0.32, 0.44), np.float32)[:, None, None]


def apply(canvas: NDArray[np.float32], style: NDArray[np.int64], seed: Seeds) -> None:
    """Turn planes (n, 3, px, px) in [0, 1] into their styles, in place. Sketches are drawn as such beforehand."""
    for name in ("noisy", "night", "inverted", "pixelated"):
        rows = np.flatnonzero(style == STYLES.index(name))
        if not len(rows):
            continue
        if name == "noisy":
            canvas[rows] = np.clip(canvas[rows] + NOISE * grain(seed[rows], 20, canvas.shape[-1]), 0, 1)
        elif name == "night":
            canvas[rows] = canvas[rows] * _NIGHT + np.float32(0.02)
        elif name == "inverted":
            canvas[rows] = np.float32(1) - canvas[rows]
        else:
            canvas[rows] = _pixelated(canvas[rows])


def _pixelated(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average over a grid of cells, `CELLS` a side; where they do not divide the side, some are a pixel larger."""
    px = planes.shape[-1]
    first = np.arange(CELLS) * px // CELLS
    width = np.diff(np.append(first, px))
    sums = np.add.reduceat(np.add.reduceat(planes, first, axis=2), first, axis=3)
    means = sums / (width[:, None] * width[None, :]).astype(np.float32)
    return np.repeat(np.repeat(means, width, axis=2), width, axis=3)


def amounts(seeds: Seeds, strength: float) -> NDArray[np.float64]:
    """Return how much of a shift each image gets: uniform in [0, strength], from the image's own seed, shape (N,)."""
    return uniform(seeds, 30)[:, 0] * strength


def shift(name: str, images: NDArray[np.uint8], seeds: Seeds, strength: float = 1.0) -> NDArray[np.uint8]:
    """Return clean pictures (N, px, px, 3) under a shift; `strength` in [0, 1] is the largest amount an image gets.

    Raises UsageError for an unknown shift or a strength outside [0, 1].
    """
    if name not in SHIFTS:
        raise UsageError(f"unknown shift {name!r}; Toyland has {', '.join(SHIFTS)}")
    if not 0 <= strength <= 1:
        raise UsageError(f"the strength of a shift is {strength}; it must lie between 0 and 1")
    change = {"backlit": backlit, "haze": haze, "faint": faint}[name]
    return change(images, amounts(seeds, strength))


def backlit(images: NDArray[np.uint8], amount: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Light from behind: x in [0, 1] becomes (1 - l) x^2.2 + 0.875 l, with the amount l of each image, shape (N,)."""
    level = np.arange(256) / 255
    table = (1 - amount[:, None]) * level**2.2 + 0.875 * amount[:, None]
    return _looked_up(table, images)


def haze(images: NDArray[np.uint8], amount: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Haze, thicker upward: x becomes (1 - h) x + 0.8 h, with h from 0.6 l at the bottom to 0.95 l at the top."""
    rise = np.linspace(0.95, 0.6, images.shape[1])
    thick = (amount[:, None] * rise)[:, :, None, None]
    return np.floor(((1 - thick) * (images / 255) + 0.8 * thick) * 255 + 0.5).astype(np.uint8)


def faint(images: NDArray[np.uint8], amount: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Low contrast: x becomes (1 - c) x + 0.45 c with c = 0.95 l."""
    level, loss = np.arange(256) / 255, 0.95 * amount[:, None]
    return _looked_up((1 - loss) * level + 0.45 * loss, images)


def _looked_up(table: NDArray[np.float64], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map every byte of image n by row n of a table (N, 256) of values in [0, 1]."""
    levels = np.floor(table * 255 + 0.5).astype(np.uint8)
    flat = images.reshape(len(images), images[0].size if len(images) else 0)
    return np.take_along_axis(levels, flat.astype(np.int64), 1).reshape(images.shape)
