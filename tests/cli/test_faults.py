"""Bad input: exit 2, one line with what and where, nothing half-written; a key is nowhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from counting import counting

from promptology.prompts import Learned, Readout, Text, save

GOOD = "text,label\n" + "\n".join(f"word {n},{'a' if n % 2 else 'b'}" for n in range(20)) + "\n"
MODEL = "def answer(prompt):\n    return 'a'\n"
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def folder(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.py").write_text(MODEL)
    (work / "good.csv").write_text(GOOD)
    return work


def fit(cli, folder, *more, task="good.csv", model="model:answer", method="manual", **keywords):
    return cli("fit", "--task", task, "--model", model, "--method", method, *more, cwd=folder, **keywords)


def one_line(done, *words):
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("note:", "run "))]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("promptology: ")
    for word in words:
        assert word in lines[0], lines[0]
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", "", ["empty.csv", "is empty"]),
        ("header.csv", "text,label\n", ["header.csv", "no rows"]),
        ("one.csv", "text,label\nx,a\ny,a\nz,a\n", ["two classes"]),
        ("ids.csv", "id,text,label\n1,x,a\n1,y,b\n", ["ids.csv line 3", "id '1'"]),
        ("bytes.csv", b"text,label\nok,a\n\xff\xfe,b\n", ["bytes.csv line 3", "UTF-8"]),
        ("nan.csv", "text,label\nx,a\ny,nan\n", ["nan.csv line 3", "missing"]),
        ("none.csv", "text,label\nx,a\ny,\n", ["none.csv line 3", "missing"]),
        ("cells.csv", "text,label\nx,a,b\n", ["cells.csv line 2", "3 cells"]),
        ("columns.csv", "words,kind\nx,a\ny,b\n", ["columns.csv", "--label", "words, kind"]),
        ("broken.jsonl", '{"text": "x", "label": "a"}\n{"text": \n', ["broken.jsonl line 2", "JSON"]),
        ("data.xlsx", "x", [".xlsx", ".csv"]),
    ],
)
def test_data(cli, folder, name, content, words):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    one_line(fit(cli, folder, task=name), *words)


def test_names(cli, folder):
    one_line(fit(cli, folder, task="nothere.csv"), "nothere.csv", "does not exist")
    one_line(fit(cli, folder, task="ticket"), "did you mean 'tickets'")
    one_line(fit(cli, folder, "--text", "words"), "no column 'words'", "text, label")
    one_line(fit(cli, folder, method="manul"), "did you mean 'manual'")
    one_line(fit(cli, folder, model="gpt-9"), "unknown model 'gpt-9'")
    one_line(fit(cli, folder, model="model:nothing"), "no function 'nothing'")
    one_line(fit(cli, folder, model="absent:answer"), "cannot import absent")
    one_line(fit(cli, folder, model="simulated:mars"), "mars", "tickets")
    one_line(fit(cli, folder, model="hf:./nowhere"), "nowhere", "does not exist")
    one_line(fit(cli, folder, "--metric", "acuracy"), "did you mean 'accuracy'")
    one_line(fit(cli, folder, "--budget", "10apples"), "10apples")
    one_line(fit(cli, folder, "--set", "rounds"), "FIELD=VALUE")
    one_line(fit(cli, folder, "--set", "rounds=3"), "no setting 'rounds'")
    one_line(fit(cli, folder, "--cache", "maybe"), "--cache")
    one_line(fit(cli, folder, "--price", "cheap", "--budget", "2usd"), "--price")
    one_line(fit(cli, folder, "--key-env", "NO_SUCH_KEY", model="openai:m@http://127.0.0.1:9/v1"), "NO_SUCH_KEY")
    one_line(fit(cli, folder, "--prompt", "bytes.txt"), "UTF-8") if _bytes(folder) else None
    one_line(fit(cli, folder, "--prompt", "promt.txt"), "promt.txt", "does not exist")
    one_line(fit(cli, folder, "--prompt", "."), "folder")
    one_line(cli("resume", "abcdef", cwd=folder), "no run 'abcdef'")
    one_line(cli("report", "abcdef", cwd=folder), "no run 'abcdef'")
    one_line(cli("methods", "nope", cwd=folder), "unknown method")
    one_line(cli("frobnicate", cwd=folder), "frobnicate")


def _bytes(folder):
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    return True


def test_unknown_label_in_the_test_file(cli, folder):
    (folder / "held.csv").write_text("text,label\nx,a\ny,zebra\n")
    one_line(fit(cli, folder, "--test", "held.csv"), "held.csv line 3", "'zebra'", "good.csv")


def test_emoji_labels_work(cli, folder):
    rows = "\n".join(f"word {n},{'😀' if n % 2 else '😡'}" for n in range(20))
    (folder / "emoji.csv").write_text(f"text,label\n{rows}\n", encoding="utf-8")
    (folder / "model.py").write_text("def answer(prompt):\n    return '😀'\n")
    done = fit(cli, folder, "--json", task="emoji.csv")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arms"][0]["score"]["value"] == 0.5


def test_a_usd_limit_without_a_price(cli, folder):
    one_line(fit(cli, folder, "--budget", "2usd"), "--price")


def test_no_server(cli, folder):
    one_line(fit(cli, folder, model="openai:m@http://127.0.0.1:9/v1"), "127.0.0.1:9", "start the server")


def everything_written(folder):
    for path in Path(folder).rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def test_a_wrong_key_stops_at_once_and_is_written_nowhere(cli, folder, home):
    with counting(fault=lambda n: 401) as server:
        done = fit(
            *(cli, folder, "--key-env", "MY_KEY"),
            model=f"openai:m@{server.url}",
            method="spo",
            env={"MY_KEY": KEY},
        )
        assert any(h.get("Authorization") == f"Bearer {KEY}" for h in server.headers)
        assert server.by_model["m"] <= 16
    one_line(done, "MY_KEY", "401")
    assert KEY not in done.stdout + done.stderr
    for path, content in everything_written(home):
        assert KEY.encode() not in content, path


def test_a_right_key_is_written_nowhere_either(cli, folder, home):
    with counting() as server:
        done = fit(
            *(cli, folder, "--key-env", "MY_KEY", "--out", "out"),
            model=f"openai:m@{server.url}",
            env={"MY_KEY": KEY},
        )
        assert done.returncode == 0, done.stderr
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    for place in (home, folder):
        for path, content in everything_written(place):
            assert KEY.encode() not in content, path


def test_prompt_folders(cli, folder):
    from promptology.data.items import Field, Signature

    learned = Learned((Text("Say a."), Readout("answer")), Signature((Field("text"),)))
    save(learned, folder / "p")
    done = cli("apply", "p", "--model", "model:answer", "hello", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "a\n")
    doc = json.loads((folder / "p" / "prompt.json").read_text())
    (folder / "p" / "prompt.json").write_text(
        json.dumps({**doc, "tensors": {"file": "../../x.safetensors", "sha256": ""}})
    )
    one_line(cli("apply", "p", "--model", "model:answer", "hello", cwd=folder), "outside the prompt folder")
    one_line(cli("apply", "nowhere", "--model", "model:answer", "hello", cwd=folder), "not a prompt folder")
    (folder / "mine").mkdir()
    (folder / "mine" / "precious.txt").write_text("x")
    before = sorted(os.listdir(folder))
    one_line(fit(cli, folder, "--out", "mine"), "mine", "not a prompt folder")
    assert sorted(p for p in os.listdir(folder) if p != "__pycache__") == [p for p in before if p != "__pycache__"]


def test_a_failing_function_is_told_with_its_reason(cli, folder):
    (folder / "model.py").write_text("def answer(prompt):\n    raise ValueError('out of\\nmilk')\n")
    one_line(fit(cli, folder), "missing", "ValueError", "milk")


def test_an_unwritable_home(cli, folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    one_line(fit(cli, folder, env={"PROMPTOLOGY_HOME": str(tmp_path / "file" / "home")}), "PROMPTOLOGY_HOME")
