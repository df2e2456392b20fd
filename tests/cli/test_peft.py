"""PEFT folders on the command line: wherever a prompt folder is taken, and out again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from promptology.prompts import SiteTensors, Text, load, save

pytest.importorskip("torch")
import tiny

CONFIG = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4, "token_dim": 32}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny.tiny_gpt2(tmp_path / "model", n_positions=64)  # it never ends by itself: answers fill the context
    for name, seed in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(CONFIG))
        rows = np.random.default_rng(seed).normal(size=(4, 32)).astype(np.float32)
        save_file({"prompt_embeddings": rows}, tmp_path / name / "adapter_model.safetensors")
    rows = "".join(
        f"the {thing} {n},{colour}\n" for thing, colour in (("cat", "red"), ("dog", "blue")) for n in range(6)
    )
    (tmp_path / "task.csv").write_text(f"text,label\n{rows}")
    return tmp_path


def test_apply_and_evaluate_take_a_peft_folder(cli, folder):
    said = [cli("apply", name, "--model", "hf:model", "the cat is", cwd=folder) for name in ("one", "two")]
    assert [done.returncode for done in said] == [0, 0], said[0].stderr
    assert said[0].stdout != said[1].stdout
    shared = ("evaluate", "--task", "task.csv", "--text", "text", "--label", "label", "--model", "hf:model")
    done = cli(*shared, "--split", "validation", "--prompt", "one", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["start"]["prompt"] == "[tensors] input: 4 x 32"


def test_export_writes_a_peft_folder(cli, folder):
    learned = load(folder / "one")
    save(learned.with_parts(Text("Be brief.")), folder / "mine")
    done = cli("export", "mine", "--to", "peft", "--base", "org/model", "--out", "out/adapter", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "the text of the prompt is not part of the adapter" in done.stderr
    assert sorted(path.name for path in (folder / "out" / "adapter").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert (
        json.loads((folder / "out/adapter/adapter_config.json").read_text())["base_model_name_or_path"] == "org/model"
    )
    rows = load_file(folder / "out/adapter/adapter_model.safetensors")["prompt_embeddings"]
    assert np.array_equal(rows, learned.part(SiteTensors).values)
    again = cli("export", "one", "--to", "peft", "--out", "second", "--json", cwd=folder)
    assert json.loads(again.stdout) == {"to": "peft", "folder": "second", "notes": []}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("one", "--to", "peft"), "name it: --out FOLDER"),
        (("one", "--to", "text"), "would lose what stands inside the model"),
        (("one", "--to", "peft", "--out", "two"), "not an empty folder"),
        (("one", "--to", "dspy"), "there are text, messages, peft"),
        (("model", "--to", "peft", "--out", "x"), "not a prompt folder"),
    ],
)
def test_faults_are_one_line(cli, folder, arguments, words):
    done = cli("export", *arguments, cwd=folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_adapter_of_another_model_is_one_line(cli, folder):
    doc = {**CONFIG, "token_dim": 16}
    (folder / "one" / "adapter_config.json").write_text(json.dumps(doc))
    save_file({"prompt_embeddings": np.ones((4, 16), np.float32)}, folder / "one" / "adapter_model.safetensors")
    done = cli("apply", "one", "--model", "hf:model", "the cat is", cwd=folder)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert "the prompt is 16 wide, the model's embeddings are 32" in line


def test_a_model_that_cannot_take_it_is_one_line(cli, folder):
    done = cli("apply", "one", "the cat is", cwd=folder)
    assert done.stderr.strip().endswith("apply needs --model; the prompt wants a model that is differentiable")
    remote = cli("apply", "one", "--model", "openai:m@http://127.0.0.1:9", "the cat is", cwd=folder)
    assert (done.returncode, remote.returncode) == (2, 2)
    assert "this prompt needs a model that is differentiable; " in remote.stderr
