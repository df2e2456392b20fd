"""A policy from the command line: it learns to write hints, is saved with its weights, and is needed to apply them."""

from __future__ import annotations

import csv

import pytest
from tiny import tiny_t5

from promptology.data.loaders import load_task
from promptology.data.parcels import PARCEL
from promptology.models.simulated.parcels import PARCELS

pytest.importorskip("torch", reason="a policy runs in this process")
RULES = {f.name: f.sentences[0] for f in PARCELS["chain"].features}


def test_a_policy_learns_hints_that_a_column_brings(tmp_path, cli):
    rows = tmp_path / "parcels.csv"
    with rows.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["text", "label", "hint"])
        for item in load_task("simulated:chain?train=40").train:
            text = item.inputs["text"]
            out.writerow([text, item.target, RULES[PARCEL.search(text)[2]]])
    prompt, policy = str(tmp_path / "prompt"), f"hf:{tiny_t5(tmp_path / 'policy')}"
    fit = ["fit", "--task", str(rows), "--text", "text", "--label", "label", "--model", "simulated:chain"]
    fit += ["--method", "dsp", "--budget", "300calls", "--out", prompt]
    for setting in ("imitation_epochs=1", "iterations=1", "texts=8", "epochs=1", "samples=1", "max_tokens=8"):
        fit += ["--set", setting]
    done = cli(*fit)
    assert done.returncode == 2 and "needs a model that is trainable as 'policy'" in done.stderr
    done = cli(*fit, "--policy", policy)
    assert done.returncode == 0, done.stderr
    assert "hints to imitate" in done.stdout + done.stderr and "accuracy" in done.stdout
    one = ["apply", prompt, "--model", "simulated:chain", "Parcel 1234 is marked frozen."]
    done = cli(*one)
    assert done.returncode == 2 and "needs a model in the role 'policy' that is trainable" in done.stderr
    done = cli(*one, "--policy", policy)
    assert done.returncode == 0 and done.stdout.strip() in ("north", "east", "south", "west")
    done = cli("export", prompt, "--to", "text")
    assert done.returncode == 2 and "would lose what the policy writes" in done.stderr
