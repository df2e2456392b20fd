"""The page in a real browser: the path of a person who writes, hostile drafts, two windows, a kill, keys, widths."""

from __future__ import annotations

import json

import pytest
from browser import CHROMIUM, CONTRAST, Browser
from documents import HOSTILE
from paging import Visitor, paged

pytest.importorskip("fastapi", reason="the page needs the extra web")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not looked at")

FIRST, SECOND = "parcel late voucher of ten euros", "parcel late again voucher of five"
PHRASE = "lower case, at most 12 words"
PATHS = ("/", "/new", "/preferences", "/history", "/rounds/none")
REACHABLE = """[...document.querySelectorAll("a, button, summary, textarea, input:not([type=hidden]), [tabindex]")]"""
SEEN = f"{REACHABLE}.map((e, k) => e.checkVisibility() ? k : -1).filter(k => k >= 0)"
FOCUS = f"""(() => {{ const e = document.activeElement;
  return [{REACHABLE}.indexOf(e), getComputedStyle(e).outlineStyle]; }})()"""
UNNAMED = (
    """[...document.querySelectorAll("textarea, input:not([type=hidden])")].filter(e => !e.labels.length).length"""
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browsed")
    with paged(folder, model="own_models:moody", env={"PROMPTOLOGY_HOME": str(folder / "home")}) as served:
        served.mood = lambda text: (folder / "mood").write_text(text, encoding="utf-8")
        served.mood("")
        served.base = served.url.partition("/?")[0]
        yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory, page):
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.resize(1280)
        opened.medium()
        opened.go(page.url)
        yield opened


def wait_saved(browser):
    browser.until("document.querySelector('#said').textContent === 'Saved'")


def text_of(browser, selector="main"):
    return browser.run(f"document.querySelector('{selector}').innerText")


def test_the_path_of_a_person_who_writes(browser, page):
    assert browser.run("location.href") == f"{page.base}/"  # the key is out of sight
    browser.write("[name=field-text]", FIRST)
    with browser.loading():
        browser.press("Enter", "Control")
    assert browser.run("document.querySelector('#text').value") == "Parcel late voucher of ten. Euros."
    assert "no similar text has taught anything yet" in text_of(browser, "aside")
    browser.click("#changes summary")
    browser.write("#text", "parcel late voucher of ten. euros.")
    wait_saved(browser)
    browser.until("document.querySelectorAll('#pieces ins').length === 2")
    assert "2 words changed" in text_of(browser, ".status")
    with browser.loading():
        browser.click("button[value=done]")
    browser.until(f"document.querySelector('.notice').innerText.includes('Learned from your changes: “{PHRASE}”')")

    browser.write("[name=field-text]", SECOND)
    with browser.loading():
        browser.click("[data-key=go]")
    assert browser.run("document.querySelector('#text').value") == "parcel late again voucher of. five."
    assert text_of(browser, "blockquote") == PHRASE
    browser.click("aside .from summary")
    assert FIRST in text_of(browser, "aside") and "2 words changed then" in text_of(browser, "aside")
    with browser.loading():
        browser.click("aside button[value=pin]")
    assert "Pinned: holds for every text" in text_of(browser, "aside")
    browser.click("aside .inline summary")
    browser.write("aside .inline textarea", "in a friendly tone")
    with browser.loading():
        browser.click("aside button[value=edit]")
    assert "in a friendly tone" in text_of(browser, "aside")
    with browser.loading():
        browser.press("Enter", "Control", "Shift")  # accepts as it is
    browser.until("document.querySelector('.notice').innerText.includes('Accepted as it was')")

    browser.go(f"{page.base}/preferences")
    shown = text_of(browser)
    assert shown.index("Pinned") < shown.index(PHRASE) < shown.index("in a friendly tone")
    with browser.loading():
        browser.click("button[value=delete]")
    assert "in a friendly tone" not in text_of(browser)
    with browser.loading():
        browser.click("button[value=unpin]")
    browser.go(f"{page.base}/history")
    assert "Round 2 · accepted as it was" in text_of(browser)
    assert browser.run("document.querySelectorAll('svg.wide path.mark').length") == 2
    assert "in the last 2: 1.0" in browser.run("document.querySelector('svg.wide desc').textContent")
    assert browser.said() == []
    assert all(url.startswith(f"{page.base}/") for url in browser.requests())


def test_a_hostile_draft_is_text_and_the_page_stays_usable_on_a_phone(browser, page):
    page.mood("say " + "\n".join(t.replace("\ud800", "") for t in HOSTILE))
    browser.go(f"{page.base}/new")
    browser.write("[name=field-text]", HOSTILE[0] + "x" * 5000)
    browser.resize(390)
    with browser.loading():
        browser.click("[data-key=go]")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    assert browser.run("document.querySelector('#text').value").endswith("x" * 100_000)
    assert browser.run("document.querySelector('#text').getBoundingClientRect().height < 0.75 * innerHeight")
    assert browser.run("document.querySelectorAll('main script, main img, main svg, main style').length") == 0
    browser.write("#text", " end", over=False)
    page.mood(f"say <preference>{HOSTILE[1]}</preference>")
    with browser.loading():
        browser.click("button[value=done]")
    browser.until("document.querySelector('.notice').innerText.includes('Learned')")
    page.mood("")
    for path in PATHS:
        browser.go(page.base + path)
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        assert browser.run("document.querySelectorAll('main script, main img, main style, main iframe').length") == 0
        assert "owned" not in browser.run("document.title")
    browser.resize(1280)
    assert all(url.startswith(f"{page.base}/") for url in browser.requests())
    assert [line for line in browser.said() if "404" not in line] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_in_light_and_dark(browser, page, scheme):
    visitor = Visitor(page)
    where = visitor.begin("drought in spring", f"00000000f{len(scheme):03}")
    browser.medium(scheme)
    for path in (where, *PATHS):
        browser.go(page.base + path)
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.run(CONTRAST)[0][0] >= 4.5, path
        browser.resize(390)
        assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        browser.resize(1280)
    browser.medium()
    visitor.get(where)
    visitor.post(where, do="drop", version=visitor.version)


def test_every_part_is_reached_by_keys_and_seen_when_it_is(browser, page):
    visitor = Visitor(page)
    where = visitor.begin("drought in summer", "00000000fa01")
    for path in (where, "/preferences"):
        browser.go(page.base + path)
        there, met = browser.run(SEEN), set()
        for _ in range(len(there) + 2):  # from the field that has the focus to the end, and from the beginning
            browser.press("Tab")
            index, outline = browser.run(FOCUS)
            assert index < 0 or outline == "solid"
            met.add(index)
        assert met - {-1} == set(there)
        assert browser.run(UNNAMED) == 0
    visitor.get(where)
    visitor.post(where, do="drop", version=visitor.version)


def test_two_windows_on_one_round_lose_nothing(browser, page):
    other = Visitor(page)
    where = other.begin("frost in may", "00000000fb01")
    browser.go(page.base + where)
    other.get(where)
    assert other.post(f"{where}/text", text="from elsewhere", version=other.version)[0] == 200
    browser.write("#text", "mine alone")
    browser.until("!document.querySelector('#conflict').hidden")
    assert "changed in another window" in text_of(browser, "#conflict")
    assert browser.run("document.querySelector('#text').value") == "mine alone"
    browser.click("#mine")
    wait_saved(browser)
    other.get(where)
    assert other.text == "mine alone"
    other.post(where, do="drop", version=other.version)
    browser.write("#text", "mine, and later still")
    browser.until("!document.querySelector('#conflict').hidden")
    assert "ended or dropped in another window" in text_of(browser, "#conflict")
    assert browser.run("document.querySelector('#text').value") == "mine, and later still"
    with browser.loading():
        browser.click("button[value=done]")
    assert browser.run("document.querySelector('#typed').value") == "mine, and later still"


def test_a_draft_is_shown_when_it_comes(browser, page):
    visitor = Visitor(page)
    page.mood("fail")
    where = visitor.begin("slow rain", "00000000fc01")
    browser.go(page.base + where)
    assert "nobody is there" in text_of(browser)
    page.mood("")
    with browser.loading():
        browser.click("button[value=retry]")
    browser.until("document.querySelector('#text')?.value.toLowerCase().startsWith('slow rain')")


def test_what_was_typed_outlives_a_kill(tmp_path, home, browser, page):
    with paged(tmp_path) as own:
        browser.go(own.url)
        browser.write("[name=field-text]", FIRST)
        with browser.loading():
            browser.click("[data-key=go]")
        browser.write("#text", "half a sen")
        wait_saved(browser)
        own.kill()
        browser.write("#text", "half a sentence")
        browser.until("document.querySelector('#said').textContent.startsWith('Not saved')")
    saved = json.loads((tmp_path / "session.json").read_text(encoding="utf-8"))
    assert [note["text"] for note in saved["page"]["rounds"].values()] == ["half a sen"]
    with paged(tmp_path) as own:
        # The old window would ask whether to leave what is not saved.
        browser.run("document.querySelector('#said').textContent = ''")
        browser.go(own.url)
        assert browser.run("document.querySelector('#text').value") == "half a sen"
    browser.go(page.base + "/new")
