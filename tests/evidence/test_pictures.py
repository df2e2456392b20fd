"""Drawings are laid out where the figures say, and in words too."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from promptology.evidence.pictures import BOTTOM, LEFT, RIGHT, TOP, ledger, panels, scatter, style, ticks
from promptology.run.cost import Cost


def arm(label, value, calls, verdict="better"):
    score = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 100}
    return {"label": label, "score": score, "learning": Cost(calls=calls).to_json(), "verdict": verdict}


def doc(*arms, start=0.5):
    score = {"value": start, "low": start - 0.05, "high": start + 0.05, "n": 100}
    return {"arms": list(arms), "start": {"score": score}, "task": {"metric": "accuracy"}}


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.57, 0.83, 6, [0.6, 0.65, 0.7, 0.75, 0.8]),
        (0, 2692, 7, [0, 500, 1000, 1500, 2000, 2500]),
        (0.5, 0.51, 6, [0.5, 0.502, 0.504, 0.506, 0.508, 0.51]),
    ],
)
def test_ticks_are_round_and_few(low, high, most, expected):
    assert ticks(low, high, most) == pytest.approx(expected)


def test_the_pareto_front_by_hand():
    drawn = scatter(doc(arm("dear", 0.7, 900), arm("cheap", 0.6, 100), arm("poor", 0.65, 950), arm("worse", 0.4, 10)))
    assert drawn.best == "cheap, dear"
    assert {p.label: p.front for p in drawn.points} == {
        "start": True,
        "worse": False,
        "cheap": True,
        "dear": True,
        "poor": False,
    }
    # the front climbs from the start: level, up, level, up
    assert drawn.front.count("H") == drawn.front.count("V") == 2
    assert "on the Pareto front: cheap, dear" in drawn.words


def test_what_is_as_good_as_the_start_is_on_the_front_only_for_nothing():
    free, dear = arm("manual", 0.5, 0, "start"), arm("same", 0.5, 50, "start")
    assert scatter(doc(free, dear)).best == "manual"
    assert scatter(doc(dear)).best == ""


def test_positions_follow_the_figures():
    drawn = scatter(doc(arm("a", 0.6, 100), arm("b", 0.7, 200)))
    start, a, b = drawn.points
    assert a.x - start.x == pytest.approx(b.x - a.x)
    assert TOP <= b.high < b.low <= BOTTOM and LEFT <= start.x < b.x <= RIGHT
    assert "logarithmic" not in drawn.frame.x_name
    assert "logarithmic" in scatter(doc(arm("a", 0.6, 10), arm("b", 0.7, 20_000))).frame.x_name
    assert scatter(doc({**arm("a", 0.6, 1), "score": None})) is None


def test_labels_do_not_cover_each_other():
    drawn = scatter(doc(*(arm(f"arm {k}", 0.6, 100) for k in range(6))))
    heights = sorted(p.label_y for p in drawn.points if p.label != "start")
    assert all(b - a >= 15 for a, b in pairwise(heights))


def test_styles_of_a_dozen_series_differ():
    assert len({style(n) for n in range(24)}) == 24
    assert len({style(0, seed) for seed in range(4)}) == 4


def run(label, kind, values, calls):
    curve = {"kind": kind, "step": "s", "figure": "best", "values": values, "costs": {"calls": calls}}
    return {"label": label, "curves": [curve]}


def test_panels_by_kind_with_common_axes():
    score, loss = panels(
        [
            [run("a", "score", [0.5, 0.75], [10, 40])],
            [run("b", "score", [0.5, 1.0], [20, 80])],
            [run("c", "loss", [2, 1], [1, 2])],
        ]
    )
    assert [line.label for line in score.lines] == ["a", "b"]
    assert [line.label for line in loss.lines] == ["c"]
    (at_10, at_40), (at_20, at_80) = (
        [float(x) for x in re.findall(r"[MH]([\d.]+)", line.path)] for line in score.lines
    )
    unit = at_20 - at_10
    assert [at_40 - at_20, at_80 - at_40] == pytest.approx([2 * unit, 4 * unit], abs=0.5)
    assert panels([[{"label": "a", "curves": []}]]) == []


def test_bars_are_as_long_as_what_was_charged():
    def entry(role, phase, calls):
        return {"role": role, "phase": phase, "charged": Cost(calls=calls).to_json(), "paid": Cost().to_json()}

    bars = ledger(
        [
            {
                "label": "a",
                "ledger": [
                    entry("model", "evidence", 100),
                    entry("model", "learning", 50),
                    entry("judge", "learning", 50),
                ],
            },
            {"label": "b", "ledger": [entry("model", "learning", 100), entry("judge", "evidence", 0)]},
        ]
    )
    (_, _, a), (_, _, b) = bars.rows
    assert [(s.hue, s.second) for s in a] == [("s0", False), ("s1", False), ("s0", True)]
    assert [s.width for s in a] == pytest.approx([b[0].width / 2, b[0].width / 2, b[0].width])
    assert a[2].x == pytest.approx(b[0].width)
    assert (bars.unit, len(b)) == ("calls", 1)
    assert ledger([{"label": "a", "ledger": []}]) is None
