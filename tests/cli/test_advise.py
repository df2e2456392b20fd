"""The command `advise`: a table with reasons, JSON, faults, hostile names."""

from __future__ import annotations

import json

import pytest

from promptology.cli.app import run

pytestmark = pytest.mark.usefixtures("own_methods")


def test_the_table_names_sources_and_says_the_default_budget(capsys):
    assert run(["advise", "--task", "tickets", "--model", "simulated:features"]) == 0
    shown = capsys.readouterr()
    assert "note: no --budget given; using 1000calls" in shown.err
    assert "budget  1000calls (default)" in shown.out
    assert "[card of spo]" in shown.out and "[plan of spo at its defaults]" in shown.out
    (row,) = (line for line in shown.out.splitlines() if line.split()[1:2] == ["spo"])
    assert "75 calls" in row and "all" in row
    assert "knn-demos, template-search: needs a model that embeds as 'model'" in shown.out


def test_json_is_the_document_of_the_call(capsys):
    import promptology as pt

    assert run(["advise", "--task", "tickets", "--model", "simulated:features", "--budget", "300calls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pt.advise("tickets", "simulated:features", budget="300calls")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "nosuch", "--model", "minilm"), "unknown task 'nosuch'"),
        (("--task", "tickets", "--model", "nosuch"), "unknown model 'nosuch'"),
        (("--task", "tickets", "--model", "simulated:features", "--budget", "x"), "budget"),
        (("--task", "tickets", "--model", "simulated:features", "--workers", "ray"), "advise is one run"),
    ],
)
def test_faults_are_one_line(capsys, arguments, said):
    assert run(["advise", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1] and lines[-1].startswith("promptology: ")


def test_no_method_fits_is_one_line(capsys, tmp_path):
    (tmp_path / "inputs.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    code = run(
        ["advise", "--task", str(tmp_path / "inputs.jsonl"), "--text", "text", "--label", "", "--model", "minilm"]
    )
    assert code == 2
    assert "no method that learns fits" in capsys.readouterr().err.strip().splitlines()[-1]


def test_hostile_names_are_shown_and_never_obeyed(capsys, tmp_path):
    rows = "".join(json.dumps({"text": f"t {n}", "label": "ab"[n % 2]}) + "\n" for n in range(40))
    path = tmp_path / "evil\u202e\u001b[31m.jsonl"
    path.write_text(rows, encoding="utf-8")
    assert (
        run(["advise", "--task", str(path), "--text", "text", "--label", "label", "--model", "simulated:features"]) == 0
    )
    shown = capsys.readouterr()
    assert "\u001b" not in shown.out + shown.err and "\u202e" not in shown.out + shown.err
