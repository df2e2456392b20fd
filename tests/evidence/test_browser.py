"""The report in a real browser: nothing runs, nothing is fetched, everything can be read and reached."""

from __future__ import annotations

import pytest
from browser import CHROMIUM, CONTRAST, Browser
from documents import HOSTILE, evidence, hostile_document, large_document, made, measured, result, task_of

from promptology.evidence.report import render, write
from promptology.run.cost import Cost
from promptology.run.lineage import Lineage

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report is not looked at")

UNNAMED = """[...document.querySelectorAll("svg:not([aria-hidden=true])")].filter(svg => {
  const ids = (svg.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
  const name = svg.getAttribute("aria-label") || ids.map(id => document.getElementById(id)?.textContent).join(" ");
  return svg.getAttribute("role") !== (svg.querySelector("a") ? "group" : "img") || !name.trim();
}).length"""
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
ACTIVE = """(() => { const e = document.activeElement, s = getComputedStyle(e);
  return [e === document.body ? "" : [...document.querySelectorAll("a, summary, [tabindex]")].indexOf(e),
          e.tagName, s.outlineStyle]; })()"""
REACHABLE = """[...document.querySelectorAll("a, summary, [tabindex]")]
  .map((e, k) => e.checkVisibility() ? k : -1).filter(k => k >= 0)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, document in (("hostile", hostile_document()), ("plain", plain_document())):
        write(document, folder / f"{name}.html")
    return folder


def plain_document():
    task = task_of([f"input {k}" for k in range(40)], "aabb" * 10, ["a", "b"])
    before, after = measured("aaaa" * 10, "aabb" * 10), measured("aaab" * 10, "aabb" * 10)
    worse = measured("bbab" * 10, "aabb" * 10)
    results = []
    for method, found in (("opro", after), ("spo", worse)):
        lineage = Lineage(result(task, evidence(task, before, before)).start)
        parent = result(task, evidence(task, before, before)).start
        for k in range(6):
            child = parent.with_instruction(f"Say it well, try {k}.")
            lineage.born(child, parent, f"error {k}")
            lineage.kept(child, Cost(calls=k + 1))
            parent = child
        history = [{"step": "step", "values": {"best": k / 9, "loss": 1 / k}} for k in range(1, 9)]
        spent = [{"calls": k, "roles": {"model": {"calls": k}}} for k in range(1, 9)]
        verdict = "better" if found is after else "worse"
        line = "Say it well, try 4."
        results.append(
            result(task, evidence(task, before, found, verdict), method, "Say it.", line, history, lineage, spent)
        )
    return made(task, results)


def test_hostile_text_runs_nothing_and_is_shown(browser, pages):
    browser.medium()
    browser.resize(1280)
    browser.open(pages / "hostile.html")
    browser.run(OPEN_ALL)
    assert browser.said() == []
    assert browser.requests() == [(pages / "hostile.html").as_uri()]
    shown = browser.run("document.body.innerText")
    assert browser.run("document.title").startswith("</pre></script><script>")
    for text in HOSTILE[:4]:
        assert text[:60] in " ".join(shown.split("\n"))
    assert "\\u202e" in shown and "\u202e" not in shown
    assert "\\u001b[31m" in shown
    assert "x" * 100_000 in browser.run("document.body.textContent")
    assert browser.run("document.querySelectorAll('script, img, iframe, object, form, base, link').length") == 0
    assert (
        browser.run("[...document.querySelectorAll('*')].some(e => [...e.attributes].some(a => /^on/.test(a.name)))")
        is False
    )
    assert browser.run("[...document.links].every(a => a.getAttribute('href').startsWith('#'))")


@pytest.mark.parametrize("name", ["hostile", "plain"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_never_wider_than_the_window(browser, pages, name, width):
    browser.medium()
    browser.resize(width)
    browser.open(pages / f"{name}.html")
    browser.run(OPEN_ALL)
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser, pages, scheme):
    browser.medium(scheme)
    browser.resize(1280)
    browser.open(pages / "plain.html")
    browser.run(OPEN_ALL)
    dark = browser.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    found = browser.run(CONTRAST)
    assert len(found) > 100
    assert found[0][0] >= 4.5, found[:3]


def test_every_drawing_has_a_name(browser, pages):
    for name in ("plain", "hostile"):
        browser.open(pages / f"{name}.html")
        assert browser.run("document.querySelectorAll('svg[role]').length") > 6
        assert browser.run(UNNAMED) == 0


def test_tab_reaches_every_part_and_enter_opens_it(browser, pages):
    browser.medium()
    browser.resize(1280)
    browser.open(pages / "plain.html")
    reachable = browser.run(REACHABLE)
    assert len(reachable) > 20
    reached = []
    for _ in range(len(reachable) + 1):
        browser.press("Tab")
        at, _, outline = browser.run(ACTIVE)
        if at == "":
            break
        assert outline != "none"
        reached.append(at)
    assert reached == reachable
    browser.run("document.querySelector('details:not([open]) summary').focus()")
    browser.press("Enter")
    assert browser.run("document.activeElement.parentElement.open") is True


def test_a_mark_of_the_tree_opens_its_prompt_by_keyboard(browser, pages):
    browser.medium()
    browser.resize(1280)
    browser.open(pages / "plain.html")
    there = "document.getElementById('prompt-1-6')"
    assert not browser.run(f"{there}.checkVisibility()")
    browser.run("document.querySelector('#lineage > details > summary').focus()")
    browser.press("Enter")
    browser.press("Tab")  # past the drawing
    for _ in range(7):
        browser.press("Tab")
    assert browser.run("document.activeElement.id") == "mark-1-6"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    browser.press("Enter")
    assert browser.run(f"{there}.checkVisibility()")
    top = browser.run(f"{there}.closest('details').getBoundingClientRect().top")
    assert 0 <= top < 600
    shown = browser.run(f"{there}.innerText")
    assert "error 5" in shown and "What led to it" in shown and "What it changed" in shown
    assert browser.run(f"{there}.querySelector('ins').innerText") == "5."
    assert browser.said() == []
    browser.press("Tab")
    assert browser.run("document.activeElement.hash") == "#mark-1-6"
    browser.press("Tab")
    assert browser.run("document.activeElement.hash") == "#prompt-1-5"


def test_on_a_phone_the_tree_scrolls_in_its_own_box(browser, pages):
    browser.medium()
    browser.resize(390)
    browser.open(pages / "plain.html")
    browser.run("document.querySelectorAll('#lineage > details').forEach(d => d.open = true)")
    box, drawn = browser.run(
        "[...document.querySelectorAll('svg.tree[role=group]')].slice(0, 1)"
        ".flatMap(s => [s.parentElement.clientWidth, s.getBoundingClientRect().width])"
    )
    assert box < 390 < drawn == 860
    assert browser.run("document.documentElement.scrollWidth") == 390


def test_print_opens_what_is_folded(browser, pages):
    seen = """[...document.querySelectorAll('details:not([open])')]
      .map(d => [d.className, d.lastElementChild.checkVisibility()])"""
    browser.open(pages / "plain.html")
    browser.medium()
    assert {visible for _, visible in browser.run(seen)} == {False}
    browser.medium(medium="print")
    folded = browser.run(seen)
    assert {visible for kind, visible in folded if kind == ""} == {True}
    assert {visible for kind, visible in folded if kind == "long"} == {False}
    assert browser.run("document.querySelector('.unprinted').checkVisibility()")
    assert not browser.run("document.querySelector('nav').checkVisibility()")
    browser.resize(700)
    tree = "document.querySelector('svg.tree[role=group]').getBoundingClientRect()"
    assert browser.run(f"{tree}.width") <= 700 and browser.run(f"{tree}.height") > 0
    assert not browser.run("document.querySelector('.within').checkVisibility()")
    paper = browser.pdf()
    assert paper.startswith(b"%PDF-") and len(paper) > 20_000
    browser.medium()


def test_the_contents_stay_in_sight_beside_the_page(browser, pages):
    browser.medium()
    browser.resize(1366, 700)
    browser.open(pages / "plain.html")
    browser.run("document.getElementById('ledger').scrollIntoView()")
    assert browser.run("document.querySelector('nav').getBoundingClientRect().top") == 0
    assert browser.run("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")


def test_a_report_of_fifty_thousand_items_opens(browser, tmp_path):
    page = tmp_path / "large.html"
    page.write_text(render(large_document(steps=1000)), encoding="utf-8")
    assert page.stat().st_size < 1_000_000
    browser.medium()
    browser.resize(1280)
    browser.open(page)
    assert browser.said() == []
    assert "50,000" in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('section').length") > 8
