"""Small real image files in every form that tests need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image


def pixels(seed: int = 0, height: int = 40, width: int = 30) -> np.ndarray:
    """Return a smooth colourful picture, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    return ((np.stack(waves, -1) + 1) * 127).astype(np.uint8)


def write(path: Path, seed: int = 0, **size: int) -> Path:
    """Write a picture in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels(seed, **size)).save(path)
    return path


def folder(root: Path, classes: dict[str, int], first: int = 0) -> Path:
    """Write a folder with so many pictures a class; no two are alike."""
    n = first
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            write(root / name / f"{k}.png", n)
            n += 1
    return root
