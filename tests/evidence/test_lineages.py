"""A lineage in words: what led to a candidate stands with it."""

from __future__ import annotations

import re

from documents import HOSTILE, hostile_document

from promptology.evidence.lineages import diff, longest, stories, story
from promptology.evidence.report import render


def test_a_step_says_what_led_to_it():
    nodes = [
        {"number": 0, "parent": None, "text": "a", "score": None, "items": 0, "kept": None},
        {"number": 1, "parent": 0, "text": "a b", "score": 0.5, "items": 2, "kept": None, "why": "an error"},
    ]
    told = story({"count": 2, "found": 1, "nodes": nodes})
    assert [s.why for s in told.line] == ["", "an error"]


def test_a_page_shows_it_as_text():
    page = render(hostile_document())
    assert page.count('<p class="label">What led to it</p>') == len([h for h in HOSTILE if h])
    assert "<script>alert" not in page


def test_a_mark_opens_its_prompt():
    page = render(hostile_document())
    marks = set(re.findall(r'<a href="#(prompt-1-\d+)" id="mark-1-\d+"', page))
    assert marks == {f"prompt-1-{n}" for n in range(len(HOSTILE) + 1)}
    assert set(re.findall(r'<div id="(prompt-1-\d+)">', page)) == marks
    assert "\u202e" not in page and "\\u202e" in page


def test_what_is_left_out_is_said():
    doc = hostile_document()
    doc["arms"][0]["lineage"]["count"] = 11
    assert "2 are left out" in render(doc) and "dashed where" not in render(doc)
    doc["arms"][0]["lineage"]["nodes"][3]["gap"] = 2
    assert "dashed where they stood in between" in render(doc)
    assert "by way of 2 that are left out" in render(doc)


def test_the_longest_run_of_new_words():
    pieces = diff("say it now", "say it now and then loudly")
    assert longest(pieces, "added") == "and then loudly" and longest(pieces, "removed") == ""
    reworded = diff("tell me at once", "answer very soon at once")
    assert longest(reworded, "added") == "answer very soon" and longest(reworded, "removed") == "tell me"
    nodes = [
        {"number": 0, "parent": None, "text": "keep it short please", "score": None, "items": 0, "kept": None},
        {"number": 1, "parent": 0, "text": "keep it short", "score": None, "items": 0, "kept": None},
        {"number": 2, "parent": 0, "text": "all new", "score": None, "items": 0, "kept": None},
    ]
    told = story({"count": 3, "found": 1, "nodes": nodes})
    assert [s.gist for s in told.line] == ["keep it short please", "− please"]
    assert [s.gist for s in told.others] == ["all new"]


def test_several_lineages_share_the_room():
    nodes = [
        {"number": n, "parent": n - 1 if n else None, "text": f"{n} " + "word " * 400, "score": None, "items": 0}
        | {"kept": None, "why": "e" * 3000}
        for n in range(3)
    ]
    lineage = {"count": 3, "found": 1, "nodes": nodes}
    (alone,) = stories([lineage])
    assert {len(s.why) for s in (*alone.line, *alone.others)} == {3000}
    one, none, two = stories([lineage, None, lineage])
    assert none is None and one == two
    assert [len(s.text) for s in one.line] == [2002, 2002]  # the line stays whole
    assert len(one.others[0].text) <= 1502 and one.others[0].pieces is None
    assert {len(s.why) for s in (*one.line, *one.others)} == {1502}
