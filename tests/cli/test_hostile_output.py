"""What a model wrote is text wherever it is shown: a terminal obeys none of it, a page runs none of it."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import unicodedata
from html.parser import HTMLParser

import pytest
from rough_server import RoughServer, completion, error, reply

TERMINAL = (
    "\x1b[2J\x1b[31mred\x1b]8;;http://evil.example/\x07link\x1b]8;;\x07\x1b]0;title\x07\x9b31m\x7f\x08\x00"
    "\u202egpj.exe\u202c \u2066x\u2069 \u200b\ufeff \U000e0041 \r over"
)
PAGE = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">&lt;b&gt; &amp; "
    "</pre></details></table></style><style>*{display:none}</style> <a href='javascript:alert(1)'>x</a> {{ 7 * 7 }} "
    "{% raw %} <!-- <svg onload=alert(1)> ]]>"
)
LINE = 12_000  # characters of a proposal's longest line: much longer proposals are refused
PROMPT = f"Version 2: late or broken? {TERMINAL} {PAGE}\n{'y' * LINE}"
FORMULA = '=HYPERLINK("http://evil.example"),"x"\n;\r\''


def shown_safely(text):
    """Whether a terminal has nothing to obey."""
    return not [c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co")]


async def hostile(server, request, doc):
    text = doc["messages"][-1]["content"]
    if doc["model"] == "opt":
        answer = f"<prompt>{PROMPT}</prompt>"
    elif doc["model"] == "text":
        answer = FORMULA if "formula" in text else TERMINAL + PAGE
    else:
        label = "broken" if "lid" in text.splitlines()[-1] else "late"
        answer = f"{TERMINAL}{PAGE}\nAnswer: {label if 'Version 2' in text else 'late'}"
    return await reply(200, completion(answer))(server, request, doc)


class Page(HTMLParser):
    """Collects the elements of a page, their attributes and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def folder(tmp_path):
    rows = [f"the {'lid' if n % 2 else 'parcel'} number {n},{'broken' if n % 2 else 'late'}" for n in range(60)]
    (tmp_path / "task.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return tmp_path


def test_the_found_prompt_in_terminal_page_and_exports(cli, folder):
    with RoughServer(hostile) as server:
        models = ("--model", f"openai:m@{server.url}", "--optimizer", f"openai:opt@{server.url}")
        done = cli(
            *("fit", "--task", "task.csv", *models),
            *("--method", "random-search", "--set", "candidates=2", "--set", "shots=0", "--set", "items=9"),
            *("--prompt", "late or broken?", "--out", "best", "--budget", "300calls"),
        )
        again = cli("resume", json.loads(cli("runs", "--json").stdout)["runs"][0]["run"], "--json")
        measured = cli("evaluate", "--task", "task.csv", "--model", f"openai:m@{server.url}", "--prompt", "best")
    assert done.returncode == again.returncode == measured.returncode == 0, done.stderr + again.stderr
    document = json.loads(again.stdout)
    assert document["arms"][0]["prompt"] == PROMPT
    run = document["arms"][0]["run"]
    outputs = [done, again, measured, cli("export", "best"), cli("runs"), cli("runs", run), cli("report", run)]
    outputs += [cli("export", "best", "--to", "messages", "--json"), cli("report", run, "--json"), cli("methods")]
    for one in outputs:
        assert one.returncode == 0, one.stderr
        assert shown_safely(one.stdout + one.stderr)
    assert r"\u001b[2J" in outputs[3].stdout
    assert json.loads(outputs[8].stdout)["arms"][0]["prompt"] == PROMPT
    assert PROMPT in json.loads(outputs[7].stdout)["content"][0]["content"]
    check_page(folder / "home" / "runs" / run / "report.html", folder)


def check_page(path, folder):
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    assert not page.tags & {"script", "img", "iframe", "object", "link", "base", "form", "meta refresh"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "action")]
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    assert "<script>document.title = 'owned'</script>" in page.text
    assert "y" * LINE in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert shown_safely(source)
    if browser := shutil.which("chromium"):
        options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/browser", "--dump-dom")
        seen = subprocess.run([browser, *options, path.as_uri()], capture_output=True, text=True, timeout=60)
        assert re.search(r"<title>task: random-search</title>", seen.stdout)


def save_text_prompt(folder):
    from promptology.data.items import Field, Signature
    from promptology.prompts import Learned, Readout, Text, save

    save(Learned((Text("Say something."), Readout("answer")), Signature((Field("text"),))), folder / "saved")


def test_answers_in_apply(cli, folder):
    save_text_prompt(folder)
    (folder / "new.csv").write_text('text,note\nhello,"=1+1"\na formula,-5\n', encoding="utf-8")
    with RoughServer(hostile) as server:
        model = ("--model", f"openai:text@{server.url}")
        plain = cli("apply", "saved", *model, "hello", "a formula")
        as_json = cli("apply", "saved", *model, "--json", "hello", "a formula")
        written = cli("apply", "saved", *model, "--input", "new.csv", "--out", "out.csv")
        to_terminal = cli("apply", "saved", *model, "--input", "new.csv")
    for done in (plain, as_json, written, to_terminal):
        assert done.returncode == 0, done.stderr
        assert shown_safely(done.stdout + done.stderr)
    answers = [TERMINAL + PAGE, FORMULA]
    assert [p["prediction"] for p in json.loads(as_json.stdout)["predictions"]] == answers
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == answers
    assert [row["note"] for row in rows] == ["=1+1", "-5"]
    assert "2 values begin as formulas do" in written.stderr


def test_what_a_server_says_in_an_error(cli, folder):
    with RoughServer(error(400, f"no\n{TERMINAL}\n{PAGE}")) as server:
        done = cli("evaluate", "--task", "task.csv", "--model", f"openai:m@{server.url}")
    assert done.returncode == 2
    assert shown_safely(done.stderr)
    assert len([line for line in done.stderr.splitlines() if not line.startswith("note:")]) == 1


def test_a_function_that_returns_half_a_character(cli, folder):
    save_text_prompt(folder)
    (folder / "mine.py").write_text("def answer(prompt):\n    return 'half \\ud800 of it'\n")
    (folder / "new.csv").write_text("text\nhello\n")
    for more in (("hello",), ("--json", "hello"), ("--input", "new.csv"), ("--input", "new.csv", "--out", "out.csv")):
        done = cli("apply", "saved", "--model", "mine:answer", *more)
        assert done.returncode == 0, done.stderr
        assert shown_safely(done.stdout)
    assert (folder / "out.csv").read_text(encoding="utf-8").startswith("text,prediction\nhello,half ")
