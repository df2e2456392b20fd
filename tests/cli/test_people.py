"""A memory from the command line: learned with an encoder, applied with it, refused in one line without."""

from __future__ import annotations

import json

import pytest

from promptology.feedback.people import StyleWorld
from promptology.models.simulated.styles import written

pytest.importorskip("torch", reason="the encoder of this test is MiniLM")


def test_edited_texts_become_a_memory_that_is_applied(tmp_path, cli):
    world = StyleWorld(3)
    rows = tmp_path / "letters.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for item in world.items(40):
            text = item.inputs["text"]
            file.write(json.dumps({"text": text, "label": written(text, world.wanted(text))}) + "\n")
    prompt, model = str(tmp_path / "prompt"), "simulated:styles?seed=1"
    fit = ["fit", "--task", str(rows), "--label", "label", "--model", model, "--method", "cipher"]
    fit += ["--metric", "edit_cost", "--budget", "300calls"]
    done = cli(*fit)
    assert done.returncode == 2 and "needs a model that embeds as 'encoder'" in done.stderr
    done = cli(*fit, "--encoder", "minilm", "--out", prompt)
    assert done.returncode == 0, done.stderr
    assert "edit_cost" in done.stdout and "better" in done.stdout
    done = cli("apply", prompt, "--model", model, "--encoder", "minilm", "some notes")
    assert done.returncode == 0 and "some notes" in done.stdout.casefold()
