"""Kind memory: saved, loaded in a fresh process, refused where it was altered."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from promptology.data.items import Signature
from promptology.errors import ArtifactError, UsageError
from promptology.prompts import Learned, Memory, Note, Readout, Text, load, save

NOTES = (
    Note("r1", "a letter", "short <b>words</b>", "Dear", "Hi", 1),
    Note("r2", "a poem", "", "Oh", "Oh", 0),
    Note("r3", "a note", "short <b>words</b>", "So", "Hi", 1),
)
VECTORS = np.eye(3, 4, dtype=np.float32)


def remembering():
    memory = Memory(NOTES, VECTORS, "some encoder", ("British spelling",))
    parts = (memory, Text("Write."), Readout("recall", {"k": 2}))
    return Learned(parts, Signature(), {"model": "generates", "encoder": "embeds"}, "cipher")


def test_it_is_shown_as_text():
    lines = remembering().as_text().splitlines()
    assert lines[:3] == ["[always] British spelling", "[preference, 2 cases] short <b>words</b>", "Write."]


def test_it_loads_in_a_fresh_process(tmp_path):
    learned = remembering()
    save(learned, tmp_path / "prompt")
    assert load(tmp_path / "prompt").same_as(learned)
    code = (
        "import sys, promptology as pt; from promptology.prompts import Memory; "
        "m = pt.load(sys.argv[1]).part(Memory); "
        "print(len(m.notes), m.notes[0].preference, m.vectors.shape, m.pinned, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "prompt"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "3 short <b>words</b> (3, 4) ('British spelling',) False"


def test_an_empty_memory_has_no_tensors(tmp_path):
    learned = Learned((Memory(pinned=("x",)), Readout("recall")), Signature())
    assert not (save(learned, tmp_path / "prompt") / "tensors.safetensors").exists()
    assert load(tmp_path / "prompt").same_as(learned)


def test_cases_and_vectors_belong_together(tmp_path):
    for vectors in (None, VECTORS[:2], VECTORS[0]):
        with pytest.raises(ArtifactError, match=r"3 cases and vectors of shape .*one row per case"):
            Memory(NOTES, vectors)
    folder = save(remembering(), tmp_path / "prompt")
    doc = json.loads((folder / "prompt.json").read_text())
    del doc["parts"][0]["notes"][0]["context"]
    (folder / "prompt.json").write_text(json.dumps(doc))
    with pytest.raises(ArtifactError, match="not a saved prompt"):
        load(folder)


def test_it_is_not_exported_as_one_text():
    with pytest.raises(UsageError, match=r"composed anew for each input from 3 cases"):
        remembering().export("text")
