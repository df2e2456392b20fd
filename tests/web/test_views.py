"""What pages say of a state: hand-made states, exact words and figures."""

from __future__ import annotations

import pytest

from promptology.feedback.sessions import begun
from promptology.web import drawing, views
from promptology.web.desk import Look, new_notes


def ended(id, preference, near=(), cost=0, context="rain"):
    texts = {"context": context, "draft": "a b", "final": "a c", "used": "", "preference": preference}
    return {
        "id": id,
        "inputs": {},
        "status": "closed",
        "cost": cost,
        "accepted": not cost,
        "neighbours": list(near),
    } | texts


def look(rounds, pinned=(), **notes):
    state = {**begun("cipher"), "rounds": list(rounds), "pinned": list(pinned)}
    return Look(state, {**new_notes(["text"]), **notes}, False, "")


def test_preferences_tell_where_they_come_from_and_how_drafts_fared():
    state = look(
        [
            ended("a", "short", cost=4),
            ended("b", "short", [["a", 0.9]], cost=2),
            ended("c", "kind", [["a", 0.5], ["b", 0.4]], cost=6, context="x " * 100),
            ended("d", ""),
            {**ended("e", ""), "status": "drafted", "neighbours": [["c", 0.3]]},
        ],
        pinned=["kind"],
    ).state
    del state["rounds"][4]["cost"]
    kind, short = views.preferences(state)
    assert (kind.text, kind.ids, kind.pinned, kind.used, kind.cost) == ("kind", "c", True, 1, None)
    assert (short.text, short.ids, short.pinned, short.used, short.cost) == ("short", "b a", False, 2, 4.0)
    assert kind.sources[0].snippet.endswith(" …") and len(kind.sources[0].snippet) <= views.SNIPPET + 2
    assert [p.text for p in views.preferences(state, "KI nd")] == ["kind"]
    assert views.preferences(state, "short kind") == []


def test_a_draft_shows_the_preferences_of_similar_texts_as_they_are_now():
    r = {**ended("z", ""), "status": "drafted", "neighbours": [["b", 0.8], ["a", 0.7], ["gone", 0.6], ["c", 0.5]]}
    one = look([ended("a", "short", cost=3), ended("b", "kind"), ended("c", ""), r])
    shown = views.writing(one, "z")
    assert [(p.text, [(s.id, s.cosine) for s in p.sources]) for p in shown["assumed"]] == [
        ("kind", [("b", 0.8)]),
        ("short", [("a", 0.7)]),
    ]
    assert shown["empty"] == 1 and shown["average"] == 1.0 and shown["cost"] == 0


def test_costs_become_a_curve_and_its_words():
    assert drawing.curve([3]) is None
    assert drawing.averages([4, 0, 2]) == [4.0, 2.0, 2.0]
    assert drawing.averages([10] + [0] * 10)[-1] == 0.0  # the first has left the window
    drawn = drawing.curve([4, 0])
    left, right = drawing.LEFT + 8, drawing.RIGHT - 8
    top, middle = drawing.TOP + 6, (drawing.TOP + 6 + drawing.BOTTOM) / 2
    assert drawn.path == f"M{left:.1f} {top:.1f}L{right:.1f} {middle:.1f}"
    assert [text for _, text in drawn.marks] == ["round 1: 4 words changed", "round 2: 0 words changed"]
    assert drawn.words.startswith(
        "2 rounds. Words changed in the first 2, on average: 2.0; in the last 2: 2.0; at most 4"
    )
    assert drawing.curve([0] * 500).marks == []


@pytest.mark.parametrize(("before", "numbers"), [(None, (20, 6)), (5, (5, 1)), (0, ()), (900, (20, 6))])
def test_the_history_goes_back_page_by_page(before, numbers):
    shown = views.history(look([ended(f"r{n}", "", cost=n % 2) for n in range(20)]), before)
    found = [past.number for past in shown["past"]]
    assert found == (list(range(numbers[0], numbers[1] - 1, -1)) if numbers else [])
    assert (shown["rounds"], shown["accepted"], shown["average"], shown["per_hundred"]) == (20, 10, 0.5, 25.0)


def test_what_is_not_seen_in_a_field_is_named():
    assert views.hidden("a\u202eb\u200b\nc") == r"\u200b \u202e"
    assert views.hidden("plain, with é and 漢字") == ""


def test_texts_that_are_too_long_are_not_compared():
    long = "word " * 2000
    assert views.differences(long, long) is None and views.counted("a", "b c") == 2
    assert views.counted("x" * 70_000, "") is None
