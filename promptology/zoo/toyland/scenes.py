"""Scenes: what stands where in each image, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from promptology.errors import UsageError
from promptology.zoo.toyland.chance import Seeds, uniform
from promptology.zoo.toyland.lists import BACKGROUNDS, KNOWN, KNOWN_TEXTURES, PLACES, SHAPES, STYLES, TEXTURES

Whole = NDArray[np.int64]
Real = NDArray[np.float32]
MOST = 4
"""Objects an image has room for."""


@dataclass(frozen=True)
class Scenes:
    """N scenes of up to K objects, one array for each property; slots without an object have shape -1.

    Of objects, shape (N, K): `shape`, `colour`, `shade` (0 dark, 1 light), `texture`: indices into the lists; `x`, `y`:
    centre and `size`: half the width, as shares of the image's side, float32. Of images, shape (N,): `background` and
    `style`: indices; `seed`: uint64, on which grain and tints depend.
    """

    shape: Whole
    colour: Whole
    shade: Whole
    texture: Whole
    size: Real
    x: Real
    y: Real
    background: Whole
    style: Whole
    seed: Seeds

    def __len__(self) -> int:
        return len(self.seed)

    def __getitem__(self, which: slice | NDArray[np.bool_] | Whole) -> Scenes:
        """Return some of the scenes."""
        return Scenes(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})

    @property
    def tone(self) -> Whole:
        """Index of every object's shade in `SHADES`, shape (N, K)."""
        return 2 * self.colour + self.shade

    @property
    def count(self) -> Whole:
        """Number of objects, shape (N,)."""
        found: Whole = (self.shape >= 0).sum(1)
        return found

    def styled(self, style: str | Whole) -> Scenes:
        """Return the same scenes drawn in another style (a name, or an index for each image)."""
        if isinstance(style, str):
            if style not in STYLES:
                raise UsageError(f"unknown style {style!r}; Toyland draws {', '.join(STYLES)}")
            style = np.full(len(self), STYLES.index(style), np.int64)
        return replace(self, style=style)


def joined(parts: list[Scenes]) -> Scenes:
    """Return scenes one behind the other; those with fewer slots get empty ones."""
    slots = max(part.shape.shape[1] for part in parts)

    def filled(name: str) -> list[NDArray[np.generic]]:
        arrays = [getattr(part, name) for part in parts]
        empty = -1 if name == "shape" else 0
        if arrays[0].ndim == 1:
            return arrays
        return [np.pad(a, ((0, 0), (0, slots - a.shape[1])), constant_values=empty) for a in arrays]

    return Scenes(**{name: np.concatenate(filled(name)) for name in Scenes.__dataclass_fields__})


def sample(
    seeds: Seeds,
    *,
    objects: int | Whole = 1,
    shape: int | Whole | None = None,
    colour: int | Whole | None = None,
    shade: int | Whole | None = None,
    texture: int | Whole | None = None,
    style: str | Whole = "clean",
    ease: float = 0.0,
) -> Scenes:
    """Draw one scene for every image seed; what is given is kept, everything else is drawn from the image's seed alone.

    `objects`: 1 to 4, for all images or for each. `shape`, `colour`, `shade`, `texture`: an index, one for each image
    (N,), or one for each object (N, K) with -1 where it is free. Free ones are drawn from the known shapes, colours
    and textures. Single objects lie anywhere, several each in a quarter of its own. `ease` in [0, 1]: 1 makes all
    objects large and puts single ones in the middle. Raises UsageError for an index that no list holds.
    """
    n = len(seeds)
    counts = np.broadcast_to(np.asarray(objects, np.int64), (n,))
    if n and not 1 <= counts.min() <= counts.max() <= MOST:
        raise UsageError(f"an image holds 1 to {MOST} objects")
    slots = int(counts.max()) if n else 1
    present = np.arange(slots) < counts[:, None]
    kinds = (
        _given(shape, "shape", len(SHAPES), _drawn(seeds, 1, slots, KNOWN)),
        _given(colour, "colour", 10, _drawn(seeds, 2, slots, KNOWN)),
        _given(shade, "shade", 2, _drawn(seeds, 3, slots, 2)),
        _given(texture, "texture", len(TEXTURES), _drawn(seeds, 4, slots, KNOWN_TEXTURES)),
    )
    shapes, colours, shades, textures = (np.where(present, kind, -1 if k == 0 else 0) for k, kind in enumerate(kinds))
    size, x, y = (np.where(present, value, 0).astype(np.float32) for value in _placed(seeds, counts, slots, ease))
    made = Scenes(
        shape=shapes,
        colour=colours,
        shade=shades,
        texture=textures,
        size=size,
        x=x,
        y=y,
        background=_drawn(seeds, 5, 1, len(BACKGROUNDS))[:, 0],
        style=np.zeros(n, np.int64),
        seed=seeds,
    )
    return made.styled(style)


def _drawn(seeds: Seeds, stream: int, count: int, choices: int) -> Whole:
    return (uniform(seeds, stream, count) * choices).astype(np.int64)


def _given(value: int | Whole | None, name: str, choices: int, drawn: Whole) -> Whole:
    """Return what is given, and what is drawn where nothing is."""
    if value is None:
        return drawn
    given = np.asarray(value, np.int64)
    if given.size and not -1 <= given.min() <= given.max() < choices:
        raise UsageError(f"a {name} is an index from 0 to {choices - 1}")
    given = np.broadcast_to(given[:, None] if given.ndim == 1 else given, drawn.shape)
    return np.where(given < 0, drawn, given)


def _placed(seeds: Seeds, counts: Whole, slots: int, ease: float) -> tuple[NDArray[np.float64], ...]:
    """Return half width and centre of every object, in shares of the side: nothing touches another or the border."""
    drawn = uniform(seeds, 6, 3 * slots).reshape(len(seeds), 3, slots)
    alone = (counts == 1)[:, None]
    least, most = np.where(alone, 0.2, 0.155), np.where(alone, 0.36, 0.215)
    size = least + (most - least) * (ease * 0.85 + (1 - ease) * drawn[:, 0])
    room = np.where(alone, 0.5, 0.25) - size - 0.02
    free = np.where(alone, 1 - ease, 1.0)
    quarter = np.argsort(uniform(seeds, 7, MOST), axis=1)[:, :slots]
    middle_x = np.where(alone, 0.5, 0.25 + 0.5 * (quarter % 2))
    middle_y = np.where(alone, 0.5, 0.25 + 0.5 * (quarter // 2))
    x = middle_x + room * free * (2 * drawn[:, 1] - 1)
    y = middle_y + room * free * (2 * drawn[:, 2] - 1)
    return size, x, y


def relation(scenes: Scenes, first: int, second: int) -> NDArray[np.bool_]:
    """Return where object `first` stands as seen from object `second`: columns as in `PLACES`, shape (N, 4).

    Left and right hold where the centres differ by at least a quarter of the side, top and bottom likewise.
    """
    dx, dy = scenes.x[:, first] - scenes.x[:, second], scenes.y[:, first] - scenes.y[:, second]
    there = (scenes.shape[:, first] >= 0) & (scenes.shape[:, second] >= 0)
    found = np.stack([dx <= -0.25, dx >= 0.25, dy <= -0.25, dy >= 0.25], 1)
    assert found.shape[1] == len(PLACES)
    return found & there[:, None]


def place(scenes: Scenes) -> NDArray[np.bool_]:
    """Return in which parts of the image every object's centre lies: last axis as in `PLACES`, shape (N, K, 4)."""
    there = scenes.shape >= 0
    found = np.stack([scenes.x < 0.42, scenes.x > 0.58, scenes.y < 0.42, scenes.y > 0.58], -1)
    return found & there[..., None]


def sizes(scenes: Scenes) -> Whole:
    """Return 0 for small, 1 for large and -1 for objects in between or absent, shape (N, K)."""
    found = np.where(scenes.size > 0.29, 1, np.where(scenes.size < 0.24, 0, -1))
    return np.where(scenes.shape >= 0, found, -1)
