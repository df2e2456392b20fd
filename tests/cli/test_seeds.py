"""--seeds and --workers as a user types them."""

from __future__ import annotations

import json

import pytest

MODEL = """
def answer(prompt):
    question = prompt.rstrip().splitlines()[-1]
    for block in prompt.split("Input: ")[1:]:
        source, _, rest = block.partition("\\nOutput: ")
        if source.split()[0] == question.split()[0]:
            return rest.splitlines()[0]
    return "red"
"""


@pytest.fixture
def folder(tmp_path, colours_csv):
    (tmp_path / "mine.py").write_text(MODEL)
    return tmp_path


def command(name, *more):
    return (name, "--task", "colours.csv", "--model", "mine:answer", "--budget", "300calls", *more)


def test_seeds(cli, folder):
    few = ("--method", "few-shot,manual", "--set", "few-shot.shots=2", "--seeds", "2", "--seed", "3")
    done = cli(*command("compare", *few, "--json"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "[4/4] manual, seed 4" in done.stderr
    doc = json.loads(done.stdout)
    assert doc["seeds"] == [s["seed"] for s in doc["arms"][0]["seeds"]] == [3, 4]
    table = cli(*command("compare", *few), cwd=folder)
    assert "seeds 3, 4" in table.stdout
    assert "note: manual: seeds 3, 4: the search returned the start" in table.stdout
    planned = cli(*command("compare", *few, "--dry-run"), cwd=folder)
    assert "each of the seeds 3, 4" in planned.stdout
    assert json.loads(cli(*command("compare", *few, "--dry-run", "--json"), cwd=folder).stdout)["seeds"] == [3, 4]
    runs = json.loads(cli("runs", "--json", cwd=folder).stdout)["runs"]
    again = cli("resume", runs[0]["run"], "--json", cwd=folder)
    assert json.loads(again.stdout)["seeds"] == [3, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "--method", "manual", "--seeds", "0"), ["seeds", "1 to"]),
        (("compare", "--method", "manual", "--seeds", "0,x"), ["seeds '0,x'", "how many (3)"]),
        (("compare", "--method", "manual", "--seeds", "1,1"), ["twice"]),
        (("compare", "--method", "manual", "--workers", "rays"), ["--workers 'rays'", "ray:N"]),
        (("compare", "--method", "manual", "--workers", "ray:0"), ["--workers 'ray:0'", "ray:N"]),
        (("compare", "--method", "manual", "--workers", "eight"), ["--workers 'eight'", "ray:N"]),
        (("fit", "--method", "manual", "--workers", "ray"), ["fit is one run", "compare"]),
        (("evaluate", "--workers", "ray:2"), ["evaluate is one run", "compare"]),
    ],
)
def test_bad_seeds_and_workers_are_one_line(cli, folder, arguments, words):
    done = cli(*command(*arguments), cwd=folder)
    assert done.returncode == 2, done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines[0]
