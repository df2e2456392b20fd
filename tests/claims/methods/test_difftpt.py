"""The fixture of DiffTPT's claims, shrunken: images, failures of a generator, what is equal. Verdicts are measured."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import numpy as np
import pytest
import torch

from promptology.claims.measuring import measurements
from promptology.claims.methods import difftpt
from promptology.prompts.procedures import Procedure
from promptology.zoo.toyland.lists import KNOWN


class Once:
    """A bench that has chosen a style, and remembers the rest."""

    def __init__(self):
        self.made = {"style": "inverted"}

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


@pytest.fixture
def small(monkeypatch):
    """One image of each of six classes."""
    torch.set_num_threads(1)
    monkeypatch.setattr(difftpt, "EACH", 1)
    whole = difftpt.kinds_of
    monkeypatch.setattr(difftpt, "kinds_of", lambda seed: whole(seed)[:6])


def test_the_fixture_is_the_entry_s():
    for seed in range(3):
        kinds = difftpt.kinds_of(seed)
        assert len({kind.name for kind in kinds}) == 30 and 30 * difftpt.EACH == 300
        assert all(kind.shape < KNOWN and kind.colour < KNOWN for kind in kinds)
    text = (files("promptology.claims") / "announced" / "vision.toml").read_text(encoding="utf-8")
    mine = [entry for entry in tomllib.loads(text)["claim"] if entry["method"] == "difftpt"]
    assert {entry["id"] for entry in mine} <= {*measurements()}
    assert {arm for entry in mine for arm in entry["arms"]} == {"difftpt", "tpt_4", "tpt", "zero", "unfiltered"}


def test_arms_have_equal_views_and_steps():
    def of(arm):
        method = difftpt.method_of(arm)
        return getattr(method, "views", 0) or 1 + method.crops + method.generated, method.steps, method.rate

    assert {of(arm) for arm in ("difftpt", "unfiltered", "tpt_4")} == {(32, 4, 0.005)} and of("tpt") == (32, 1, 0.005)
    kept = []
    for arm in ("difftpt", "unfiltered"):
        method = difftpt.method_of(arm)
        names = ("crops", "generated", "faithful", "confident")
        watching = difftpt.Watching(**{name: getattr(method, name) for name in names})
        drawn = torch.Generator().manual_seed(0)
        kept.append(len(watching.kept(torch.randn(32, 30, generator=drawn), torch.randn(32, 4, generator=drawn))))
        assert len(watching.noted) == 1 and all(0 <= n < 15 for n in watching.noted[0])
    assert kept == [8, 8]


def test_three_in_ten_generated_pictures_show_another_class(small):
    items = difftpt.task_of(0, "night", 2).open_test()
    renderer = difftpt.Renderer(0, items)
    picture = items[1].inputs["image"].rgb()
    made = renderer.vary(picture, 200, 7)
    right = renderer.faithful[picture.tobytes()]
    assert 0.6 < np.mean(right) < 0.8 and len({one.tobytes() for one in made}) == 200
    again = renderer.vary(picture, 200, 7)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(made, again, strict=True))


def test_arms_are_measured(small):
    bench = Once()
    found = {arm: difftpt.shifted(arm, 0, bench) for arm in ("zero", "tpt_4", "difftpt", "unfiltered")}
    assert all(0 <= values["accuracy"] <= 1 for values in found.values())
    assert {arm for arm, values in found.items() if "precision" in values} == {"difftpt", "unfiltered"}
    assert all(0 < found[arm]["precision"] <= 1 for arm in ("difftpt", "unfiltered"))
    part = difftpt.method_of("difftpt").fit(run_on_toy()).part(Procedure)
    assert part.options["flip"] == 0.0 and part.options["similarity"] == "image"


def run_on_toy():
    """A run of the fixture's model."""
    from promptology.claims.fixtures import zoo_model
    from promptology.claims.measuring import run_of

    return run_of(difftpt.task_of(0, "night", 2), {"model": zoo_model(difftpt.MODEL)}, 0)
