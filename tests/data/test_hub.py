"""Data sets by the `datasets` library: its folders for real, and names that cannot be reached, told at once."""

from __future__ import annotations

import time

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from promptology.data.hub import split_name
from promptology.data.loaders import load_task
from promptology.errors import UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def data(n=20, hidden=False):
    features = {
        "text": Value("string"),
        "label": ClassLabel(names=["no", "yes"]),
        "tags": Sequence(ClassLabel(names=["red", "blue"])),
    }
    rows = {
        "text": [f"t{i}" for i in range(n)],
        "label": [-1 if hidden else i % 2 for i in range(n)],
        "tags": [[[0], [1, 0], []][i % 3] for i in range(n)],
    }
    return Dataset.from_dict(rows, features=Features(features))


def one_line(words, source, **settings):
    with pytest.raises(UsageError) as caught:
        load_task(source, **settings)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_a_folder_of_save_to_disk(tmp_path, prefix, capfd):
    DatasetDict({"train": data(), "val": data(6), "test": data(8), "extra": data(3)}).save_to_disk(tmp_path / "d")
    capfd.readouterr()
    task = load_task(f"{prefix}{tmp_path / 'd'}", text="text", label="label")
    assert [len(s) for s in (task.train, task.validation, task.test)] == [20, 6, 8]
    assert (task.name, task.signature.class_names) == ("d", ("no", "yes"))
    assert {i.target for i in task.train} == {"no", "yes"}
    assert any("'extra' is left out" in note for note in task.notes)
    tags = load_task(f"{prefix}{tmp_path / 'd'}", text="text", label="tags")
    assert (tags.signature.output, tags.signature.class_names) == ("classes", ("blue", "red"))
    assert capfd.readouterr() == ("", "")
    ids = [i.id for split in (task.train, task.validation, task.test) for i in split]
    assert len(set(ids)) == len(ids)


def test_one_split_is_drawn_from_and_hidden_labels_are_left_out(tmp_path):
    data().save_to_disk(tmp_path / "one")
    task = load_task(tmp_path / "one", text="text", label="label")
    assert [len(s) for s in (task.train, task.validation, task.test)] == [8, 4, 8]
    DatasetDict({"eval": data()}).save_to_disk(tmp_path / "named")
    task = load_task(tmp_path / "named", text="text", label="label")
    assert len(task.train) == 8
    assert any("one split, 'eval'" in note for note in task.notes)
    DatasetDict({"train": data(), "test": data(5, hidden=True)}).save_to_disk(tmp_path / "hidden")
    task = load_task(tmp_path / "hidden", text="text", label="label")
    assert [len(s) for s in (task.train, task.validation, task.test)] == [8, 4, 8]
    assert any("'test' has no labels" in note for note in task.notes)
    DatasetDict({"dev": data(), "valid": data()}).save_to_disk(tmp_path / "both")
    one_line(["'dev'", "'valid'", "both validation"], tmp_path / "both", text="text", label="label")
    DatasetDict({"dev": data(), "test": data()}).save_to_disk(tmp_path / "lacks")
    one_line(["no split 'train'", "dev, test"], tmp_path / "lacks", text="text", label="label")


def test_a_folder_that_load_dataset_reads(tmp_path):
    folder = tmp_path / "published"
    (folder / "data").mkdir(parents=True)
    data().to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    data(9).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    for source in (folder, f"hf:{folder}"):
        task = load_task(source, text="text", label="label")
        assert [len(s) for s in (task.train, task.validation, task.test)] == [13, 7, 9]
        assert task.signature.class_names == ("no", "yes")
    (folder / "train.csv").write_text("text,label\na,x\nb,y\nc,x\nd,y\n")
    assert load_task(folder).signature.class_names == ("x", "y"), "a folder with a train file is read as one"
    other = tmp_path / "plain"
    other.mkdir()
    (other / "train.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n' * 4)
    assert load_task(f"hf:{other}").signature.class_names == ("x", "y")
    one_line(["plain:none", "cannot be loaded"], f"hf:{other}:none")
    (tmp_path / "bare").mkdir()
    one_line(["bare", "cannot be loaded"], f"hf:{tmp_path / 'bare'}")


def test_what_cannot_be_reached_is_told_at_once(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    began = time.monotonic()
    one_line(["hf:nobody-here/nothing-at-all", "cannot be reached"], "hf:nobody-here/nothing-at-all")
    one_line(["hf:nothing-at-all:small", "cannot be reached"], "hf:nothing-at-all:small")
    assert time.monotonic() - began < 5
    assert not datasets.config.HF_HUB_OFFLINE
    one_line(["hf: names no data set"], "hf:")
    one_line(["hf:./nowhere", "does not exist"], "hf:./nowhere")


@pytest.mark.parametrize(
    ("source", "name", "config"),
    [
        ("hf:imdb", "imdb", None),
        ("hf:org/name", "org/name", None),
        ("hf:org/name/config", "org/name", "config"),
        ("hf:org/name:config", "org/name", "config"),
        ("hf:glue:sst2", "glue", "sst2"),
    ],
)
def test_names(source, name, config):
    assert split_name(source) == (name, config)
