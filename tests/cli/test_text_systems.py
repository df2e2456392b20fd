"""Networks beside a model and cloze tuning on the command line: learned, saved, measured again, applied."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("torch")
import tiny
from whitebox import WORDS, one_class

from promptology.zoo.folders import find

BUDGET = ("--budget", "20000passes")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    task = one_class(40, 20, 20)
    (tmp_path / "task").mkdir()
    splits = {"train": task.train, "validation": task.validation, "test": task.open_test()}
    for name, items in splits.items():
        with (tmp_path / "task" / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            rows.writerows([item.inputs["text"], item.target] for item in items)
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


@pytest.mark.skipif(find("word-mlm") is None, reason="zoo model word-mlm is not there")
def test_list(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    task = "wordland:season?seed=2&train=20&validation=20&test=60"
    given = ("rank=8", "rounds=1", "steps=20", "teacher_steps=20", "labelled_steps=10")
    asked = ("--model", "zoo:word-mlm", "--method", "list", *(p for setting in given for p in ("--set", setting)))
    without = cli("fit", "--task", task, *asked, *BUDGET, cwd=tmp_path)
    assert without.returncode == 2
    assert "list learns from texts without labels, and task 'wordland:season' has none" in without.stderr
    done = cli("fit", "--task", f"{task}&unlabeled=60", *asked, *BUDGET, "--out", "mine", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (arm,) = json.loads(done.stdout)["arms"]
    assert arm["score"]["value"] > 0.8
    parts = json.loads((tmp_path / "mine" / "prompt.json").read_text())["parts"]
    assert [(part["kind"], part["type"]) for part in parts] == [
        ("weights", "adapter"),
        ("weights", "full"),
        ("readout", "cloze"),
    ]
    said = cli("apply", "mine", "--model", "zoo:word-mlm", "the snow lay on the roof", "--json", cwd=tmp_path)
    assert said.returncode == 0, said.stderr


@pytest.mark.skipif(find("word-mlm") is None, reason="zoo model word-mlm is not there")
def test_a_file_without_labels_is_what_list_learns_from(cli, folder):
    (folder / "more.csv").write_text("text\n" + "".join(f"parcel {n}\n" for n in range(12)))
    given = ("rank=2", "rounds=1", "steps=3", "teacher_steps=3", "labelled_steps=0", "words=the,my,is,of")
    asked = ("--model", "zoo:word-mlm", "--method", "list", *(p for setting in given for p in ("--set", setting)))
    done = cli("fit", *SHARED, "--unlabeled", "more.csv", "--readout", "nearest-label", *asked, *BUDGET, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "unlabelled 12" in done.stderr
    assert "pseudo-labels: of round 1" in done.stderr
    missing = cli("fit", *SHARED, "--unlabeled", "no.csv", *asked, cwd=folder)
    assert missing.returncode == 2
    assert "unlabeled file no.csv does not exist" in missing.stderr


def test_class_names_that_no_mask_can_take_are_told_before_anything_is_learned(cli, folder):
    tiny.tiny_bert(folder / "model")
    asked = ("--model", "hf:model", "--method", "cloze-tuning", "--set", "words=the,my,is,of", "--set", "steps=3")
    done = cli("fit", *SHARED, *asked, *BUDGET, cwd=folder)
    assert done.returncode == 2
    assert "the label word" in done.stderr
    assert "read the model by --readout nearest-label" in done.stderr
    assert "training" not in done.stderr
