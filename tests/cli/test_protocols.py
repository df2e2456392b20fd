"""Protocols prequential and stages, evaluate --also and transfer as a user types them; a kill between blocks."""

from __future__ import annotations

import json
import signal
import sys

import pytest
from chatting import stable

from promptology.cli.app import run

MODEL = """
import os, signal

calls = 0

def answer(prompt):
    global calls
    calls += 1
    with open("calls", "a") as file:
        file.write("x")
    if calls == int(os.environ.get("KILL_AT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    question = prompt.rstrip().splitlines()[-1]
    for block in prompt.split("Input: ")[1:]:
        source, _, rest = block.partition("\\nOutput: ")
        if source.split()[0] == question.split()[0]:
            return rest.splitlines()[0]
    return "red"
"""
STREAM = ("--protocol", "prequential", "--blocks", "4", "--budget", "200calls")
FEW = ("fit", "--task", "colours.csv", "--model", "mine:answer", "--method", "few-shot", "--set", "shots=3")


@pytest.fixture
def folder(tmp_path, colours_csv):
    (tmp_path / "mine.py").write_text(MODEL)
    for name, things in {"shades": "coal,black snow,white", "again": "rose,red grass,green sky,blue"}.items():
        rows = [f"{pair.replace(',', f' is {n},')}" for pair in things.split() for n in range(20)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return tmp_path


@pytest.fixture
def here(folder, monkeypatch, capsys):
    """Return a function that runs a command in this process, in the folder: (code, standard output, standard error)."""
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "mine", raising=False)

    def command(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["promptology", *map(str, arguments)])
        code = run(sys.argv[1:])
        return code, *capsys.readouterr()

    return command


def done(result):
    code, out, err = result if isinstance(result, tuple) else (result.returncode, result.stdout, result.stderr)
    assert code == 0, err
    return out


def calls(folder):
    file = folder / "calls"
    n = len(file.read_text()) if file.exists() else 0
    file.unlink(missing_ok=True)
    return n


@pytest.mark.parametrize("kill_at", [9, 30])
def test_a_stream_killed_between_its_commits_goes_on(cli, folder, kill_at):
    whole = json.loads(done(cli(*FEW, *STREAM, "--json", cwd=folder, env={"PROMPTOLOGY_HOME": str(folder / "whole")})))
    asked = calls(folder)
    killed = cli(*FEW, *STREAM, "--json", cwd=folder, env={"KILL_AT": str(kill_at)})
    assert killed.returncode == -signal.SIGKILL
    (row,) = json.loads(done(cli("runs", "--json", cwd=folder)))["runs"]
    assert row["status"] == "interrupted"
    before = calls(folder)
    again = json.loads(done(cli("resume", row["run"], "--json", cwd=folder)))
    assert stable(again) == stable(whole)
    assert asked <= before + calls(folder) <= asked + kill_at  # what was on its way is lost, and asked again
    assert again["arms"][0]["curve"][0]["seen"] == 0
    assert [b["n"] for b in again["arms"][0]["curve"]] == [6] * 4
    assert "predicted before its label opens" in (folder / "home" / "runs" / row["run"] / "report.html").read_text()


def test_the_order_of_the_file(here, folder):
    table = done(here(*FEW, *STREAM, "--order", "file"))
    assert "on 24 items of the stream" in table


def test_stages(here, folder):
    argv = (*FEW, "--protocol", "stages", "--stage", "again=again.csv", "--budget", "600calls")
    table = done(here(*argv, "--out", "mine"))
    assert "after stage \\ task" in table
    assert "backward transfer" in table
    doc = json.loads(done(here(*argv, "--json")))
    assert (doc["rows"], doc["columns"]) == (["(start)", "colours", "again"], ["colours", "again"])
    assert doc["charged"]["calls"] <= 600
    assert (folder / "mine" / "prompt.json").is_file()
    (row,) = json.loads(done(here("runs", "--json")))["runs"]
    assert (row["task"], row["status"]) == ("colours, again", "done")
    assert row["result"].startswith("accuracy: average accuracy")
    page = folder / "page.html"
    done(here("report", row["run"], "--out", page))
    assert "forgetting" in page.read_text()
    assert stable(json.loads(done(here("resume", row["run"], "--json")))) == stable(doc)


def test_evaluate_several_tasks_and_transfer(here, folder):
    done(here(*FEW, "--budget", "200calls", "--out", "few"))
    model = ("--model", "mine:answer")
    several = ("evaluate", "--prompt", "few", "--task", "colours.csv", "--also", "novel=shades.csv", *model)
    doc = json.loads(done(here(*several, "--json")))
    assert (doc["kind"], doc["columns"]) == ("evaluate-several", ["colours", "novel"])
    assert [cell["value"] for cell in doc["cells"][0]] == [1.0, 0.0]
    assert doc["figures"][0]["value"] == 0.0
    assert "harmonic mean        0.000" in done(here(*several))
    transfer = ("transfer", "few", "plain=Which colour?", "--task", "colours.csv", "--task", "new=shades.csv", *model)
    table = done(here(*transfer, "--budget", "60calls", "--out", "heat.html"))
    assert "report  heat.html" in table
    assert "(0.782 to 1.000) n 15" in table  # exact interval: all of 15 right; 4 cells share 60 calls
    page = (folder / "heat.html").read_text()
    assert page.count('class="heat"') == 4
    assert "promptology transfer few" in page
    same = json.loads(done(here(*transfer, "--budget", "60calls", "--json")))
    assert same["rows"] == ["few", "plain"]
    assert same["charged"]["calls"] == 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*FEW, "--protocol", "prequental"), "unknown protocol 'prequental'; there are holdout, duel, prequential"),
        ((*FEW, "--protocol", "prequential", "--blocks", "1"), "blocks is 1; a stream needs at least 2"),
        ((*FEW, "--blocks", "3"), "blocks and order belong to a stream"),
        ((*FEW, "--protocol", "prequential", "--order", "time"), "unknown order 'time'"),
        ((*FEW, "--protocol", "prequential", "--label", ""), "streams the labelled training items"),
        ((*FEW, "--protocol", "prequential", "--noise-floor", "5"), "a stream does not open"),
        ((*FEW, "--protocol", "prequential", "--dry-run"), "cannot plan --protocol prequential"),
        ((*FEW, "--protocol", "stages", "--stage", "a=again.csv", "--order", "file"), "do not go with --protocol"),
        ((*FEW, "--protocol", "stages"), "--protocol stages and --stage NAME=SPEC go together"),
        ((*FEW, "--stage", "b=shades.csv"), "--protocol stages and --stage NAME=SPEC go together"),
        ((*FEW, "--protocol", "stages", "--stage", "shades.csv"), "--stage takes NAME=SPEC, got 'shades.csv'"),
        ((*FEW, "--protocol", "stages", "--stage", "colours=again.csv"), "named 'colours' already"),
        (("evaluate", "--task", "colours.csv", "--model", "mine:answer", "--also", "a=no.csv"), "no.csv"),
        (("transfer", "x", "--task", "no.csv", "--model", "mine:answer"), "no.csv"),
        (("transfer", "a=x y", "a=z y", "--task", "colours.csv", "--model", "mine:answer"), "'a' stands twice"),
        (("transfer", "x y", "x y", "--task", "colours.csv", "--model", "mine:answer"), "PROMPT: 'x y' stands twice"),
        (("transfer", "empty", "--task", "colours.csv", "--model", "mine:answer"), "empty is not a prompt folder"),
        (("transfer", "x y", "--task", "colours.csv"), "Missing option '--model'"),
    ],
)
def test_faults_are_one_line(here, folder, arguments, words):
    (folder / "empty").mkdir()
    code, _, err = here(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith("note:")]
    assert (code, len(lines)) == (2, 1), err
    assert words in lines[0]
    assert not (folder / "calls").exists()
    assert not (folder / "home" / "runs").exists()
