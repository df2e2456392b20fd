"""Where an embedded model lies and whether it is whole: every fault is one line that says what to do."""

from __future__ import annotations

import json
import os

import pytest

from promptology.errors import UsageError
from promptology.zoo import folders
from promptology.zoo.folders import CARD, MODELS, find, locate, mark, own, sha256
from promptology.zoo.recipes import WHERE

FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"weights" * 100}


def put(folder, files=FILES):
    """Write a model folder of these files, with its card."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    about = {name: {"bytes": len(data), "sha256": sha256(folder / name)} for name, data in files.items()}
    (folder / CARD).write_text(json.dumps({"name": folder.name, "files": about}), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def released(tmp_path, monkeypatch):
    """A package without weights, until a test puts some there."""
    monkeypatch.setattr(folders, "RELEASED", tmp_path / "released")
    return tmp_path / "released"


def fault(name="word-mlm"):
    with pytest.raises(UsageError) as raised:
        locate(name)
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_every_recipe_is_a_model_and_every_model_has_a_recipe():
    assert list(MODELS) == sorted(WHERE) == list(WHERE)


def test_an_unknown_name_is_told_the_nearest():
    assert "unknown zoo model 'word-mml': did you mean 'word-mlm'?" in fault("word-mml")
    assert "did you mean" not in fault("qqq") and ", ".join(MODELS) in fault("qqq")


def test_a_model_that_is_not_there_says_what_builds_it():
    assert fault() == "zoo model 'word-mlm' is not there; build it with `promptology zoo build word-mlm`"


def test_the_released_one_comes_first(released, home):
    mine = put(own("word-mlm"))
    assert mine == home / "zoo" / "word-mlm"
    assert locate("word-mlm") == mine
    theirs = put(released / "word-mlm")
    assert locate("word-mlm") == theirs


@pytest.mark.parametrize("where", ["released", "own"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "model.safetensors is missing"),
        (lambda path: os.truncate(path, 300), "model.safetensors has 300 bytes and should have 700"),
        (lambda path: path.write_bytes(b"weighty" * 100), "model.safetensors is not the file of its card"),
        (lambda path: (path.parent / CARD).unlink(), "card.json is missing"),
        (lambda path: (path.parent / CARD).write_text("{"), "card.json cannot be read"),
        (lambda path: (path.parent / CARD).write_text('{"files": {"x": 1}}'), "card.json cannot be read"),
        (lambda path: (path.parent / CARD).write_text('["files"]'), "card.json cannot be read"),
    ],
    ids=["missing", "cut", "changed", "no card", "half a card", "other card", "list"],
)
def test_a_folder_that_is_not_whole_is_one_line(released, where, damage, says):
    folder = put(released / "word-mlm" if where == "released" else own("word-mlm"))
    damage(folder / "model.safetensors")
    line = fault()
    assert says in line and str(folder) in line
    assert ("reinstall promptology" in line) is (where == "released")
    assert ("promptology zoo build word-mlm --again" in line) is (where == "own")


def test_a_file_that_changes_after_it_was_checked_is_seen():
    path = put(own("word-mlm")) / "model.safetensors"
    locate("word-mlm")
    stat = path.stat()
    path.write_bytes(b"weighty" * 100)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert "sha256 differs" in fault()


def test_checksums_are_computed_once(monkeypatch):
    put(own("word-mlm"))
    locate("word-mlm")
    monkeypatch.setattr(folders, "sha256", lambda path: pytest.fail("computed again"))
    locate("word-mlm")


def test_other_files_in_the_folder_do_not_matter():
    (put(own("word-mlm")) / "notes.txt").write_text("mine")
    assert locate("word-mlm") == own("word-mlm")


def test_the_mark_is_of_the_files_and_not_of_the_place(released):
    mine = put(own("word-mlm"))
    first = mark("word-mlm")
    theirs = put(released / "word-mlm")
    os.utime(theirs / "model.safetensors", (1, 1))
    assert find("word-mlm") == theirs and mark("word-mlm") == first
    put(released / "word-t5", {**FILES, "model.safetensors": b"others!" * 100})
    assert mark("word-t5") != first
    assert mine.is_dir()
