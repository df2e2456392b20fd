"""Every command once, as a user types it."""

from __future__ import annotations

import csv
import json

import pytest
from counting import counting

from promptology.models.simulated import SimulatedChat

MODEL = """
COLOURS = {"rose": "red", "grass": "green", "sky": "blue"}

def answer(prompt):
    question = prompt.rstrip().splitlines()[-1]
    if "thing" not in prompt:
        return "red"
    return next((c for t, c in COLOURS.items() if t in question), "red")

def optimizer(prompt):
    return "<prompt>Look at the thing, then name its colour.</prompt>"

def score(prediction, target):
    return 0.5 if prediction == target else 0.0
"""
COMMANDS = (
    *("apply", "compare", "evaluate", "export", "fit"),
    *("methods", "report", "resume", "runs", "simulate"),
)


@pytest.fixture
def folder(tmp_path, colours_csv):
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "prompt.txt").write_text("Name the colour.\n")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(cli, command):
    done = cli(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"promptology {command}" in done.stdout


def test_evaluate(cli, folder):
    arguments = ("evaluate", "--task", "colours.csv", "--model", "mine:answer", "--prompt", "prompt.txt")
    done = cli(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert "95 % interval" in done.stdout
    assert "parse rate" in done.stdout
    assert "columns guessed: text=text, label=label" in done.stderr
    doc = json.loads(cli(*arguments, "--json", cwd=folder).stdout)
    assert doc["start"]["score"]["value"] == pytest.approx(1 / 3, abs=0.01)
    assert doc["charged"]["calls"] == doc["task"]["sizes"]["test"] == 24
    assert doc["paid"]["calls"] == 0
    validation = json.loads(cli(*arguments, "--json", "--split", "validation", cwd=folder).stdout)
    assert validation["start"]["score"]["n"] == 12
    custom = json.loads(cli(*arguments, "--json", "--metric", "mine:score", cwd=folder).stdout)
    assert custom["metrics"] == {"score": pytest.approx(1 / 6, abs=0.01)}
    f1 = json.loads(cli(*arguments, "--json", "--metric", "macro-f1", cwd=folder).stdout)
    assert f1["metrics"]["macro_f1"] == pytest.approx(1 / 6, abs=0.01)
    text = json.loads(cli(*arguments, "--json", "--output", "text", cwd=folder).stdout)
    assert text["task"]["classes"] == []
    limited = json.loads(cli(*arguments, "--json", "--budget", "7calls", "--cache", "off", cwd=folder).stdout)
    assert limited["start"]["score"]["n"] == limited["charged"]["calls"] == 7


def test_fit_apply_export_report_runs(cli, folder):
    done = cli(
        *("fit", "--task", "colours.csv", "--model", "mine:answer", "--optimizer", "mine:optimizer"),
        *("--method", "random-search", "--set", "candidates=2", "--set", "shots=0"),
        *("--prompt", "prompt.txt", "--budget", "300calls", "--out", "best"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "better" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert (folder / "best" / "prompt.json").is_file()
    (folder / "new.csv").write_text('text,owner\n"the sky, wide",ann\nrose,bob\n')
    applied = cli(
        *("apply", "best", "--model", "mine:answer", "--input", "new.csv", "--out", "labelled.csv"), cwd=folder
    )
    assert applied.returncode == 0, applied.stderr
    with (folder / "labelled.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"text": "the sky, wide", "owner": "ann", "prediction": "blue"},
        {"text": "rose", "owner": "bob", "prediction": "red"},
    ]
    assert cli("apply", "best", "--model", "mine:answer", "grass", "sky", cwd=folder).stdout == "green\nblue\n"
    exported = json.loads(cli("export", "best", "--to", "messages", cwd=folder).stdout)
    assert "Look at the thing" in exported[0]["content"]
    assert "{text}" in exported[0]["content"]
    assert "Look at the thing" in cli("export", "best", cwd=folder).stdout
    (run,) = json.loads(cli("runs", "--json", cwd=folder).stdout)["runs"]
    assert (run["status"], run["method"], run["task"]) == ("done", "random-search", "colours")
    assert run["run"] in cli("runs", cwd=folder).stdout
    assert "accuracy" in cli("runs", run["run"][:6], cwd=folder).stdout
    report = cli("report", run["run"][:6], "--out", "report.html", cwd=folder)
    assert report.stdout.strip() == "report.html"
    assert "Look at the thing" in (folder / "report.html").read_text()


def test_compare(cli, folder):
    done = cli(
        *("compare", "--task", "colours.csv", "--model", "mine:answer", "--optimizer", "mine:optimizer"),
        *("--method", "manual", "--method", "random-search", "--set", "random-search.shots=0"),
        *("--prompt", "Name the colour.", "--budget", "300calls", "--json", "--out", "r.html"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    doc = json.loads(done.stdout)
    assert [(a["method"], a["verdict"]) for a in doc["arms"]] == [("manual", "start"), ("random-search", "better")]
    assert (folder / "r.html").read_text().startswith("<!doctype html>")
    refused = cli(
        *("compare", "--task", "colours.csv", "--model", "mine:answer", "--method", "manual", "--set", "shots=0"),
        cwd=folder,
    )
    assert (refused.returncode, "METHOD.FIELD" in refused.stderr) == (2, True)


def test_dry_run_calls_nothing(cli, folder):
    with counting() as server:
        arguments = ("fit", "--task", "colours.csv", "--model", f"openai:m@{server.url}", "--method", "spo")
        plan = json.loads(cli(*arguments, "--dry-run", "--json", cwd=folder).stdout)["plans"][0]
        assert "75 calls" in cli(*arguments, "--dry-run", cwd=folder).stdout
        assert server.by_model.total() == 0
    assert plan["learning"]["calls"] == 75
    assert json.loads(cli("runs", "--json", cwd=folder).stdout)["runs"] == []


def test_plan_matches_the_ledger(cli, folder):
    for method, extra in (("spo", ()), ("random-search", ("--set", "candidates=4"))):
        with counting(chat=SimulatedChat("features")) as server:
            arguments = (
                "fit",
                "--task",
                "colours.csv",
                "--model",
                f"openai:m@{server.url}",
                "--method",
                method,
                *extra,
            )
            plan = json.loads(cli(*arguments, "--budget", "5000calls", "--dry-run", "--json", cwd=folder).stdout)
            done = json.loads(cli(*arguments, "--budget", "5000calls", "--json", cwd=folder).stdout)
        predicted, used = plan["plans"][0]["learning"]["calls"], done["arms"][0]["learning"]["calls"]
        assert used == pytest.approx(predicted, rel=0.15)


def test_one_and_eight_workers_give_the_same_result(cli, folder):
    documents = []
    for workers in ("1", "8"):
        with counting(chat=SimulatedChat("features"), latency=0.002) as server:
            done = cli(
                *("fit", "--task", "colours.csv", "--model", f"openai:m@{server.url}", "--method", "spo"),
                *("--budget", "120calls", "--workers", workers, "--cache", "off", "--json"),
                cwd=folder,
            )
        assert done.returncode == 0, done.stderr
        arm = json.loads(done.stdout)["arms"][0]
        documents.append({k: arm[k] for k in ("prompt", "score", "difference", "p", "verdict", "learning", "history")})
    assert documents[0] == documents[1]


def test_several_columns_and_given_test_file(cli, tmp_path):
    (tmp_path / "mine.py").write_text("def answer(prompt):\n    return 'yes' if 'claim: it is' in prompt else 'no'\n")
    rows = [
        f"fact {n},{'it is' if n % 2 else 'it is not'.replace('is', 'was')},{'yes' if n % 2 else 'no'}"
        for n in range(20)
    ]
    (tmp_path / "train.tsv").write_text("premise\tclaim\tgold\n" + "\n".join(r.replace(",", "\t") for r in rows) + "\n")
    (tmp_path / "held.jsonl").write_text(
        "\n".join(json.dumps({"premise": "p", "claim": "it is", "gold": "yes"}) for _ in range(5)) + "\n"
    )
    done = cli(
        *("evaluate", "--task", "train.tsv", "--text", "premise,claim", "--label", "gold"),
        *("--test", "held.jsonl", "--model", "mine:answer", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["start"]["score"] | {"low": 0} == {
        **{"value": 1.0, "low": 0, "high": 1.0, "n": 5, "missing": 0, "parse_rate": 1.0}
    }


def test_simulate_and_labelling(cli, serve, folder):
    with serve("--latency", "0", "--world", "features") as server:
        done = cli(
            *("fit", "--task", "colours.csv", "--model", f"openai:m@{server.url}", "--method", "manual"),
            *("--budget", "50calls"),
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        assert "(simulated)" in done.stdout
        assert server.stats()["requests"] > 0
        port = server.url.rpartition(":")[2].removesuffix("/v1")
        taken = cli("simulate", "--port", port)
    assert taken.returncode == 2
    assert f":{port}" in taken.stderr
    assert taken.stderr.count("\n") == 1
