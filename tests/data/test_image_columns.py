"""Images in tables: paths beside a CSV or JSONL, bytes in Parquet, features of the `datasets` library, Python rows."""

from __future__ import annotations

import csv
import json
import pickle

import datasets
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
from pictures import pixels, write

from promptology.data.images import Image
from promptology.data.items import ClassLabel, Field, Signature
from promptology.data.loaders import load_task
from promptology.data.task import Task
from promptology.errors import UsageError

N = 12


def one_line(words, source, **settings):
    with pytest.raises(UsageError) as caught:
        load_task(source, **settings)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def table(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    return [write(tmp_path / "pics" / f"{n}.png", n) for n in range(N)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_paths_are_relative_to_the_table(tmp_path, files, suffix, monkeypatch):
    rows = [{"file": f"pics/{n}.png", "kind": "ab"[n % 2]} for n in range(N)]
    monkeypatch.chdir("/")
    path = table(tmp_path / f"t{suffix}", rows)
    task = load_task(path, image="file", label="kind")
    assert task.signature.fields == (Field("file", "image"),) and task.signature.class_names == ("a", "b")
    first = 2 if suffix == ".csv" else 1
    assert {i.inputs["file"] for i in (*task.train, *task.validation, *task.test)} == {Image(f) for f in files}
    one_line(
        [f"{path.name} line {first}", "does not exist"],
        table(path, [{"file": "no.png", "kind": "a"}]),
        image="file",
        label="kind",
    )
    one_line(
        [f"line {first}", "'file' is empty"], table(path, [{"file": " ", "kind": "a"}]), image="file", label="kind"
    )
    one_line(["no column 'pic' for --image", "file, kind"], path, image="pic", label="kind")
    one_line(["both --text and --image"], path, text="file", image="file", label="kind")


def test_text_beside_an_image(tmp_path, files):
    rows = [{"file": str(files[n]), "said": f"t{n}", "kind": "ab"[n % 2]} for n in range(N)]
    task = load_task(table(tmp_path / "t.csv", rows), image="file", text="said", label="kind")
    assert [(f.name, f.kind) for f in task.signature.fields] == [("file", "image"), ("said", "text")]
    assert Signature.from_json(task.signature.to_json()) == task.signature


@pytest.mark.parametrize("form", ["bytes", "hub"])
def test_parquet_with_bytes(tmp_path, files, form):
    held = [f.read_bytes() for f in files]
    cells = held if form == "bytes" else [{"bytes": b, "path": f"{n}.png"} for n, b in enumerate(held)]
    pyarrow.parquet.write_table(pa.table({"picture": cells, "label": ["a", "b"] * 6}), tmp_path / "p.parquet")
    task = load_task(tmp_path / "p.parquet")
    assert task.notes[0] == "columns guessed: image=picture, label=label"
    items = [*task.train, *task.validation, *task.test]
    assert {i.inputs["picture"] for i in items} == {Image(f) for f in files}
    assert all("p.parquet row" in i.inputs["picture"].name for i in items)
    assert load_task(tmp_path / "p.parquet", image="picture", label="label").fingerprint() == task.fingerprint()


def test_an_image_feature_of_datasets_is_read_when_it_is_looked_at(tmp_path, files, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    data = {"image": [str(f) for f in files], "label": [0, 1] * 6}
    datasets.Dataset.from_dict(data, features=features).save_to_disk(tmp_path / "d")
    task = load_task(f"hf:{tmp_path / 'd'}")
    items = [*task.train, *task.validation, *task.test]
    assert task.signature.fields == (Field("image", "image"),) and {i.target for i in task.train} == {"a", "b"}
    assert {i.inputs["image"] for i in items} == {Image(f) for f in files}
    assert np.asarray(items[0].inputs["image"].rgb()).shape == (40, 30, 3)
    fresh = pickle.loads(pickle.dumps(items[0].inputs["image"]))
    assert fresh == items[0].inputs["image"] and fresh.name == items[0].inputs["image"].name
    datasets.Dataset.from_dict(
        {"pic": data["image"]}, features=datasets.Features({"pic": datasets.Image()})
    ).save_to_disk(tmp_path / "bare")
    bare = load_task(f"hf:{tmp_path / 'bare'}", label="")
    assert bare.signature.images == ("pic",) and len(bare.unlabeled) + len(bare.test) == N


def test_rows_in_python(files):
    pairs = [(PIL.Image.fromarray(pixels(n)), "ab"[n % 2]) for n in range(N)]
    arrays = [({"image": pixels(n)}, "ab"[n % 2]) for n in range(N)]
    for rows in (pairs, [(pixels(n), "ab"[n % 2]) for n in range(N)]):
        task = load_task(rows)
        assert task.signature.fields == (Field("image", "image"),) and task.signature.output == "class"
    task = Task(arrays, classes=["a", "b"])
    assert task.signature.images == ("image",) and isinstance(task.train[0].inputs["image"], Image)
    told = Signature((Field("image", "image"),), "class", (ClassLabel("a"), ClassLabel("b")))
    paths = Task([({"image": str(f)}, "ab"[n % 2]) for n, f in enumerate(files)], signature=told)
    assert {i.inputs["image"] for i in paths.train} <= {Image(f) for f in files}
    with pytest.raises(UsageError, match=r"train item 'train-0'.*does not exist"):
        Task([({"image": "nowhere.png"}, "a")], [], [], signature=told)
