"""Coloured garments: real silhouettes of Fashion-MNIST, tinted and put somewhere on a small picture.

A class is a pair (colour, garment), such as "red sneaker". Garments and colours have two halves each. Pre-training
draws the pairs of unlike halves; base classes are the pairs of the first halves, new classes those of the second. So
it knows half of the pairs and every word, while base and new classes share no word.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GARMENTS = (
    ("t-shirt", "coat", "trouser", "sandal", "bag"),
    ("pullover", "shirt", "dress", "sneaker", "ankle boot"),
)
"""Halves that are equally hard by their looks: two for the upper body, one more, and shoes in each."""
COLOURS = {
    "red": (0.85, 0.12, 0.12),
    "yellow": (0.90, 0.82, 0.15),
    "teal": (0.10, 0.62, 0.60),
    "purple": (0.52, 0.18, 0.72),
    "orange": (0.95, 0.50, 0.10),
    "green": (0.15, 0.62, 0.20),
    "blue": (0.15, 0.30, 0.85),
    "pink": (0.95, 0.50, 0.70),
}
"""Red, green and blue in [0, 1]; the first four are a half."""
PLACES = ("top left", "top right", "bottom left", "bottom right")
PX, SILHOUETTE = 32, 28
SMALLEST, LARGEST = 18, 26
"""Side that a silhouette's 28 pixels are drawn at."""
SHARES = {"pretraining": (0, 700), "train": (700, 850), "validation": (850, 1000)}
"""Which silhouettes of each garment of the training file serve what; test pictures take those of the test file."""
Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]
Pair = tuple[str, str]


class Drawn(NamedTuple):
    """Pictures, uint8 (n, PX, PX, 3), and the place of each in PLACES, int64 (n,)."""

    pixels: Pixels
    places: Indices


def split() -> dict[str, list[Pair]]:
    """Return the pairs (colour, garment) of pre-training, base and new classes."""
    names = list(COLOURS)
    colours = names[: len(names) // 2], names[len(names) // 2 :]

    def pairs(k: int, m: int) -> list[Pair]:
        return [(colour, garment) for garment in GARMENTS[m] for colour in colours[k]]

    return {"pretraining": [*pairs(0, 1), *pairs(1, 0)], "base": pairs(0, 0), "new": pairs(1, 1)}


def silhouettes(folder: Path) -> dict[str, dict[str, Pixels]]:
    """Return what each use draws from: by use and garment the silhouettes, uint8 (n, 28, 28).

    Uses are those of SHARES, and test; no silhouette serves two. Raises UsageError where a file cannot be read.
    """
    files = {name: _read(folder / f"{name}.parquet") for name in ("train", "test")}
    found = {
        use: {name: shapes[first:last] for name, shapes in files["train"].items()}
        for use, (first, last) in SHARES.items()
    }
    return {**found, "test": files["test"]}


def _read(path: Path) -> dict[str, Pixels]:
    import PIL.Image

    from promptology.data.parquet import read_parquet

    by_label: dict[str, list[Pixels]] = {}
    for row in read_parquet(path).rows:
        shape = np.array(PIL.Image.open(io.BytesIO(row["image"])).convert("L"))
        by_label.setdefault(row["label"], []).append(shape)
    return {name: np.stack(by_label[name]) for half in GARMENTS for name in half}


def compose(shapes: Pixels, colours: Indices, rng: np.random.Generator, ease: float = 0.0) -> Drawn:
    """Tint silhouettes, uint8 (n, 28, 28), by colours, indices (n,), and put each on a grey ground of its own.

    Size, mirroring, place, shade of the colour, light and noise are drawn from `rng`. `ease`: 1 makes all of one size,
    so large that their places hardly differ; 0 is what a task shows.
    """
    n = len(shapes)
    size = LARGEST - (1 - ease) * rng.uniform(0, LARGEST - SMALLEST, (n, 1, 1))
    places = rng.integers(len(PLACES), size=n)
    grid = np.arange(PX) + 0.5
    across, down = places % 2, places // 2
    middle = [np.where(half, PX - size[:, 0, 0] / 2, size[:, 0, 0] / 2) for half in (across, down)]
    x, y = (m + (1 - ease) * rng.uniform(-1, 1, n) for m in middle)
    flip = rng.choice((-1.0, 1.0), (n, 1, 1))
    u = flip * (grid[None, None, :] - x[:, None, None]) / size * SILHOUETTE + (SILHOUETTE - 1) / 2
    v = (grid[None, :, None] - y[:, None, None]) / size * SILHOUETTE + (SILHOUETTE - 1) / 2
    cloth = _sampled(shapes, *np.broadcast_arrays(u, v))[..., None]
    tint = np.array(list(COLOURS.values()))[colours] + rng.normal(0, 0.06, (n, 3))
    level = rng.uniform(0.15, 0.85, (n, 1, 1, 1)) + rng.uniform(-0.2, 0.2, (n, 1, 1, 1)) * (grid[:, None, None] / PX)
    covered = np.minimum(1.0, 4 * cloth)
    light = rng.uniform(0.7, 1.15, (n, 1, 1, 1))
    seen = covered * tint[:, None, None] * (0.35 + 0.65 * cloth) + (1 - covered) * level
    noisy = light * seen + rng.normal(0, 0.03, seen.shape)
    return Drawn((noisy.clip(0, 1) * 255).astype(np.uint8), places)


def _sampled(shapes: Pixels, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shapes in [0, 1] at columns u and rows v, (n, height, width) each, between pixels linearly, else 0."""
    padded = np.pad(shapes, ((0, 0), (1, 1), (1, 1))) / 255.0
    u, v = u.clip(-1, SILHOUETTE - 0.001) + 1, v.clip(-1, SILHOUETTE - 0.001) + 1
    left, top = u.astype(np.int64), v.astype(np.int64)
    row, a, b = np.arange(len(shapes))[:, None, None], u - left, v - top
    upper = (1 - a) * padded[row, top, left] + a * padded[row, top, left + 1]
    lower = (1 - a) * padded[row, top + 1, left] + a * padded[row, top + 1, left + 1]
    return (1 - b) * upper + b * lower


def pictures(
    shapes: Mapping[str, Pixels], pairs: list[Pair], each: int, rng: np.random.Generator
) -> Iterator[tuple[Pair, Pixels]]:
    """Give so many pictures of each pair, (PX, PX, 3), with their pair."""
    names = list(COLOURS)
    for colour, garment in pairs:
        chosen = rng.choice(len(shapes[garment]), each, replace=False)
        for one in compose(shapes[garment][chosen], np.full(each, names.index(colour)), rng).pixels:
            yield (colour, garment), one
