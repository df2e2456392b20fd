"""Methods that train inside a model, on the command line: learned, saved, measured again, applied."""

from __future__ import annotations

import csv
import json

import pytest

pytest.importorskip("torch")
import tiny
from whitebox import WORDS, many_classes, one_class

BUDGET = ("--budget", "20000passes")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name, task in (("one", one_class(40, 20, 20)), ("many", many_classes(40, 20, 20))):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            for item in (*task.train, *task.validation, *task.open_test()):
                target = item.target if isinstance(item.target, str) else ";".join(item.target)
                rows.writerow([item.inputs["text"], target])
    return tmp_path


def asked(task):
    kind = ("--output", "classes") if task == "many" else ()
    return ("--task", f"{task}.csv", "--text", "text", "--label", "label", *kind, "--json")


@pytest.mark.parametrize(
    ("method", "task", "settings"),
    [
        ("linear-probe", "many", ()),
        ("ptec", "many", ("steps=60", "head_rate=0.05", "rate=0.01", "length=4", "thresholds=true")),
        ("lora", "one", ("steps=60", "rate=0.02", "head_rate=0.02", "rank=4")),
        ("full-tuning", "one", ("steps=40", "rate=0.002", "head_rate=0.02")),
    ],
)
def test_fit_evaluate_apply(cli, folder, method, task, settings):
    tiny.tiny_bert(folder / "model", head=False)
    given = [part for setting in settings for part in ("--set", setting)]
    shared = (*asked(task), "--model", "hf:model")
    done = cli("fit", *shared, "--method", method, *given, *BUDGET, "--out", "mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    (arm,) = json.loads(done.stdout)["arms"]
    again = cli("evaluate", *shared, "--prompt", "mine", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["start"]["score"]["value"] == pytest.approx(arm["score"]["value"])
    said = cli("apply", "mine", "--model", "hf:model", "the parcel order", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert any(name in said.stdout for name in WORDS)


def test_answers_held_to_labels(cli, folder):
    tiny.tiny_llama(folder / "model")
    given = ("--method", "prompt-tuning", "--set", "trie=true", "--set", "steps=20", "--set", "rate=0.1")
    shared = (*asked("many"), "--model", "hf:model", "--max-tokens", "12")
    done = cli("fit", *shared, *given, *BUDGET, "--out", "mine", cwd=folder)
    assert done.returncode == 0, done.stderr
    said = cli("apply", "mine", "--model", "hf:model", "the parcel", "a refund", "--json", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert any(name in said.stdout for name in WORDS)


def test_a_model_that_only_embeds_is_refused_what_it_lacks(cli, folder):
    (folder / "bag.py").write_text(
        "import numpy as np\ndef embed(texts):\n    return np.array([[len(t), 1.0] for t in texts], np.float32)\n"
    )
    done = cli("fit", *asked("one"), "--model", "bag:embed", "--method", "lora", *BUDGET, cwd=folder)
    assert done.returncode == 2
    assert "method 'lora' needs a model that is differentiable" in done.stderr
