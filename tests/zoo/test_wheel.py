"""A wheel built from the project holds the released models and the worlds' own files, and finds them once installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from promptology.zoo.folders import CARD, MODELS, sha256

ROOT = Path(__file__).resolve().parents[2]
NAME = "word-mlm"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ x }}",
}
lacks_hatchling = pytest.mark.skipif(
    find_spec("hatchling") is None, reason="hatchling, which builds wheels, is not installed"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The project as it is, with a stand-in for one model's weights, built and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "promptology", folder / "promptology", ignore=ignored)
    weights = folder / "promptology" / "zoo" / "weights" / NAME
    shutil.rmtree(weights, ignore_errors=True)
    weights.mkdir(parents=True)
    for name, data in FILES.items():
        (weights / name).write_bytes(data)
    about = {name: {"bytes": len(data), "sha256": sha256(weights / name)} for name, data in FILES.items()}
    (weights / CARD).write_text(json.dumps({"parameters": 7, "files": about}), encoding="utf-8")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder


@lacks_hatchling
def test_a_wheel_holds_every_file_of_the_package(installed):
    def files(folder):
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}

    assert files(installed / "site" / "promptology") == files(installed / "promptology")


@lacks_hatchling
def test_an_installed_wheel_finds_its_models_and_its_words(installed, tmp_path):
    def run(*arguments):
        env = {**os.environ, "PYTHONPATH": str(installed / "site")}
        command = [sys.executable, "-m", "promptology", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (model,) = [m for m in run("zoo", "list", "--json")["models"] if m["name"] == NAME]
    assert (model["origin"], model["fault"], model["bytes"]) == ("released", "", len(FILES["model.safetensors"]))
    assert model["where"] == str(installed / "site" / "promptology" / "zoo" / "weights" / NAME)
    measured = run("evaluate", "--task", "wordland:mood?train=4&test=4", "--model", "simulated:tickets", "--json")
    assert measured["task"]["name"] == "wordland:mood"


@pytest.mark.parametrize("name", MODELS)
def test_released_weights_are_what_their_card_says(name):
    from promptology.zoo.folders import RELEASED, check

    if not (RELEASED / name).is_dir():
        pytest.skip(f"no weights of {name} in this checkout; promptology zoo build {name} makes some")
    check(RELEASED / name, name)
    files = list((RELEASED / name).iterdir())
    assert sum(p.stat().st_size for p in files if p.suffix == ".safetensors") <= 8_000_000
    assert not [p.name for p in files if p.suffix in (".bin", ".pt", ".pth", ".pkl", ".py")]
    assert (RELEASED / name / "README.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
