"""Networks beside a model and cloze tuning on the command line: learned, saved, measured again, applied."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("torch")
import tiny
from whitebox import WORDS, one_class

BUDGET = ("--budget", "20000passes")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    task, spare = one_class(40, 20, 20), one_class(30, 0, 0, seed=9)
    (tmp_path / "task").mkdir()
    splits = {"train": task.train, "validation": task.validation, "test": task.open_test()}
    for name, items in splits.items():
        with (tmp_path / "task" / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            rows.writerows([item.inputs["text"], item.target] for item in items)
    with (tmp_path / "unlabeled.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([item.inputs["text"]] for item in spare.train)])
    return tmp_path


SHARED = ("--task", "task", "--text", "text", "--label", "label", "--json")


def fitted(cli, folder, *asked):
    """Fit, measure what was saved again, and apply it; return the arm."""
    done = cli("fit", *SHARED, *asked, *BUDGET, "--out", "mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    (arm,) = json.loads(done.stdout)["arms"]
    model = asked[asked.index("--model") + 1]
    again = cli("evaluate", *SHARED, "--prompt", "mine", "--model", model, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["start"]["score"]["value"] == pytest.approx(arm["score"]["value"])
    said = cli("apply", "mine", "--model", model, "the parcel order", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert any(name in said.stdout for name in WORDS)
    return arm


def test_crosstune(cli, folder):
    tiny.tiny_bert(folder / "model", head=False)
    settings = ("--set", "heads=4", "--set", "labels=names", "--set", "epochs=20", "--set", "rate=0.003")
    fitted(cli, folder, "--model", "hf:model", "--method", "crosstune", *settings)
    parts = json.loads((folder / "mine" / "prompt.json").read_text())["parts"]
    assert [part["kind"] for part in parts] == ["network", "readout"]


def test_list(cli, folder):
    tiny.tiny_bert(folder / "model")
    given = ("words=parcel,slow,invoice,card", "rank=2", "rounds=1", "steps=4", "teacher_steps=2", "labelled_steps=2")
    asked = ("--model", "hf:model", "--method", "list", "--readout", "nearest-label")
    asked = (*asked, *(part for setting in given for part in ("--set", setting)))
    without = cli("fit", *SHARED, *asked, *BUDGET, cwd=folder)
    assert without.returncode == 2
    assert "list learns from texts without labels, and task 'task' has none" in without.stderr
    (folder / "unlabeled.csv").rename(folder / "task" / "unlabeled.csv")
    fitted(cli, folder, *asked)
    parts = json.loads((folder / "mine" / "prompt.json").read_text())["parts"]
    assert [(part["kind"], part["type"]) for part in parts] == [
        ("weights", "adapter"),
        ("weights", "full"),
        ("readout", "cloze"),
    ]
