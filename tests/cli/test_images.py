"""The first minute with CLIP on the command line: evaluate a folder, learn, label images, export the matrix."""

from __future__ import annotations

import csv
import io
import json
from typing import NamedTuple

import pytest

from promptology.data.loaders import load_task

pytest.importorskip("torch")
from safetensors import safe_open
from whitebox import run_of

import promptology as pt
from promptology.cli.app import run
from promptology.methods.registry import create

TOY = ("--model", "zoo:toy-clip")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in this process, which holds torch already."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        return Done(run(arguments), *capsys.readouterr())

    return call


@pytest.fixture
def images(tmp_path):
    """Write a folder of Toyland's pictures, a class a sub-folder."""
    task = load_task("toyland:few-shot?shots=3&test=2&seed=1")
    for item in (*task.train, *task.open_test()):
        path = tmp_path / "images" / item.target.replace(" ", "_") / f"{item.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        item.inputs["image"].rgb().save(path)
    return tmp_path / "images"


def test_a_first_minute(cli, images, home, tmp_path):
    done = cli("evaluate", "--task", str(images), *TOY, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"]["accuracy"] > 0.9
    assert "note: 16 classes: " in done.stderr and "is '" in done.stderr
    assert "vectors of 32 images are kept in" in done.stderr and str(home) in done.stderr
    shared = ("--task", str(images), *TOY, "--method", "zero-shot")
    done = cli("fit", *shared, "--prompt", "a photo of a {}", "--out", "prompt")
    assert done.returncode == 0, done.stderr
    found = cli("apply", "prompt", str(images), *TOY)
    assert found.returncode == 0, found.stderr
    rows = list(csv.DictReader(io.StringIO(found.stdout)))
    assert len(rows) == 80 and {*rows[0]} == {"image", "prediction", "confidence"}
    right = [row["prediction"].replace(" ", "_") in row["image"] for row in rows]
    assert sum(right) > 70 and all(0 < float(row["confidence"]) <= 1 for row in rows)
    done = cli("export", "prompt", "--to", "features", *TOY, "--out", "f.safetensors")
    assert done.returncode == 0 and "features of 16 classes written to f.safetensors" in done.stderr
    with safe_open(tmp_path / "f.safetensors", "np") as file:
        assert file.get_tensor("features").shape == (16, 128) and len(json.loads(file.metadata()["classes"])) == 16
    table = tmp_path / "t.csv"
    table.write_text("file,n\n" + "".join(f"{row['image']},1\n" for row in rows[:3]))
    done = cli("apply", "prompt", "--input", "t.csv", "--image", "file", *TOY, "--json")
    assert [r["prediction"] for r in json.loads(done.stdout)["predictions"]] == [r["prediction"] for r in rows[:3]]


def test_a_prompt_that_adapts_to_each_image(cli, images, tmp_path):
    (tmp_path / "shades.py").write_text(
        "import numpy as np\n"
        "def darker(picture, count, seed):\n"
        "    rng = np.random.default_rng(seed)\n"
        "    return [picture.point(lambda v, a=rng.uniform(0.5, 1): int(v * a)) for _ in range(count)]\n"
        "def nothing(picture):\n"
        "    pass\n"
    )
    shared = ("--task", str(images), *TOY, "--budget", "60000passes")
    few = ("--set", "crops=2", "--set", "generated=3", "--set", "steps=1")
    done = cli("fit", *shared, "--method", "difftpt", *few, "--views", "shades:darker", "--out", "p")
    assert done.returncode == 0, done.stderr
    some = sorted(map(str, images.glob("*/*.png")))[:2]
    learned = create("difftpt", {"crops": 2, "generated": 3}).fit(
        run_of(load_task(str(images)), pt.model("zoo:toy-clip"))
    )
    learned.save(tmp_path / "q")
    views = ("--views", "shades:darker")
    done = cli("apply", "q", *some, *TOY, *views, "--json")
    assert done.returncode == 0, done.stderr
    doc = json.loads(done.stdout)
    assert doc["cost"]["passes"] == 2 * (1 + 2 + 2 * 3 + (4 * 3 + 1) * 16)
    alone = cli("apply", "q", some[1], *TOY, *views, "--json")
    assert json.loads(alone.stdout)["predictions"] == doc["predictions"][1:]
    done = cli("evaluate", "q", "--task", str(images), *TOY, *views, "--budget", "300passes", "--json")
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr
    for given, words in (
        ((), "role 'views' that makes pictures of a picture"),
        (("--views", "shades:nothing"), "nothing returned nothing and 3 are used"),
        (("--views", "shades:absent"), "has no function 'absent'"),
    ):
        done = cli("apply", "q", *some, *TOY, *given)
        assert done.returncode == 2 and words in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "--task", "images", "--model", "simulated:tickets"), "'image' holds images"),
        (
            ("evaluate", "--task", "images", "--image", "photo", *TOY),
            "no column 'photo' for --image",
        ),
        (("evaluate", "--task", "images", "--prompt", "a photo", *TOY), "holds {label}"),
        (("evaluate", "--task", "toyland:bse", *TOY), "did you mean 'toyland:base'"),
        (("fit", "--task", "images", "--method", "spo", *TOY), "generates"),
    ],
)
def test_faults(cli, images, tmp_path, arguments, words):
    done = cli(*arguments)
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr


def test_applying_to_what_is_no_image(cli, images, tmp_path):
    done = cli("fit", "--task", "images", "--method", "zero-shot", *TOY, "--out", "p")
    assert done.returncode == 0, done.stderr
    (tmp_path / "broken.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for given, words in (
        (("nowhere.png",), "does not exist"),
        (("broken.png",), "broken.png: this image cannot be read"),
        (("empty",), "empty holds no images"),
        ((), "apply needs images or --input FILE"),
    ):
        done = cli("apply", "p", *given, *TOY)
        assert done.returncode == 2 and words in done.stderr.splitlines()[-1], done.stderr
    done = cli("export", "p", "--to", "features")
    assert done.returncode == 2 and "--model MODEL --out FILE" in done.stderr
