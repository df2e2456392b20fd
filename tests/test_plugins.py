"""A package that adds a method and a kind of model, installed for real; and one that cannot be imported."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile

import pytest

import promptology as pt
from promptology.errors import UsageError
from promptology.methods.registry import catalogue, method

METHODS = '''
from dataclasses import dataclass, replace

import promptology as pt


@pt.method("house-search", family="search", learns="text", needs={"model": pt.Generates})
@dataclass(frozen=True)
class HouseSearch:
    """Put one of the house's endings behind the start."""

    endings: int = 2
    """Endings tried."""

    def fit(self, run):
        from promptology.search.scoring import score, selection_items

        tried = [run.start.with_instruction(f"{run.start.instruction} Ending {n}.") for n in range(self.endings)]
        best = tried[score(run, tried, selection_items(run)).order[0]]
        run.keep(best)
        return replace(best, method="house-search")
'''
MODELS = """
import promptology as pt

COLOURS = {"rose": "red", "grass": "green", "sky": "blue"}


class House:
    local = simulated = False

    def __init__(self, mood, workers):
        self.mood, self.workers = mood, workers
        self.name = f"house-{mood}"
        self.identity = f"house:{mood}"

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            text = request.messages[-1][1]
            word = text.split("\\n\\n")[-1].split()[0] if text.split() else ""
            right = COLOURS.get(word, "red")
            answer = right if self.mood == "good" or "Ending 1" in text else "red"
            for mark in request.stop:
                answer = answer.split(mark)[0]
            yield n, pt.Answer(answer, len(text) // 4, 1, False)


def open(rest, workers=1):
    if rest == "ill":
        raise RuntimeError("the house is closed")
    return 7 if rest == "odd" else House(rest, workers)
"""


def wheel(folder, name, files, entry_points):
    """Write a wheel as a build backend would."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for at, text in files.items():
            archive.writestr(at, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{at},,\n" for at in [*files, f"{info}/RECORD"]))
    return path


def install(path, target):
    if importlib.util.find_spec("pip") is None:  # what an installer does with a pure wheel
        zipfile.ZipFile(path).extractall(target)
        return
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", target, path]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Return a folder into which the package was installed."""
    folder = tmp_path_factory.mktemp("house")
    files = {"house_prompts/__init__.py": "", "house_prompts/methods.py": METHODS, "house_prompts/models.py": MODELS}
    points = "[promptology.methods]\nhouse-search = house_prompts.methods\n"
    points += "[promptology.models]\nhouse = house_prompts.models:open\n"
    install(wheel(folder, "house_prompts", files, points), folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def ruin(tmp_path_factory):
    """Return a folder with a package whose modules cannot be imported, and that takes a name that is taken."""
    folder = tmp_path_factory.mktemp("ruin")
    files = {
        "ruin/__init__.py": "",
        "ruin/methods.py": "import a_module_that_is_not_there\n",
        "ruin/taken.py": METHODS.replace("house-search", "spo"),
    }
    points = "[promptology.methods]\nruin-search = ruin.methods\nspo = ruin.taken\n"
    points += "[promptology.models]\nruin = ruin.models:open\n"
    install(wheel(folder, "ruin", files, points), folder / "site")
    return folder / "site"


@pytest.fixture
def env(house):
    return {"PYTHONPATH": ":".join([str(house), *sys.path])}


def test_the_command_line_uses_a_plug_in_as_its_own(cli, env, colours_csv, tmp_path):
    listed = cli("methods", "--json", env=env)
    assert "house-search" in {m["method"] for m in json.loads(listed.stdout)["methods"]}
    assert listed.stderr == ""
    shown = cli("methods", "house-search", env=env).stdout
    assert "--set endings=2" in shown and "Endings tried." in shown
    arguments = ["fit", "--task", colours_csv, "--model", "house:bad", "--method", "house-search", "--set", "endings=3"]
    done = cli(*arguments, "--budget", "300calls", "--workers", "3", "--out", tmp_path / "p", "--json", env=env)
    assert done.returncode == 0, done.stderr
    arm = json.loads(done.stdout)["arms"][0]
    assert arm["method"] == "house-search" and "Ending 1." in arm["prompt"] and arm["verdict"] == "better"
    applied = cli("apply", tmp_path / "p", "--model", "house:bad", "sky number 1", env=env)
    assert applied.returncode == 0 and "blue" in applied.stdout
    # An artifact of theirs is read without their package.
    assert pt.load(tmp_path / "p").instruction.endswith("Ending 1.")


def test_python_uses_it_and_it_keeps_the_contracts(env, tmp_path):
    code = """
import promptology as pt
from promptology.testing import check_method, check_model
model = pt.model("house:good", workers=2)
assert model.workers == 2
print(check_model(model))
print(check_method("house-search"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**env}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "model 'house-good': generates, identity checked"
    assert "stop not checked: it gave no answer of more than three characters" in done.stdout
    assert done.stdout.splitlines()[2].endswith("settings, access, same result, budget, resume, artifact checked")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("house:ill", "model house:ill cannot be opened: package house_prompts (house_prompts.models:open) failed"),
        ("house:odd", "model kind 'house' of package house_prompts made a int: no model"),
        ("hoose:good", 'did you mean "house:"'),
    ],
)
def test_what_goes_wrong_with_a_model_is_one_line(env, tmp_path, model, said):
    code = f"import promptology as pt\ntry: pt.model({model!r})\nexcept pt.PromptologyError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**env}, cwd=tmp_path)
    assert said in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_options_that_a_kind_does_not_take(cli, env, colours_csv):
    done = cli("evaluate", "--task", colours_csv, "--model", "house:good", "--rpm", "60", env=env)
    assert done.returncode == 2
    assert "model kind 'house' of package house_prompts does not take rpm" in done.stderr
    assert len(done.stderr.splitlines()) == 1 + done.stderr.count("note:")


def test_a_plug_in_that_cannot_be_imported_costs_one_note(cli, house, ruin, colours_csv):
    env = {"PYTHONPATH": ":".join([str(house), str(ruin), *sys.path])}
    listed = cli("methods", "--json", env=env)
    assert listed.returncode == 0
    methods = {m["method"]: m for m in json.loads(listed.stdout)["methods"]}
    assert "house-search" in methods and "ruin-search" not in methods
    assert methods["spo"]["paper"] == "arXiv:2502.06855"
    notes = listed.stderr.splitlines()
    assert len(notes) == 2 and all(n.startswith("note: method '") and "package ruin (" in n for n in notes)
    assert "a_module_that_is_not_there" in listed.stderr and "'spo' is there already" in listed.stderr
    refused = cli("evaluate", "--task", colours_csv, "--model", "ruin:x", env=env)
    assert refused.returncode == 2
    assert "model kind 'ruin' cannot be used: package ruin (ruin.models:open) failed" in refused.stderr
    code = "import promptology.methods as m; m.catalogue(); print(len(m.catalogue()))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=env)
    assert "PluginWarning: method 'ruin-search' is left out" in done.stderr


def test_a_name_is_taken_once():
    catalogue()
    with pytest.raises(UsageError, match="'spo' is there already, in promptology"):
        method("spo", family="search", learns="text", needs={"model": pt.Generates})(type("Mine", (), {}))
