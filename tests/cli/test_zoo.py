"""promptology zoo: list, build, check, gallery; an interrupted build, and every fault in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from mounting import small_disk

from promptology.cli import app

TESTS = Path(__file__).resolve().parents[1]
ECHO = "import sys, tiny_recipe; from promptology.cli import main; sys.argv[0] = 'promptology'; main()"
NAME = "tiny-echo"


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def echo(tmp_path, monkeypatch, capsys):
    """Return a function that runs `promptology zoo` in this process, with a tiny recipe, of these fields."""
    torch = pytest.importorskip("torch")
    import tiny_recipe

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **fields):
        tiny_recipe.add(monkeypatch.setitem, **fields)
        code = app.run(["zoo", *map(str, arguments)])
        return Done(code, *capsys.readouterr())

    yield run
    torch.set_num_threads(threads)


def environment(**more):
    """Return the environment of a process of its own that knows the tiny recipe."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "TINY_RECIPE": "yes", "OMP_NUM_THREADS": "1", **more}


def one_line(done, *words):
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1 and lines[0].startswith("promptology: "), done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_list_names_every_model_and_kind(cli):
    done = cli("zoo", "list")
    assert done.returncode == 0, done.stderr
    document = json.loads(cli("zoo", "list", "--json").stdout)
    for model in document["models"]:
        assert f"zoo:{model['name']}" in done.stdout and model["class"] in done.stdout
        assert set(model) == {"name", "class", "says", "parameters", "bytes", "where", "origin", "fault"}
    assert "wordland:topic" in document["tasks"] and "topic" in done.stdout
    assert "toyland:cross-domain" in document["tasks"] and "cross-domain: seed=0" in done.stdout


def test_list_needs_no_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not installed')")
    (tmp_path / "transformers.py").write_text("raise ImportError('transformers is not installed')")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "promptology", "zoo"]
    done = subprocess.run([*command, "list"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "word-mlm" in done.stdout, done.stderr
    for other in (["build", "word-mlm", "--out", str(tmp_path / "x")], ["check", "word-mlm"]):
        done = subprocess.run([*command, *other], env=env, capture_output=True, text=True, check=False)
        one_line(done, 'pip install "promptology[local]"')


def test_help_has_examples(cli):
    assert "Example: promptology" in " ".join(cli("zoo", "--help").stdout.split())
    for command in ("list", "build", "check", "gallery"):
        assert re.search(r"Examples?: promptology", " ".join(cli("zoo", command, "--help").stdout.split())), command


def test_build_use_check(echo, tmp_path, home):
    built = echo("build", NAME)
    assert built.returncode == 0, built.stderr
    folder = home / "zoo" / NAME
    assert f"folder  {folder}" in built.stdout and "echo" in built.stdout
    assert built.stderr == ""  # nobody watches

    again = echo("build", NAME)
    assert again.returncode == 0 and "is there already" in again.stderr and "--again" in again.stderr
    card = json.loads(echo("build", NAME, "--json").stdout)
    assert card == json.loads((folder / "card.json").read_text(encoding="utf-8"))

    (listed,) = [m for m in json.loads(echo("list", "--json").stdout)["models"] if m["name"] == NAME]
    assert (listed["where"], listed["origin"], listed["fault"]) == (str(folder), "built here", "")
    assert listed["parameters"] == card["parameters"] > 0
    assert listed["bytes"] == (folder / "model.safetensors").stat().st_size

    checked = echo("check", NAME, "--json")
    assert checked.returncode == 0, checked.stderr
    (model,) = json.loads(checked.stdout)["models"]
    assert model == {
        "name": NAME,
        "class": "LlamaForCausalLM",
        "parameters": card["parameters"],
        "bytes": listed["bytes"],
        "ability": card["ability"],
        "bar": {"echo": 0.5},
        "reached": card["ability"]["echo"] >= 0.5,
    }
    assert re.search(rf"{NAME} +echo +{model['ability']['echo']:.3f} +0.500", echo("check", NAME).stdout)


def test_a_model_below_its_bar_is_reported_and_no_fault(echo):
    assert echo("build", NAME, steps=1).returncode == 0
    done = echo("check", NAME, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["models"][0]["reached"] is False
    assert re.search(r"0.500 +no\n", echo("check", NAME).stdout)


def test_check_writes_what_it_measured_where_it_is_asked_to(echo, home):
    assert echo("build", NAME).returncode == 0
    path = home / "zoo" / NAME / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**card, "ability": {}}), encoding="utf-8")
    assert echo("check", NAME).returncode == 0 and json.loads(path.read_text(encoding="utf-8"))["ability"] == {}
    assert echo("check", NAME, "--save").returncode == 0
    assert json.loads(path.read_text(encoding="utf-8")) == card


def test_what_is_not_there_is_listed_and_is_exit_code_2(echo):
    done = echo("check", NAME, "--json")
    one_line(done, f"promptology zoo build {NAME}")
    (model,) = json.loads(done.stdout)["models"]
    assert (model["ability"], model["bar"], model["reached"]) == ({}, {"echo": 0.5}, False)
    assert re.search(rf"{NAME} +not there", echo("check", NAME).stdout)


def test_unknown_names_are_one_line(cli):
    one_line(cli("zoo", "build", "word-mml"), "did you mean 'word-mlm'")
    one_line(cli("zoo", "check", "word-mml"), "did you mean 'word-mlm'")
    one_line(cli("evaluate", "--task", "tickets", "--model", "zoo:word-mml"), "did you mean 'word-mlm'")


def test_a_build_goes_on_after_ctrl_c_to_equal_weights(echo, tmp_path, home):
    assert echo("build", NAME, "--out", "whole").returncode == 0
    command = [sys.executable, "-c", ECHO, "zoo", "build", NAME, "--out", "half"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(TINY_WAIT="0.5"), stderr=subprocess.PIPE, text=True
    )
    state = tmp_path / ".half.building"
    until = time.monotonic() + 60
    while not (state / "lock").exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(1.5)
    one_line(echo("build", NAME, "--out", "half"), "another process")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "promptology: interrupted; what was trained is kept: the same command goes on from there\n"
    assert not (tmp_path / "half").exists() and (state / "state.safetensors").is_file()
    done = echo("build", NAME, "--out", "half")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and not state.exists()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_progress_is_one_line_on_a_terminal(echo, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert echo("build", NAME).returncode == 0
    shown = terminal.getvalue()
    assert re.search(r"tiny-echo  step 25 of 60  loss \d\.\d+  right \d+%  stage 0  < 1 min left", shown), shown
    assert "\n" not in shown and shown.endswith("\r\x1b[2K")


def test_a_broken_build_is_one_line_for_every_command(echo, home, tmp_path):
    assert echo("build", NAME).returncode == 0
    path = home / "zoo" / NAME / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    cure = f"build it anew with `promptology zoo build {NAME} --again`"
    one_line(echo("build", NAME), "model.safetensors has", cure)
    one_line(echo("check", NAME), "model.safetensors has", cure)
    (listed,) = [m for m in json.loads(echo("list", "--json").stdout)["models"] if m["name"] == NAME]
    assert cure in listed["fault"]
    assert echo("build", NAME, "--again").returncode == 0
    assert path.read_bytes() == whole


def test_a_place_that_holds_something_else_is_left_alone(echo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for again in ((), ("--again",)):
        one_line(echo("build", NAME, "--out", "mine", *again), "no model folder of the zoo")
        one_line(echo("build", NAME, "--out", "mine/thesis.txt", *again), "no model folder of the zoo")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == ["mine"]


def test_no_room_on_the_disk_is_one_line(echo, tmp_path):
    with small_disk(tmp_path / "small", "64k") as small:
        done = echo("build", NAME, "--out", small / NAME)
        one_line(done, "No space left", "free some space")
        assert done.stdout == "" and not (small / NAME).exists()
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        done = echo("build", NAME, "--out", small / NAME)
        assert done.returncode == 0, done.stderr


def test_gallery(cli, tmp_path):
    pytest.importorskip("PIL")
    done = cli("zoo", "gallery", "--out", "pages/gallery.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "pages" / "gallery.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == page.count("<img ") > 90
    assert all(re.findall(r'<img [^>]*alt="([^"]*)"', page))
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "prefers-color-scheme: dark" in page
    one_line(cli("zoo", "gallery", "--out", "pages/gallery.html/x.html"), "cannot write")


def test_a_model_of_the_zoo_in_evaluate(echo, tmp_path, capsys):
    assert echo("build", NAME).returncode == 0
    with (tmp_path / "words.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([f"word{n}", ("word3", "word4")[n % 2]] for n in range(20))
    command = ["evaluate", "--task", "words.csv", "--text", "text", "--label", "label", "--model", f"zoo:{NAME}"]
    code = app.run([*command, "--readout", "label-likelihood", "--device", "cpu", "--dtype", "float32", "--json"])
    out, error = capsys.readouterr()
    assert code == 0, error
    assert f"zoo:{NAME}: CausalModel on cpu, float32" in error
    assert json.loads(out)["model"]["name"] == f"zoo:{NAME}"
