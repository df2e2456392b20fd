"""The tree of a lineage stands where a hand would draw it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from promptology.evidence.lineages import story
from promptology.evidence.pictures import WIDTH
from promptology.evidence.trees import BESIDE, COLUMN, LEFT, ROW, TOP, tidy, tree


def node(number, parent, score=None, kept=None, text="t", **more):
    items = 5 if score is not None else 0
    return {"number": number, "parent": parent, "text": text, "score": score, "items": items, "kept": kept, **more}


def drawn(nodes, found=None, count=None):
    return tree(story({"count": count or len(nodes), "found": found, "nodes": nodes}))


def test_places_by_hand():
    #  0 - 1 - 3         row 0
    #    |   `- 5 - 6    row 1
    #    `- 2 - 4        row 2
    places = tidy({0: None, 1: 0, 2: 0, 3: 1, 4: 2, 5: 1, 6: 5})
    assert places == {0: (0, 1.25), 1: (1, 0.5), 2: (1, 2), 3: (2, 0), 4: (2, 2), 5: (2, 1), 6: (3, 1)}


def test_a_fan_and_a_chain():
    assert tidy({0: None, 1: 0, 2: 0, 3: 0}) == {0: (0, 1.0), 1: (1, 0), 2: (1, 1), 3: (1, 2)}
    assert tidy({0: None, 1: 0, 2: 1}) == {0: (0, 0), 1: (1, 0), 2: (2, 0)}


def test_a_node_without_its_parent_is_a_root_and_a_circle_is_none():
    assert tidy({4: 2, 7: 4, 9: 1}) == {4: (0, 0), 7: (1, 0), 9: (0, 1)}
    assert tidy({1: 2, 2: 1}) == {1: (0, 0), 2: (1, 0)}
    assert tidy({3: 3}) == {3: (0, 0)}


def test_no_two_nodes_of_a_column_stand_on_each_other():
    parents = {0: None, **{n: (n * 7919) % n for n in range(1, 40)}, 40: 13, 41: 13, 42: 0}
    columns = {}
    for place in tidy(parents).values():
        columns.setdefault(place.depth, []).append(place.row)
    for rows in columns.values():
        rows.sort()
        assert all(b - a >= 1 for a, b in pairwise(rows))


def test_positions_marks_and_the_line():
    nodes = [node(0, None, 0.0), node(1, 0, 0.5, {"calls": 2}), node(2, 0, 0.25), node(3, 1, 1.0, {"calls": 3})]
    found = drawn(nodes, 3)
    spots = {s.number: s for s in found.spots}
    assert [spots[n].kind for n in range(4)] == ["start", "kept", "tried", "found"]
    assert [spots[n].x for n in range(4)] == pytest.approx([LEFT, LEFT + COLUMN, LEFT + COLUMN, LEFT + 2 * COLUMN])
    assert [spots[n].y for n in range(4)] == pytest.approx([TOP + ROW / 2, TOP, TOP + ROW, TOP])
    assert [spots[n].shade for n in range(4)] == [12, 50, 31, 88]
    assert spots[3].size > spots[1].size > spots[2].size > spots[0].size
    assert [twig.main for twig in found.twigs].count(True) == 2 and found.twigs[-1].main
    start = re.match(r"M([\d.]+) ([\d.]+)C", found.twigs[-1].path)
    assert (float(start[1]), float(start[2])) == pytest.approx((spots[1].x + spots[1].size, spots[1].y), abs=0.06)
    assert (found.low, found.high, found.height) == (0.0, 1.0, 2 * TOP + ROW)
    assert spots[3].words == "candidate 3, score 1.000 on 5 items, what was returned, from candidate 1"
    assert found.words.endswith("the line to what was returned: the start, candidate 1, candidate 3")


def test_the_start_that_is_returned_is_the_diamond():
    found = drawn([node(0, None, 0.5), node(1, 0, 0.5)], 0)
    assert [(s.number, s.kind, s.shade) for s in found.spots] == [(0, "found", 50), (1, "tried", 50)]
    assert found.spots[0].words == "the start, score 0.500 on 5 items, what was returned"


def test_without_scores_marks_are_alike():
    found = drawn([node(0, None), node(1, 0), node(2, 0, kept={"calls": 1})])
    assert {(s.shade, s.size, s.figure) for s in found.spots} == {(None, 5.0, "")}
    assert (found.low, found.high) == (None, None)
    assert not any(twig.main for twig in found.twigs)
    assert drawn([node(0, None)]) is None


def test_what_is_left_out_between_two_is_dashed():
    found = drawn([node(0, None), node(5, 0, gap=2), node(6, 5)], 6, 9)
    assert sorted((twig.main, twig.gap) for twig in found.twigs) == [(True, False), (True, True)]
    assert found.words.startswith("3 prompts of 9")


@pytest.mark.parametrize("text", ["word " * 2000, "漢字" * 2000, "\u202e" * 500, "x" * 4000, " \n\t "])
@pytest.mark.parametrize("depth", [1, 8, 39])
def test_what_stands_beside_a_mark_has_room(text, depth):
    nodes = [node(0, None, 0.1), *(node(n, n - 1, n / 100, text=f"{n} {text}") for n in range(1, depth + 1))]
    found = drawn(nodes, depth)
    last = found.spots[-1]
    assert last.number == depth
    assert last.text_x <= WIDTH - BESIDE + 40
    assert "\u202e" not in last.gist and "\n" not in last.gist
    shown = sum(2 if c in "漢字" else 1 for c in f"{last.label} {last.figure}  {last.gist}")
    assert last.text_x + 6.5 * shown <= WIDTH
    if depth == 39:  # no room for figures above marks that stand so close
        assert {s.figure for s in found.spots[:-1]} == {""}
