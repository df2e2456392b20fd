"""Prompts of numbers on the command line: planned, learned, measured, used, compared, shown."""

from __future__ import annotations

import csv
import json
import re

import pytest
import separable
import torch

from promptology.cli.app import run


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def table(tmp_path):
    """Write the separable task as a CSV file."""
    path = tmp_path / "d.csv"
    whole = separable.task()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for item in (*whole.train, *whole.validation, *whole.open_test()):
            writer.writerow([next(iter(item.inputs.values())), item.target])
    return path


@pytest.fixture
def command(table, capsys):
    """Return a function that runs a command on that task in this process; it gives standard output."""

    def call(name, kind, *more, code=0):
        given = [name, "--task", table, "--text", "text", "--label", "label", "--model", f"hf:{separable.folder(kind)}"]
        assert run([*map(str, given), *map(str, more)]) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return call


METHODS = ("prompt-tuning", "prefix-tuning", "p-tuning", "dept")
LEARN = ("--set", "steps=6", "--set", "length=4", "--set", "checks=2", "--set", "batch=4")


@pytest.mark.parametrize("kind", ["gpt2", "encoder"])
def test_dept_is_planned_learned_measured_and_used(kind, command, tmp_path, capsys):
    (plan,) = json.loads(command("fit", kind, "--method", "dept", *LEARN, "--dry-run", "--json"))["plans"]
    fitted = json.loads(command("fit", kind, "--method", "dept", *LEARN, "--out", tmp_path / "found", "--json"))
    (arm,) = fitted["arms"]
    assert arm["learning"]["passes"] == plan["learning"]["passes"]
    measured = json.loads(command("evaluate", kind, "--prompt", tmp_path / "found", "--json"))
    assert measured["start"]["score"]["value"] == arm["score"]["value"]
    prompt, model = str(tmp_path / "found"), f"hf:{separable.folder(kind)}"
    assert run(["apply", prompt, "the red lamp was good", "--model", model]) == 0
    assert capsys.readouterr().out.strip() in separable.task().signature.class_names


def test_methods_are_compared(command):
    each = [part for m in METHODS for pair in LEARN[1::2] for part in ("--set", f"{m}.{pair}")]
    shown = command("compare", "gpt2", "--method", ",".join(METHODS), *each)
    assert all(re.search(rf"^{m} +\d\.\d", shown, re.M) for m in METHODS)


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("prefix-tuning", ["[tensors] key_value[0, 1]: 2 x 4 x 4 x 8"]),
        ("dept", ["[tensors] input: 4 x 32", "[module] input: offsets A 128 x 7, B 7 x 32"]),
    ],
)
def test_the_page_shows_shapes(method, lines, tmp_path):
    result = separable.fit("gpt2", method, on=separable.without_validation())
    page = result.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(line in page for line in lines)


def test_what_cannot_be_is_one_line(command):
    said = command("fit", "gpt2", "--method", "dept", "--set", "rank=-1", code=2)
    assert said.splitlines()[-1].startswith("promptology: rank is -1")
    said = command("fit", "gpt2", "--method", "prompt-tuning", "--set", "length=400", code=2)
    assert "400 learned ones" in said.splitlines()[-1]
