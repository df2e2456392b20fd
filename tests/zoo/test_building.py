"""From a recipe to a folder: whole or not at all, whatever befalls it, with a card that says what it is."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import tiny_recipe
import torch
from mounting import small_disk
from tiny_recipe import NAME, TinyBad, TinyEcho

from promptology.errors import ModelError, StoreError, UsageError
from promptology.run.locking import locked
from promptology.zoo import recipes
from promptology.zoo.folders import CARD, README, check, sha256
from promptology.zoo.recipes import building
from promptology.zoo.recipes.building import build, measured, state_of


@pytest.fixture(autouse=True)
def known(monkeypatch):
    tiny_recipe.add(monkeypatch.setitem)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        tiny_recipe.add(patch.setitem)
        folder = tmp_path_factory.mktemp("made") / NAME
        return folder, build(NAME, folder, device="cpu")


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes()


def interrupt_at(step):
    return lambda at: signal.raise_signal(signal.SIGINT) if at["step"] == step else None


def test_the_folder_opens_with_transformers_in_half_precision(made):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, card = made
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float16
    assert tokenizer.decode(tokenizer("say word7")["input_ids"]) == "say word7"
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]


def test_the_card_names_every_other_file(made):
    folder, card = made
    assert json.loads((folder / CARD).read_text(encoding="utf-8")) == card
    assert set(card["files"]) == {path.name for path in folder.iterdir()} - {CARD, README}
    assert all(about["sha256"] == sha256(folder / file) for file, about in card["files"].items())
    assert {"name", "class", "data", "recipe", "training", "ability", "bar"} <= set(card)
    assert card["class"] == "LlamaForCausalLM"
    assert card["recipe"]["steps"] == TinyEcho.steps
    assert set(card["ability"]) == {"echo", "words"} and card["bar"] == {"echo": 0.5}
    check(folder, NAME)


def test_the_readme_says_what_the_card_says(made):
    folder, card = made
    text = (folder / README).read_text(encoding="utf-8")
    assert text.startswith(f"# {NAME}\n")
    reached = "yes" if card["ability"]["echo"] >= 0.5 else "**no**"
    assert f"| echo | {card['ability']['echo']:.3f} | 0.500 | {reached} |" in text
    assert "| words | 20.000 |  |  |" in text
    assert TinyEcho.data in text and f"{card['parameters']:,} parameters" in text


def test_two_builds_are_equal_byte_by_byte(made, tmp_path):
    again = build(NAME, tmp_path / NAME, device="cpu")
    assert again["files"] == made[1]["files"]
    assert not state_of(tmp_path / NAME).exists()


def test_a_build_that_was_interrupted_goes_on_to_equal_weights(made, tmp_path):
    folder = tmp_path / NAME
    with pytest.raises(KeyboardInterrupt):
        build(NAME, folder, device="cpu", report=interrupt_at(25))
    assert not folder.exists() and state_of(folder).is_dir()
    steps = []
    card = build(NAME, folder, device="cpu", report=lambda at: steps.append(at["step"]))
    assert steps[0] > 25
    assert card["files"] == made[1]["files"]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_build_that_was_interrupted_while_measuring_does_not_train_again(made, tmp_path, monkeypatch):
    folder = tmp_path / NAME

    def stop(self, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TinyEcho, "ability", stop)
        build(NAME, folder, device="cpu")
    assert not folder.exists()
    steps = []
    card = build(NAME, folder, device="cpu", report=steps.append)
    assert steps == [] and card["files"] == made[1]["files"]


def test_an_older_folder_stands_until_the_new_one_is_whole(tmp_path):
    folder = tmp_path / NAME
    build(NAME, folder, device="cpu")
    before = weights_of(folder)
    with pytest.raises(KeyboardInterrupt):
        build(NAME, folder, device="cpu", report=interrupt_at(25), rate=0.02)
    assert weights_of(folder) == before
    build(NAME, folder, device="cpu", rate=0.02)
    assert weights_of(folder) != before
    check(folder, NAME)


def test_a_replacement_that_was_killed_half_way_is_undone(tmp_path):
    folder = tmp_path / NAME
    build(NAME, folder, device="cpu")
    before = weights_of(folder)
    state_of(folder).mkdir()
    os.replace(folder, state_of(folder) / "old")
    with pytest.raises(KeyboardInterrupt):
        build(NAME, folder, device="cpu", report=interrupt_at(25))
    assert weights_of(folder) == before


def test_a_loss_that_is_not_finite_leaves_nothing(tmp_path, monkeypatch):
    tiny_recipe.add(monkeypatch.setitem, TinyBad)
    with pytest.raises(ModelError, match="not finite"):
        build(NAME, tmp_path / NAME, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_second_build_at_the_same_place_is_one_line(tmp_path):
    folder = tmp_path / NAME
    # A lock of one process does not keep itself out through another open file on every system: flock does.
    with locked(state_of(folder) / "lock", UsageError("")), pytest.raises(UsageError, match="another process"):
        build(NAME, folder, device="cpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"stepz": 3}, "no field 'stepz'"), ({"steps": "many"}, "steps takes values such as"), ({"steps": 2.5}, "steps")],
)
def test_a_change_that_does_not_fit_the_recipe_is_one_line(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        build(NAME, tmp_path / NAME, device="cpu", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_list_becomes_a_tuple_and_a_whole_number_a_rate():
    recipe = building.changed(TinyEcho(), {"betas": [0.8, 0.9], "rate": 1})
    assert recipe.betas == (0.8, 0.9) and recipe.rate == 1.0


def test_an_unknown_name_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'tiny-echo'"):
        build("tiny-ecko", tmp_path / "x")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import nowhere", 'needs nowhere: pip install "promptology[local]"'),
        ("import promptology.nowhere", "cannot be imported: No module named 'promptology.nowhere'"),
        ("from promptology.errors import Nothing", "cannot be imported: cannot import name 'Nothing'"),
    ],
)
def test_a_recipe_that_cannot_be_imported_says_what_is_missing(tmp_path, monkeypatch, line, says):
    (tmp_path / "broken.py").write_text(line + "\n")
    monkeypatch.setattr(recipes, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "promptology.zoo.recipes.broken", raising=False)
    monkeypatch.setitem(recipes.WHERE, NAME, "broken:Nothing")
    with pytest.raises(UsageError) as raised:
        recipes.recipe(NAME)
    assert says in str(raised.value)


def test_abilities_are_measured_later(made, tmp_path):
    folder = tmp_path / NAME
    card = build(NAME, folder, device="cpu", measure=False)
    assert card["ability"] == {} and "Not measured yet" in (folder / README).read_text(encoding="utf-8")
    after = measured(folder, card, {"echo": 0.25})
    assert after["files"] == card["files"] == made[1]["files"]
    assert json.loads((folder / CARD).read_text(encoding="utf-8"))["ability"] == {"echo": 0.25}
    assert "| echo | 0.250 | 0.500 | **no** |" in (folder / README).read_text(encoding="utf-8")


def fill(folder):
    with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("when", ["state", "folder"])
def test_a_full_disk_is_one_line_and_the_build_goes_on_when_there_is_room(made, tmp_path, monkeypatch, when):
    with small_disk(tmp_path / "small", "1m") as disk:
        folder = disk / NAME
        with monkeypatch.context() as patch:
            if when == "folder":  # at the moment when the trained model is to be written
                save = building.save
                patch.setattr(building, "save", lambda *given: (fill(disk), save(*given)))
                report = None
            else:
                patch.setattr(building, "Course", lambda *a, **k: tiny_course(*a, every=0.0, **k))
                report = lambda at: fill(disk) if at["step"] == 50 else None  # noqa: E731
            with pytest.raises(StoreError) as raised:
                build(NAME, folder, device="cpu", report=report)
        line = str(raised.value)
        assert "No space left" in line and "free some space" in line and "\n" not in line
        assert not folder.exists()
        assert not [path for path in disk.rglob("*") if path.suffix == ".part"]
        (disk / "rest").unlink()
        steps = []
        card = build(NAME, folder, device="cpu", report=lambda at: steps.append(at["step"]))
        assert card["files"] == made[1]["files"]
        assert steps == ([] if when == "folder" else [50, 60])


def tiny_course(*given, **options):
    from promptology.zoo.recipes.course import Course

    return Course(*given, **options)


def test_a_file_system_that_refuses_is_one_line(tmp_path, monkeypatch):
    def refuse(*given):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "x"))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match="Read-only"):
        build(NAME, tmp_path / NAME, device="cpu")
