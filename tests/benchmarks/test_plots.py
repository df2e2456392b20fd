"""Pictures of benchmarks: where points come to lie, labels that do not cover each other, the page that shows them."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from benchmarks import plots
from benchmarks.common import Session
from benchmarks.table import plots_of

SVG = "{http://www.w3.org/2000/svg}"


def made(series):
    session = Session("B25")
    session.plot("Memory <peak>", "classes", "MB", series)
    return session.plots[0]


def test_points_lie_on_logarithmic_axes():
    drawn = ElementTree.fromstring(plots.lines(made({"a": [(10, 1.0), (100, 10.0), (1000, 100.0)]})))
    (line,) = drawn.iter(f"{SVG}polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    left, right = plots.LEFT, plots.WIDTH - plots.RIGHT
    top, bottom = plots.TOP, plots.HEIGHT - plots.BOTTOM
    assert points == [(left, bottom), ((left + right) / 2, (top + bottom) / 2), (right, top)]
    assert drawn.find(f"{SVG}title").text == "Memory <peak>"
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"10", "100", "1,000", "classes", "MB", "a"} <= {*words}


def test_labels_keep_apart_and_lines_differ():
    text = plots.lines(made({"a": [(10, 2.0), (30, 5.0)], "b": [(10, 2.0), (30, 5.0)], "c": [(10, 1.0), (30, 5.1)]}))
    heights = sorted(float(y) for y in re.findall(rf'x="{plots.WIDTH - plots.RIGHT + 10:.1f}" y="([\d.]+)"', text))
    assert len(heights) == 3 and all(b - a >= plots.APART - 0.1 for a, b in pairwise(heights))
    assert len({*re.findall(r'<polyline .*?stroke="(#\w+)"', text)}) == 3


def test_one_point_can_be_drawn():
    assert "circle" in plots.lines(made({"a": [(10, 3.0)]}))


def test_a_record_without_plots_has_no_picture():
    assert plots_of({"benchmark": "B4"}) == {}
    plot = made({"a": [(1, 1.0)]})
    assert plots_of({"benchmark": "B25", "plots": [plot]}) == {"benchmarks-b25-1.svg": plot}
