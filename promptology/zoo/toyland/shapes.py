"""The outlines: for every shape the signed distance of points to its edge, negative inside, in units of its size.

A shape lies within the unit circle or the square around it. Distances are exact along straight edges, which is where
anti-aliasing needs them; beyond corners they are at most too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def distance(shape: int, u: Plane, v: Plane) -> Plane:
    """Return the signed distance at points (u to the right, v downward) of a shape of the list `SHAPES`."""
    return _OUTLINES[shape](u, v)


def _length(u: Plane, v: Plane) -> Plane:
    found: Plane = np.sqrt(u * u + v * v)
    return found


def _within(u: Plane, v: Plane, edges: tuple[tuple[float, float, float], ...]) -> Plane:
    """Distance to a convex polygon: the farthest of its edges (normal to the right, normal downward, offset)."""
    found: Plane | None = None
    for right, down, offset in edges:
        one = np.float32(right) * u + (np.float32(down) * v - np.float32(offset))
        found = one if found is None else np.maximum(found, one)
    assert found is not None
    return found


def _box(u: Plane, v: Plane, across: float, down: float) -> Plane:
    found: Plane = np.maximum(np.abs(u) - np.float32(across), np.abs(v) - np.float32(down))
    return found


def _regular(corners: int, turn: float, offset: float) -> tuple[tuple[float, float, float], ...]:
    """Edges of a regular polygon whose first edge faces `turn` (radians, clockwise from the right)."""
    angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
    return tuple((math.cos(a), math.sin(a), offset) for a in angles)


_TRIANGLE = _regular(3, math.pi / 2, 0.52)
_HEXAGON = _regular(6, math.pi / 2, 0.84)
_STAR = _regular(5, math.pi / 2, 0.32)
_HALF = math.sqrt(0.5)


def _circle(u: Plane, v: Plane) -> Plane:
    return _length(u, v) - np.float32(0.92)


def _square(u: Plane, v: Plane) -> Plane:
    return _box(u, v, 0.8, 0.8)


def _triangle(u: Plane, v: Plane) -> Plane:
    return _within(u, v - np.float32(0.22), _TRIANGLE)


def _star(u: Plane, v: Plane) -> Plane:
    """Return the distance to a star: its points are on the inner side of at least four of five lines."""
    most = second = None
    for right, down, offset in _STAR:
        one = np.float32(right) * u + (np.float32(down) * (v - np.float32(0.06)) - np.float32(offset))
        if most is None or second is None:
            most, second = one, np.full_like(one, -9)
            continue
        second = np.maximum(second, np.minimum(most, one))
        most = np.maximum(most, one)
    assert second is not None
    return second


def _cross(u: Plane, v: Plane) -> Plane:
    found: Plane = np.minimum(_box(u, v, 0.95, 0.32), _box(u, v, 0.32, 0.95))
    return found


def _ring(u: Plane, v: Plane) -> Plane:
    found: Plane = np.abs(_length(u, v) - np.float32(0.7)) - np.float32(0.26)
    return found


def _heart(u: Plane, v: Plane) -> Plane:
    side = np.abs(u)
    bump = _length(side - np.float32(0.44), v + np.float32(0.36)) - np.float32(0.48)
    tip = _within(side, v, ((_HALF, _HALF, 0.62), (0.0, -1.0, 0.3), (1.0, 0.0, 0.9)))
    found: Plane = np.minimum(bump, tip)
    return found


def _arrow(u: Plane, v: Plane) -> Plane:
    side = np.abs(v)
    shaft = _box(u + np.float32(0.4), v, 0.56, 0.26)
    head = _within(u, side, ((_HALF, _HALF, 0.68), (-1.0, 0.0, -0.1)))
    found: Plane = np.minimum(shaft, head)
    return found


def _diamond(u: Plane, v: Plane) -> Plane:
    return _within(np.abs(u), np.abs(v), ((0.8, 0.6, 0.58),))


def _moon(u: Plane, v: Plane) -> Plane:
    found: Plane = np.maximum(_length(u, v) - np.float32(0.92), np.float32(0.74) - _length(u - np.float32(0.48), v))
    return found


def _hexagon(u: Plane, v: Plane) -> Plane:
    return _within(u, v, _HEXAGON)


def _drop(u: Plane, v: Plane) -> Plane:
    bulb = _length(u, v - np.float32(0.32)) - np.float32(0.6)
    peak = _within(np.abs(u), v, ((0.8, -0.6, 0.408), (0.0, 1.0, 0.0)))
    found: Plane = np.minimum(bulb, peak)
    return found


_OUTLINES: tuple[Callable[[Plane, Plane], Plane], ...] = (
    *(_circle, _square, _triangle, _star, _cross, _ring, _heart, _arrow),
    *(_diamond, _moon, _hexagon, _drop),
)
