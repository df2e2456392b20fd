"""zoo:NAME as a model: what hf: gives for its folder, under a name and an identity that do not depend on the place."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_recipe
from tiny_recipe import NAME

import promptology
import promptology as pt
from promptology.errors import UsageError
from promptology.zoo.folders import MODELS, own
from promptology.zoo.recipes.building import build


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.add(patch.setitem)
        folder = tmp_path_factory.mktemp("built") / NAME
        build(NAME, folder, device="cpu")
    return folder


@pytest.fixture(autouse=True)
def known(monkeypatch):
    tiny_recipe.add(monkeypatch.setitem)


def test_it_is_the_model_of_its_folder(built):
    shutil.copytree(built, own(NAME))
    model, other = pt.model(f"zoo:{NAME}", device="cpu"), pt.model(f"hf:{built}", device="cpu")
    assert type(model) is type(other) and model.name == f"zoo:{NAME}"
    asked = (["say word7", "say word3"], [["word7", "word8"], ["word7", "word3"]])
    assert model.score(*asked) == other.score(*asked)


def test_its_identity_is_that_of_its_files_wherever_they_lie(built, tmp_path, monkeypatch):
    identities = []
    for home in ("one", "two"):
        monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / home))
        shutil.copytree(built, own(NAME), copy_function=shutil.copyfile)
        identities.append(pt.model(f"zoo:{NAME}", device="cpu", dtype="float32").identity)
    assert identities[0] == identities[1]
    assert pt.model(f"zoo:{NAME}", device="cpu", dtype="bfloat16").identity != identities[0]


def test_it_is_found_again_where_the_package_lies_elsewhere(built, tmp_path, monkeypatch):
    """What travels to another machine is the name."""
    shutil.copytree(built, own(NAME))
    sent = pickle.dumps(pt.model(f"zoo:{NAME}", device="cpu"))
    expected = pt.model(f"zoo:{NAME}").identity
    shutil.rmtree(own(NAME))
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / "elsewhere"))
    shutil.copytree(built, own(NAME))
    model = pickle.loads(sent)
    assert (model.name, model.identity) == (f"zoo:{NAME}", expected)
    assert model.score(["say word7"], [["word7"]])


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        (f"zoo:{NAME}", {}, f"promptology zoo build {NAME}"),
        ("zoo:tiny-ecko", {}, "did you mean 'tiny-echo'"),
        (f"zoo:{NAME}", {"rpm": 3}, "does not take rpm"),
        ("zoo:", {}, "unknown model 'zoo:'"),
        ("zoe:x", {}, 'did you mean "zoo:"'),
    ],
)
def test_what_cannot_be_opened_is_one_line(source, options, says):
    with pytest.raises(UsageError) as raised:
        pt.model(source, **options)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_nothing_but_the_zoo_and_fixtures_of_claims_knows_a_name_of_it():
    package = Path(promptology.__file__).parent
    apart = (
        package / "zoo",
        package / "claims" / "methods",
        package / "claims" / "vision.py",
        package / "cli" / "zoo.py",
    )
    for path in package.rglob("*.py"):
        if not any(path.is_relative_to(place) for place in apart):
            text = path.read_text(encoding="utf-8")
            assert not [name for name in MODELS if name in text], path
