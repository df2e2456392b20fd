"""The report: whatever a model says is text; the page needs nothing from outside."""

from __future__ import annotations

import html.parser

import pytest

import promptology as pt
from promptology.errors import UsageError
from promptology.evidence.report import format_cost, format_table, render

HOSTILE = [
    "</pre></script><script>alert(1)</script>",
    '<img src="http://example.com/x.png" onerror="alert(1)">',
    "&lt;b&gt; &amp; {{ 7*7 }} {% raw %}",
    "right\u202eto left\u200b",
    "\x1b[31mred\x07 bell",
    "x" * 100_000,
]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    import os

    os.environ["PROMPTOLOGY_HOME"] = str(tmp_path_factory.mktemp("home"))
    task = pt.Task([(f"rose {n}", "red" if n % 3 else "<b>blue</b>") for n in range(40)], name=HOSTILE[0])
    prompts = iter(f"<prompt>{text} red or <b>blue</b>?</prompt>" for text in HOSTILE)

    def model(prompt):
        return next(prompts) if "assistant" in prompt else "red" if len(prompt) > 90 else "<b>blue</b>"

    result = pt.fit(task, model, "random-search", settings={"candidates": 6, "shots": 0}, prompt="red or <b>blue</b>?")
    doc = result.document
    doc["arms"][0]["prompt"] = "\n".join(HOSTILE)
    doc["arms"][0]["history"].append({"step": HOSTILE[0], "values": {HOSTILE[1]: HOSTILE[3]}})
    doc["arms"][0]["spent"].append({"calls": 1})
    doc["notes"] += HOSTILE
    doc["command"] = HOSTILE[0]
    return doc


class Checker(html.parser.HTMLParser):
    VOID = ("meta", "br", "link", "img", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.references = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "action") or (v or "").startswith("http")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_hostile_text_stays_text(document):
    page = render(document)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert not {"script", "img", "iframe", "b"} & checker.tags
    assert all(reference.startswith("#") for reference in checker.references)
    assert "\u202e" not in page
    assert "\\u202e" in page
    assert "\x1b" not in page
    assert "Content-Security-Policy" in page
    assert "{{ 7*7 }}" in page


def test_the_table_is_plain_text(document):
    table = format_table(document)
    assert "\x1b" not in table
    assert "\u202e" not in table


def bare(**more):
    """Return a document that holds no more than it must."""
    arm = {"method": "spo", "label": "spo", "verdict": "not measured: budget"}
    doc = {
        "kind": "fit",
        "title": "t",
        "task": {"name": "t", "metric": "accuracy"},
        "model": {"name": "m"},
        "seed": 0,
        "budget": "1calls",
        "arms": [arm],
    }
    return {**doc, **more}


def test_missing_figures_are_tolerated():
    assert "There is no evidence about spo: not measured: budget." in render(bare())
    assert "not measured" in format_table(bare())


def test_a_run_without_evidence_has_a_report(tmp_path):
    task = pt.Task([(f"rose {n}", "red" if n % 3 else "blue") for n in range(40)])
    result = pt.fit(
        task, lambda p: "<prompt>red?</prompt>", "random-search", budget="0.02ktok", store=tmp_path / "s.sqlite"
    )
    assert result.evidence.verdict == "not measured: budget"
    page = render(result.document)
    assert "There is no evidence about random-search" in page
    assert 'id="agreement"' not in page and 'id="cost"' not in page


def test_guards_are_told_where_there_are_any():
    none = {"noise": None, "selection": None, "leak": None, "length": None}
    arm = {"method": "spo", "label": "spo", "verdict": "not measured: budget"}
    assert 'id="trust"' not in render(bare(arms=[{**arm, "guards": none}, {**arm, "guards": None}, arm]))
    told = {
        "noise": {"items": 0, "changed": None, "difference": None, "note": "not measured: no budget"},
        "selection": {"candidates": 1500, "items": 50, "best": 0.96, "luck": 0.04, "corrected": 0.92},
        "leak": {"items": 2, "longest": 14, "examples": ["<b>bold</b> words"]},
        "length": {"tokens": 1412, "start": 4, "exact": False},
    }
    page = render(bare(arms=[{**arm, "guards": told}]))
    for words in (
        "not measured: no budget",
        "best of 1,500 candidates scored 0.960",
        "which leaves 0.920",
        "&lt;b&gt;bold&lt;/b&gt; words",
        "about 1,412 tokens; the start has 4",
    ):
        assert words in page


def test_an_evaluation_has_a_page(tmp_path):
    task = pt.Task([(f"rose {n}", "red" if n % 3 else "blue") for n in range(40)])
    found = pt.evaluate(task, lambda p: "red", store=tmp_path / "s.sqlite")
    page = render(found.document)
    assert "One prompt, measured" in page and f"{found.score.value:.3f}" in page
    assert 'id="ledger"' in page


def test_a_document_of_an_older_version_is_shown_without_what_it_lacks(document):
    new = ("curves", "lineage", "flips", "confusion", "spent", "steps", "details_of")
    arms = [{k: v for k, v in arm.items() if k not in new} for arm in document["arms"]]
    start = {k: v for k, v in document["start"].items() if k != "confusion"}
    old = {k: v for k, v in document.items() if k not in ("format", "agreement")} | {"arms": arms, "start": start}
    page = render(old)
    for id, there in (("scores", True), ("history", True), ("ledger", True), ("flips", False), ("learning", False)):
        assert (f'<section id="{id}"' in page) is there
    assert format_table(old) == format_table(document)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"format": 99, "version": "9.1"}, "promptology 9.1 in form 99"),
        ({"format": "next"}, "in form next"),
        ({"arms": [{"method": "spo"}]}, "arms.label, arms.verdict missing"),
    ],
)
def test_a_document_that_cannot_be_shown_is_one_line(broken, words):
    with pytest.raises(UsageError, match=words) as caught:
        render(bare(**broken))
    assert "\n" not in str(caught.value)


def test_parts_of_a_document_that_are_missing_are_named():
    doc = bare()
    del doc["task"], doc["arms"]
    with pytest.raises(UsageError, match="task, arms missing"):
        render(doc)


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ({}, "0"),
        ({"calls": 1}, "1 call"),
        (
            {"calls": 1234, "tokens_in": 200_000, "tokens_out": 10_000, "usd": 0.4249},
            "1,234 calls · 210k tokens · $0.42",
        ),
        ({"tokens_in": 5, "estimated": True}, "~5 tokens"),
        ({"passes": 3, "seconds": 1.26}, "3 passes · 1.3 s"),
    ],
)
def test_costs_in_words(cost, text):
    assert format_cost(cost) == text
