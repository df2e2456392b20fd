"""What the commands print and refuse about noise, luck, copies, length and openings."""

from __future__ import annotations

import importlib
import json

import pytest

import promptology as pt

MODEL = """
THINGS = {"rose": "red", "grass": "green", "sky": "blue"}
count = [0]

def answer(prompt):
    question = prompt.rstrip().splitlines()[-1]
    count[0] += 1
    if "thing" not in prompt or count[0] % 10 == 0:
        return "red"
    return next((c for t, c in THINGS.items() if t in question), "red")

def optimizer(prompt):
    count[0] += 1
    return f"<prompt>Look at the thing ({count[0]}), then name its colour.</prompt>"
"""


@pytest.fixture
def folder(tmp_path, colours_csv):
    (tmp_path / "mine.py").write_text(MODEL)
    return tmp_path


FIT = (
    "fit",
    "--task",
    "colours.csv",
    "--model",
    "mine:answer",
    "--optimizer",
    "mine:optimizer",
    "--budget",
    "400calls",
)
SEARCH = ("--method", "random-search", "--set", "shots=0", "--set", "candidates=4")


def test_fit_prints_noise_and_luck(cli, folder):
    done = cli(*FIT, *SEARCH, "--noise-floor", 12, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "note: noise floor: asked again, " in done.stdout
    assert "of 12 items scored differently" in done.stdout
    assert "note: search's best " in done.stdout
    assert "on 12 items, best of 5: " in done.stdout
    assert "--noise-floor 20" not in done.stdout
    doc = json.loads(cli(*FIT, *SEARCH, "--noise-floor", 12, "--json", cwd=folder).stdout)
    guards = doc["arms"][0]["guards"]
    assert list(guards) == ["noise", "selection", "leak", "length"]
    assert guards["noise"]["items"] == 12
    assert guards["selection"]["candidates"] == 5
    assert guards["length"]["exact"] is False


def test_where_it_is_not_measured_a_note_says_how(cli, folder):
    said = "note: noise floor not measured; --noise-floor 20 asks the prompt a second time on 20 items"
    evaluate = ("evaluate", "--task", "colours.csv", "--model", "mine:answer", "--prompt", "thing")
    assert said in cli(*evaluate, cwd=folder).stdout
    done = cli(*evaluate, "--noise-floor", 5, cwd=folder)
    assert "note: noise floor: asked again, " in done.stdout
    assert said not in done.stdout
    compared = ("compare", *FIT[1:], "--method", "manual,random-search", "--set", "random-search.shots=0", "--seeds", 2)
    printed = cli(*compared, cwd=folder).stdout
    assert printed.count(said) == 1
    assert "note: random-search: seed 0: search's best " in printed
    local = ("compare", "--task", "tickets", "--model", "minilm", "--method", "manual")
    assert "note: manual: noise floor zero by construction" in cli(*local, "--noise-floor", 5, cwd=folder).stdout


def test_a_longest_prompt(cli, folder):
    done = cli(*FIT, *SEARCH, "--max-prompt-tokens", 10, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("max_prompt_tokens is 10; shorten it or allow more")
    assert "Traceback" not in done.stderr
    dry = cli(*FIT, *SEARCH, "--noise-floor", 12, "--dry-run", cwd=folder)
    plain = cli(*FIT, *SEARCH, "--dry-run", cwd=folder)
    assert (dry.returncode, plain.returncode) == (0, 0)
    assert "at most 84 calls" in dry.stdout
    assert "at most 72 calls" in plain.stdout
    wrong = cli(*FIT, "--noise-floor", -1, cwd=folder)
    assert wrong.returncode == 2
    assert "noise_floor is -1; give a whole number, 0 turns it off" in wrong.stderr


def test_openings_are_said_once(cli, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    model = pt.model(importlib.import_module("mine").answer)
    for n in range(5):
        pt.evaluate(folder / "colours.csv", model, f"wording {n}")
    said = "this test split has been opened by"
    evaluate = ("evaluate", "--task", "colours.csv", "--model", "mine:answer", "--prompt", "wording 5")
    printed = cli(*evaluate, cwd=folder).stdout
    assert "test openings    6: prompts chosen by this figure" in printed
    assert said not in printed
    assert cli(*FIT, *SEARCH, cwd=folder).stdout.count(f"{said} 7 runs: treat small differences with care") == 1
