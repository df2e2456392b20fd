"""The report: whatever a model says is text; the page needs nothing from outside."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess

import pytest

import promptology as pt
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
    assert checker.references == []
    assert "\u202e" not in page
    assert "\\u202e" in page
    assert "\x1b" not in page
    assert "Content-Security-Policy" in page
    assert "{{ 7*7 }}" in page


def test_the_table_is_plain_text(document):
    table = format_table(document)
    assert "\x1b" not in table
    assert "\u202e" not in table


def test_missing_figures_are_tolerated():
    arm = {"method": "spo", "label": "spo", "prompt": "p", "verdict": "not measured: budget", "learning": {}}
    doc = {
        "kind": "fit",
        "title": "t",
        "task": {"name": "t", "metric": "accuracy"},
        "model": {"name": "m"},
        "seed": 0,
        "budget": "1calls",
        "arms": [{**arm, "score": None, "difference": None, "p_adjusted": None}],
    }
    assert "not measured" in render({"protocol": "holdout", **doc, "model": {"name": "m", "simulated": True}})
    assert "not measured" in format_table(doc)


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


def test_a_real_browser_shows_it_without_errors(document, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    page = tmp_path / "report.html"
    page.write_text(render(document), encoding="utf-8")
    quiet = "headless no-sandbox disable-gpu disable-sync disable-quic no-first-run disable-background-networking"
    quiet = [f"--{flag}" for flag in (*quiet.split(), "disable-component-update", "enable-logging=stderr")]
    done = subprocess.run(
        [chromium, *quiet, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{page}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Score against cost" in done.stdout
    assert not re.search(r"CONSOLE.*(error|refused|violat)", done.stderr, re.I)
