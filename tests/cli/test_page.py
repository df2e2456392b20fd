"""The command `page`: what it refuses in one line, one process on a session, a prompt folder that apply takes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from paging import MODELS, Visitor, paged

from promptology.cli.app import run as command

OPTIONS = ("page", "cipher", "--model", "simulated:styles?error=0", "--encoder", "own_models:encoder", "--no-open")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in this process and returns its one line."""
    (tmp_path / "own_models.py").write_text(MODELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(*options):
        signal.alarm(60)  # a page that is not refused would stand for ever
        try:
            code = command([*OPTIONS, *options])
        finally:
            signal.alarm(0)
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if not line.startswith("note: ")]
        assert (code, captured.out, len(lines)) == (2, "", 1), captured
        return lines[0]

    return run


def test_without_the_extra_there_is_one_line(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    line = refused()
    assert line == 'promptology: the page needs uvicorn: pip install "promptology[web]"'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0: the page is for this machine alone"),
        (("--budget", "10m"), "a page waits for a person: limit calls, usd, tok or passes, not the time"),
        (("--set", "k=0"), "method 'cipher': k is 0"),
        (("--set", "speed=1"), "method 'cipher' has no setting 'speed'"),
        (("--task", "tickets"), "does not turn texts into a text"),
        (("--out", "."), "exists and is not a prompt folder; choose another --out"),
    ],
)
def test_what_cannot_be_used_is_one_line(refused, options, said):
    pytest.importorskip("fastapi", reason="the page needs the extra web")
    assert said in refused(*options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": 99, "method": "cipher", "rounds": []}', "is a session of format 99; this version reads 1"),
        ('{"format": 1, "meth', "cannot be read as a session"),
        ("", "cannot be read as a session"),
        ('{"format": 1, "method": "cipher", "rounds": [{}]}', "is damaged"),
    ],
)
def test_a_session_of_another_version_or_a_damaged_one_stays_as_it_is(tmp_path, refused, text, said):
    pytest.importorskip("fastapi", reason="the page needs the extra web")
    file = tmp_path / "old.json"
    file.write_text(text, encoding="utf-8")
    assert said in refused("--session", str(file))
    assert file.read_text(encoding="utf-8") == text and not (tmp_path / "old-prompt").exists()
    assert list(tmp_path.glob(".old*")) == []


def test_two_processes_on_a_session_and_a_port_that_is_taken(tmp_path, refused, home):
    pytest.importorskip("fastapi", reason="the page needs the extra web")
    with paged(tmp_path) as page:
        port = page.host.rpartition(":")[2]
        assert "is open in another process; stop that one" in refused("--session", "session.json")
        line = refused("--session", "other.json", "--port", port)
        assert line.startswith(f"promptology: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert list(tmp_path.glob(".*")) == []


def test_what_a_page_learned_is_applied(tmp_path, home, cli):
    pytest.importorskip("fastapi", reason="the page needs the extra web")
    (tmp_path / "letters.csv").write_text("notes,tone\nrain,kind\nsnow,warm\n", encoding="utf-8")
    task = ("--task", "letters.csv", "--text", "notes,tone", "--session", "letters", "--out", "mine")
    with paged(tmp_path, *task) as page:
        visitor = Visitor(page)
        assert 'name="field-tone"' in visitor.get("/new")[2]
        both = {"field-notes": "parcel late", "field-tone": "calm"}
        _, headers, _ = visitor.post("/rounds", id="0123456789ab", **both)
        visitor.settle(headers["location"])
        visitor.get(headers["location"])
        visitor.post(headers["location"], do="done", text=visitor.text.lower(), version=visitor.version)
        visitor.settle(headers["location"])
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(10) == 0
        said = page.process.stderr.read()
    folder = tmp_path / "mine"
    assert f"what was learned: {folder}" in said and "--encoder own_models:encoder" in said
    session = home / "sessions" / "letters.json"
    assert json.loads(session.read_text(encoding="utf-8"))["rounds"][0]["inputs"] == {
        "notes": "parcel late",
        "tone": "calm",
    }
    rows = tmp_path / "new.csv"
    rows.write_text("notes,tone\nParcel Lost,calm\n", encoding="utf-8")
    models = ("--model", "simulated:styles?error=0", "--encoder", "own_models:encoder")
    done = cli("apply", folder, *models, "--input", rows)
    assert done.returncode == 0, done.stderr
    assert "notes parcel lost tone calm." in done.stdout


def test_the_command_ends_with_its_terminal(tmp_path, home):
    pytest.importorskip("fastapi", reason="the page needs the extra web")
    with paged(tmp_path) as page:
        page.process.terminate()
        assert page.process.wait(10) == 0
    done = subprocess.run(
        [sys.executable, "-m", "promptology", "page", "--help"], capture_output=True, text=True, check=True
    )
    assert "promptology apply FOLDER" in done.stdout and "--session" in done.stdout
