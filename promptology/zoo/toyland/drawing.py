"""Drawing scenes: many images at once, each pixel of an image a function of its own scene alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptology.zoo.toyland import styles
from promptology.zoo.toyland.chance import uniform
from promptology.zoo.toyland.lists import BACKGROUNDS, RGB, STYLES, TEXTURES
from promptology.zoo.toyland.scenes import Scenes
from promptology.zoo.toyland.shapes import Plane, distance

Images = NDArray[np.uint8]
CHUNK = 32
"""Images drawn together: as many as keep the planes within a core's cache."""

_COLOURS = np.array(RGB, np.float32) / np.float32(255)
_GROUNDS = np.array(
    [(0.93, 0.93, 0.93), (0.8, 0.82, 0.85), (0.9, 0.86, 0.76), (0.8, 0.87, 0.9), (0.72, 0.7, 0.7), (0.85, 0.85, 0.85)],
    np.float32,
)
_HALF, _ONE = np.float32(0.5), np.float32(1)


def render(scenes: Scenes, px: int = 32) -> Images:
    """Draw every scene in its style: uint8, shape (N, px, px, 3). The same scene gives the same bytes in any batch."""
    out = np.empty((len(scenes), px, px, 3), np.uint8)
    for start in range(0, len(scenes), CHUNK):
        part = slice(start, start + CHUNK)
        planes = _drawn(scenes[part], px)
        out[part] = np.moveaxis((planes * np.float32(255) + _HALF).astype(np.uint8), 1, -1)
    return out


def coverage(scenes: Scenes, px: int = 32) -> NDArray[np.float32]:
    """Return the share of each pixel that lies inside each object, occlusion aside: shape (N, K, px, px), in [0, 1]."""
    found = np.zeros((*scenes.shape.shape, px, px), np.float32)
    for slot in range(scenes.shape.shape[1]):
        for rows, grid in _by_shape(scenes, slot, px):
            found[rows, slot] = _inside(grid.depth)
    return found


def masks(scenes: Scenes, px: int = 32) -> NDArray[np.bool_]:
    """Return which pixels show each object (at least half of the pixel, nothing in front): shape (N, K, px, px)."""
    found: NDArray[np.bool_] = np.greater_equal(coverage(scenes, px), _HALF)
    for slot in range(found.shape[1] - 2, -1, -1):
        found[:, slot] &= ~found[:, slot + 1 :].any(1)
    return found


def boxes(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the tightest box around each mask as left, top, right, bottom (the last two exclusive): shape (N, K, 4).

    An empty mask has the box 0, 0, 0, 0.
    """
    px = masks.shape[-1]
    across, down = np.asarray(masks.any(-2)), np.asarray(masks.any(-1))
    ends = [across.argmax(-1), down.argmax(-1), px - across[..., ::-1].argmax(-1), px - down[..., ::-1].argmax(-1)]
    return np.where(np.asarray(masks.any((-2, -1)))[..., None], np.stack(ends, -1), 0)


class _Grid(NamedTuple):
    """Where the pixels of some images lie as seen from one object each, in pixels of a 32-pixel image."""

    across: Plane  # (n, 1, px)
    down: Plane  # (n, px, 1)
    depth: Plane  # (n, px, px): signed distance to the edge, in pixels of the image itself


def _by_shape(scenes: Scenes, slot: int, px: int) -> list[tuple[NDArray[np.int64], _Grid]]:
    """Return (image numbers, grid) for each shape that stands in a slot."""
    centres = (np.arange(px, dtype=np.float32) + _HALF) / np.float32(px)
    found = []
    for shape in np.unique(scenes.shape[:, slot]):
        if shape < 0:
            continue
        rows = np.flatnonzero(scenes.shape[:, slot] == shape)
        across = (centres - scenes.x[rows, slot, None])[:, None, :]
        down = (centres - scenes.y[rows, slot, None])[:, :, None]
        size = scenes.size[rows, slot, None, None]
        depth = distance(int(shape), across / size, down / size) * (size * np.float32(px))
        found.append((rows, _Grid(across * np.float32(32), down * np.float32(32), depth)))
    return found


def _inside(depth: Plane) -> Plane:
    found: Plane = np.clip(_HALF - depth, 0, 1)
    return found


def _drawn(scenes: Scenes, px: int) -> Plane:
    """Return planes of red, green and blue in [0, 1], shape (n, 3, px, px)."""
    sketched = scenes.style == STYLES.index("sketch")
    canvas = _ground(scenes, sketched, px)
    for slot in range(scenes.shape.shape[1]):
        for rows, grid in _by_shape(scenes, slot, px):
            marks = np.empty_like(grid.depth)
            for texture in np.unique(scenes.texture[rows, slot]):
                some = scenes.texture[rows, slot] == texture
                marks[some] = _marks(int(texture), grid.across[some], grid.down[some])
            paint = _COLOURS[scenes.tone[rows, slot]] * _light(scenes, rows)
            pen = sketched[rows]
            _put(canvas, rows[~pen], *_painted(grid.depth[~pen], marks[~pen], paint[~pen]))
            _put(canvas, rows[pen], *_sketched(grid.depth[pen], marks[pen], paint[pen], px))
    styles.apply(canvas, scenes.style, scenes.seed)
    return canvas


def _light(scenes: Scenes, rows: NDArray[np.int64]) -> Plane:
    """Return how bright the light of each image is, around 1."""
    found: Plane = (0.93 + 0.07 * uniform(scenes.seed[rows], 8)).astype(np.float32)
    return found


def _put(canvas: Plane, rows: NDArray[np.int64], share: Plane, tone: Plane | None, paint: Plane) -> None:
    """Lay paint (n, 3) over the canvas: `share` of each pixel, its brightness scaled by `tone`; both (n, px, px)."""
    for channel in range(3 if len(rows) else 0):
        under = canvas[rows, channel]
        over = paint[:, channel, None, None] if tone is None else paint[:, channel, None, None] * tone
        canvas[rows, channel] = under + share * (over - under)


def _painted(depth: Plane, marks: Plane, paint: Plane) -> tuple[Plane, Plane, Plane]:
    return _inside(depth), _ONE - np.float32(0.68) * marks, paint


def _sketched(depth: Plane, marks: Plane, paint: Plane, px: int) -> tuple[Plane, None, Plane]:
    """Return a strong outline in the object's colour; inside only a thin wash, and the marks as hatching."""
    line = np.float32(1.7 * px / 32)
    inner = _inside(depth + line)
    share: Plane = (_inside(depth) - inner) + inner * (np.float32(0.22) + np.float32(0.58) * marks)
    return share, None, paint


def _wave(at: Plane, period: float) -> Plane:
    """Return bands of a period: 1 in one half, 0 in the other, soft over a pixel."""
    phase = at / np.float32(period)
    phase = np.abs(phase - np.floor(phase) - _HALF)
    found: Plane = np.clip((phase - np.float32(0.25)) * np.float32(period) + _HALF, 0, 1)
    return found


def _marks(texture: int, across: Plane, down: Plane) -> Plane:
    """Return where a texture is dark, in [0, 1]; fixed in direction and spacing, whatever the object's size."""
    name = TEXTURES[texture]
    if name == "plain":
        return np.zeros((), np.float32)
    if name == "striped":
        return _wave(down, 5.0)
    if name == "ribbed":
        return _wave(across, 5.0)
    if name == "checked":
        a, b = _wave(across, 7.0), _wave(down, 7.0)
        found: Plane = a + b - 2 * a * b
        return found
    if name == "dotted":
        a, b = (at / np.float32(5) - np.floor(at / np.float32(5)) - _HALF for at in (across, down))
        found = np.clip(np.float32(2.1) - np.float32(5) * np.sqrt(a * a + b * b), 0, 1)
        return found
    found = np.maximum(_wave(across, 6.0), _wave(down, 6.0))
    return found


def _ground(scenes: Scenes, sketched: NDArray[np.bool_], px: int) -> Plane:
    """Return backgrounds, (n, 3, px, px): all light, so that a dark one tells of a style; sketches have paper."""
    n = len(scenes)
    drawn = uniform(scenes.seed, 9, 3).astype(np.float32)
    level = _GROUNDS[scenes.background] + np.float32(0.06) * (drawn[:, :1] - _HALF)
    level[sketched] = np.float32(0.96)
    canvas = np.empty((n, 3, px, px), np.float32)
    canvas[:] = level[:, :, None, None]
    ramp = np.linspace(-0.5, 0.5, px, dtype=np.float32)
    for name, change in (("cloud", ramp[:, None]), ("dusk", ramp[None, :]), ("tiles", _tiles(px))):
        rows = np.flatnonzero((scenes.background == BACKGROUNDS.index(name)) & ~sketched)
        canvas[rows] += (np.float32(0.14) * (drawn[rows, 1] - np.float32(0.3)))[:, None, None, None] * change
    return canvas


def _tiles(px: int) -> Plane:
    side = (np.arange(px) * 4 // px) % 2
    found: Plane = (side[:, None] ^ side[None, :]).astype(np.float32) - _HALF
    return found
