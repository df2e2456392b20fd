"""Pictures of what benchmarks measured: lines over logarithmic axes, as SVG that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 196, 40, 52
COLOURS = ("#b5462a", "#0b6e69", "#4a57a8", "#8a6d1b")
DASHES = ("", "7 4", "2 3", "9 3 2 3")
TEXT, GRID = "#23343a", "#d5dddc"
APART = 15
"""Least distance of two labels, in pixels."""

Points = Sequence[tuple[float, float]]


def lines(plot: Mapping[str, Any]) -> str:
    """Return a plot as an SVG document.

    `plot`: `title`, `x` and `y` (what the axes show), `series`: by name, pairs of numbers above 0. The axes are
    logarithmic, the y axis ends at powers of ten, and the ticks of x are the values that were measured.
    """
    series: Mapping[str, Points] = plot["series"]
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points]
    low, high = floor(log10(min(ys))), ceil(log10(max(ys)))
    powers = [10**n for n in range(low, max(high, low + 1) + 1)]

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _share(x, xs[0], xs[-1])

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(y, powers[0], powers[-1])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">',
        f'<title id="t">{escape(plot["title"])}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<g font-family="sans-serif" font-size="13" fill="{TEXT}">',
        _text(LEFT, 22, plot["title"], "start"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, plot["x"], "middle"),
        _text(LEFT - 8, 22, plot["y"], "end"),
        *(_rule(LEFT, down(p), WIDTH - RIGHT, down(p)) + _text(LEFT - 8, down(p) + 4, f"{p:,}", "end") for p in powers),
        *(_rule(across(x), TOP, across(x), HEIGHT - BOTTOM) for x in xs),
        *(_text(across(x), HEIGHT - BOTTOM + 18, f"{x:,}", "middle") for x in xs),
    ]
    ends = _apart({name: down(points[-1][1]) for name, points in series.items()})
    for n, (name, points) in enumerate(series.items()):
        colour, dash = COLOURS[n % len(COLOURS)], DASHES[n % len(DASHES)]
        at = [(across(x), down(y)) for x, y in points]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{route}" fill="none" stroke="{colour}" stroke-width="2.2"{_dash(dash)}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colour}"/>' for x, y in at]
        parts.append(_text(WIDTH - RIGHT + 10, ends[name] + 4, name, "start", colour))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _share(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others on a logarithmic axis, 0 to 1."""
    return log10(value / low) / log10(high / low) if high > low else 0.5


def _apart(wanted: Mapping[str, float]) -> dict[str, float]:
    """Return heights of labels near the wanted ones, none nearer than `APART` to another."""
    found: dict[str, float] = {}
    for name in sorted(wanted, key=lambda name: wanted[name]):
        found[name] = max([wanted[name], *(height + APART for height in found.values())])
    return found


def _dash(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _rule(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{GRID}"/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str = TEXT) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
