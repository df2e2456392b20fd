"""Folders of images: a class a sub-folder, names made readable, splits kept, faults told in one line."""

from __future__ import annotations

import shutil
import unicodedata

import pytest
from pictures import folder, write

from promptology.data.folders import readable
from promptology.data.loaders import load_task
from promptology.errors import UsageError


def one_line(words, source, **settings):
    with pytest.raises(UsageError) as caught:
        load_task(source, **settings)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["golden_retriever", "Siamese"], ["golden retriever", "Siamese"]),
        (["AnnualCrop", "HerbaceousVegetation"], ["Annual Crop", "Herbaceous Vegetation"]),
        (["001.Black_footed_Albatross", "002.Laysan_Albatross"], ["Black footed Albatross", "Laysan Albatross"]),
        (["n02085620-Chihuahua", "n02085782-Japanese_spaniel"], ["Chihuahua", "Japanese spaniel"]),
        (["3_series", "corvette"], ["3 series", "corvette"]),  # a number that not all have belongs to the name
        (["0", "1", "10"], ["0", "1", "10"]),
        (["BMW_X5", "iPhone", "McDonald"], ["BMW X5", "iPhone", "McDonald"]),
        (["собака", "猫", "chien_blanc"], ["собака", "猫", "chien blanc"]),
        (["_", "a__b"], ["_", "a b"]),
        (["Boeing_737.800", "fire.truck"], ["Boeing 737.800", "fire truck"]),
    ],
)
def test_names(given, names):
    assert list(readable(given, "x").values()) == names


def test_names_that_collide():
    for pair in (["golden_retriever", "golden retriever"], ["Cat", "cat"], ["AnnualCrop", "annual_crop"]):
        with pytest.raises(UsageError, match="both give the class") as caught:
            readable(pair, "IMAGES")
        assert all(repr(name) in str(caught.value) for name in pair) and "IMAGES" in str(caught.value)
    decomposed = unicodedata.normalize("NFD", "café")
    assert list(readable([decomposed], "x").values()) == ["café"]
    with pytest.raises(UsageError, match="both give"):
        readable([decomposed, "café"], "x")


def test_a_folder_is_split_by_content_and_seed(tmp_path):
    root = folder(tmp_path / "pets", {"golden_retriever": 10, "tabby cat": 10})
    task = load_task(root)
    assert task.signature.class_names == ("golden retriever", "tabby cat")
    assert task.signature.images == ("image",) and task.name == "pets"
    assert [len(s) for s in (task.train, task.validation, task.test)] == [8, 4, 8]
    assert {i.target for i in task.train} == {"golden retriever", "tabby cat"}
    assert all(i.id == f"{folder_of(i)}/{i.inputs['image'].name.rpartition('/')[2]}" for i in task.train)
    assert "2 classes: golden retriever, tabby cat" in task.notes
    assert any("golden_retriever is 'golden retriever'" in note for note in task.notes)
    assert not any("guessed" in note for note in task.notes)
    assert load_task(root).fingerprint() == task.fingerprint() != load_task(root, split_seed=1).fingerprint()
    assert load_task(shutil.copytree(root, tmp_path / "copy")).fingerprint() == task.fingerprint()


def folder_of(item):
    return item.inputs["image"].name.split("/")[-2]


def test_splits_are_kept(tmp_path):
    root = tmp_path / "sets"
    for n, split in enumerate(("train", "val", "test")):
        folder(root / split, {"a_b": 2 + n, "c": 2}, 10 * n)
    write(root / "unlabeled" / "x.jpg", 99)
    task = load_task(root)
    assert [len(s) for s in (task.train, task.validation, task.test, task.unlabeled)] == [4, 5, 6, 1]
    assert task.unlabeled[0].id == "unlabeled/x.jpg" and not task.unlabeled[0].labelled
    assert task.train[0].id == "train/a_b/0.png" and task.signature.class_names == ("a b", "c")
    folder(root / "dev", {"a_b": 2, "c": 2}, 50)
    one_line(["'val'", "'dev'", "validation"], root)


def test_images_without_classes(tmp_path):
    for n in range(5):
        write(tmp_path / "flat" / f"{n}.png", n)
    task = load_task(tmp_path / "flat")
    assert (len(task.train), len(task.unlabeled), len(task.test)) == (0, 3, 2)
    root = folder(tmp_path / "pets", {"cat": 4, "dog": 4})
    more = load_task(root, unlabeled=tmp_path / "flat")
    assert len(more.unlabeled) == 5
    tested = load_task(root, test=folder(tmp_path / "others", {"cat": 1, "dog": 2}, 100))
    assert (len(tested.test), len(tested.train) + len(tested.validation)) == (3, 8)


def test_other_files_are_left_out_and_counted(tmp_path):
    root = folder(tmp_path / "pets", {"cat": 3, "dog": 3})
    (root / "cat" / "notes.txt").write_text("x")
    (root / "cat" / ".DS_Store").write_text("x")
    (root / ".cache").mkdir()
    write(root / "dog" / "deeper" / "9.JPEG", 77)
    task = load_task(root)
    assert sum(len(s) for s in (task.train, task.validation, task.test)) == 7
    assert any("1 files" in note and "no images" in note for note in task.notes)


def test_faults(tmp_path):
    one = folder(tmp_path / "one", {"cat": 3})
    one_line([str(one), "only class is 'cat'"], one)
    hole = folder(tmp_path / "hole", {"cat": 3, "dog": 0})
    one_line([str(hole / "dog"), "no images"], hole)
    (tmp_path / "void" / "cat").mkdir(parents=True)
    one_line([str(tmp_path / "void"), "no images"], tmp_path / "void")
    loose = folder(tmp_path / "loose", {"cat": 3, "dog": 3})
    write(loose / "x.png", 50)
    one_line(["x.png", "lies in no class"], loose)
    flat = tmp_path / "flat"
    write(flat / "train" / "a.png")
    write(flat / "test" / "b.png", 1)
    one_line([str(flat / "train"), "sub-folder"], flat)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_text("x")
    one_line(["empty has no train file", "a sub-folder for each class"], tmp_path / "empty")
    twice = folder(tmp_path / "twice", {"a_b": 2, "a b": 2})
    one_line([str(twice), "'a b'", "'a_b'"], twice)
    folder(tmp_path / "later" / "test", {"a": 2, "b": 2})
    one_line(["no folder 'train'", "'test'"], tmp_path / "later")
    other = folder(tmp_path / "other", {"cat": 1, "cow": 1}, 60)
    one_line(["'cow'", "not among"], folder(tmp_path / "pets", {"cat": 4, "dog": 4}), test=other)
