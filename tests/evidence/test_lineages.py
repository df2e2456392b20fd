"""A lineage in words: what led to a candidate stands with it."""

from __future__ import annotations

from documents import HOSTILE, hostile_document

from promptology.evidence.lineages import story
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
    assert page.count("<summary>what led to it</summary>") == len([h for h in HOSTILE if h])
    assert "<script>alert" not in page
