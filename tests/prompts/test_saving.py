from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from promptology.data.items import ClassLabel, Field, Signature
from promptology.errors import ArtifactError, UsageError
from promptology.prompts import Demonstrations, Example, Learned, Readout, Text, load, save
from promptology.prompts.saving import is_prompt_folder

SIGNATURE = Signature((Field("text"),), "class", (ClassLabel("spam"), ClassLabel("ham")))


def sample():
    shown = Demonstrations((Example({"text": "a"}, "spam"),), np.ones((1, 3), np.float32), "encoder:x")
    return Learned((Text("Do ünïcode."), shown, Readout("answer", {"k": 3})), SIGNATURE, method="spo", meta={"a": 1})


def test_round_trip(tmp_path):
    learned = sample()
    folder = save(learned, tmp_path / "p")
    again = load(folder)
    assert again.same_as(learned)
    assert again.to_json() == learned.to_json()
    assert sorted(os.listdir(folder)) == ["prompt.json", "tensors.safetensors"]
    assert not again.same_as(learned.with_instruction("Other."))


def test_a_prompt_folder_is_replaced_and_anything_else_is_not(tmp_path):
    save(sample(), tmp_path / "p")
    save(sample().with_instruction("Second."), tmp_path / "p")
    assert load(tmp_path / "p").instruction == "Second."
    assert os.listdir(tmp_path) == ["p"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(UsageError, match="not a prompt folder"):
        save(sample(), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"


def change(folder, **values):
    path = folder / "prompt.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_tampered_file_is_refused(tmp_path):
    folder = save(sample(), tmp_path / "p")
    data = bytearray((folder / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "tensors.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match="altered"):
        load(folder)


def test_a_truncated_file_with_a_matching_hash_is_refused(tmp_path):
    import hashlib

    folder = save(sample(), tmp_path / "p")
    (folder / "tensors.safetensors").write_bytes(b"\xff" * 40)
    change(
        folder,
        tensors={"file": "tensors.safetensors", "sha256": hashlib.sha256(b"\xff" * 40).hexdigest()},
    )
    with pytest.raises(ArtifactError, match="not a readable safetensors"):
        load(folder)


@pytest.mark.parametrize("file", ["../outside.safetensors", "link.safetensors"])
def test_nothing_outside_the_folder_is_read(tmp_path, file):
    folder = save(sample(), tmp_path / "p")
    (tmp_path / "outside.safetensors").write_bytes(b"x")
    (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    change(folder, tensors={"file": file, "sha256": ""})
    with pytest.raises(ArtifactError, match="outside the prompt folder"):
        load(folder)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"parts": [{"kind": "pickle"}]}, "unknown kind"),
        ({"parts": [{"kind": "text"}]}, "not a saved prompt"),
        ({"parts": 7}, "not a saved prompt"),
        ({"tensors": {"file": "weights.bin", "sha256": ""}}, "only .safetensors"),
        ({"tensors": {"file": "gone.safetensors", "sha256": ""}}, "missing"),
        ({"tensors": []}, "names no file"),
    ],
)
def test_faulty_folders_give_one_line(tmp_path, values, words):
    folder = save(sample(), tmp_path / "p")
    change(folder, **values)
    with pytest.raises(ArtifactError, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    with pytest.raises(ArtifactError, match="not a prompt folder"):
        load(tmp_path)


def test_a_fresh_process_applies_it_without_the_class_of_the_method(tmp_path):
    folder = save(Learned((Text("spam or ham?"), Readout("answer")), SIGNATURE, method="spo"), tmp_path / "p")
    code = (
        "import sys, promptology as pt\n"
        "print(pt.load(sys.argv[1]).bind(pt.model(lambda p: 'ham')).predict(['x']).outputs)\n"
        "assert not any(m.startswith('promptology.methods.search.') for m in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['ham']"


def test_what_a_prompt_folder_is(tmp_path):
    assert is_prompt_folder(save(sample(), tmp_path / "p"))
    assert not any(map(is_prompt_folder, (tmp_path, tmp_path / "gone", "", "a long prompt " * 500, "with a \0 in it")))
