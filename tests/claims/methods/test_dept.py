"""The fixtures of DePT's claims, shrunken: sizes, limits, what is equal. Verdicts are not tested, they are measured."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from promptology.claims.fixtures import best_of, learned_by, zoo_model
from promptology.claims.measuring import measurements
from promptology.claims.methods import dept
from promptology.prompts.render import messages, with_cue
from promptology.prompts.sites import SiteModule, SiteTensors
from promptology.zoo.wordland.kind import for_evaluation


class Once:
    """A bench that remembers choices."""

    def __init__(self):
        self.made = {}

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


@pytest.fixture
def small(monkeypatch):
    """Few items and steps."""
    monkeypatch.setattr(dept, "SIZES", {"train": 16, "validation": 8, "test": 12})
    monkeypatch.setattr(dept, "COURSE", {"batch": 8, "steps": 2, "checks": 0})


def test_the_fixture_is_the_entry_s():
    assert [k.name for k in dept.KINDS] == ["habitat", "mood"]
    assert dept.SIZES == {"train": 256, "validation": 200, "test": 500}
    assert dept.COURSE == {"batch": 8, "steps": 200, "checks": 0}
    assert all(len(grid) == 4 for grid in dept.GRIDS.values())


def test_both_entries_measure_the_same_arm_in_the_same_way():
    known = measurements()
    assert known["dept-quality"].measure is known["dept-offsets"].measure
    text = (files("promptology.claims") / "announced" / "soft.toml").read_text(encoding="utf-8")
    entries = {e["id"]: e for e in tomllib.loads(text)["claim"]}
    for key in ("fixture", "metric"):
        assert entries["dept-quality"][key] == entries["dept-offsets"][key]
    assert entries["dept-quality"]["arms"]["dept"] == entries["dept-offsets"]["arms"]["dept"]


def test_items_are_for_evaluation_and_short_and_seeds_draw_others(monkeypatch):
    monkeypatch.setattr(dept, "SIZES", {"train": 30, "validation": 10, "test": 20})
    kind, body = dept.KINDS[1], zoo_model("word-t5").frozen()
    task = dept.task_of(kind, 1)
    items = [*task.train, *task.validation, *task.open_test()]
    assert [len(s) for s in (task.train, task.validation, task.test)] == [30, 10, 20]
    assert all(for_evaluation(i.inputs["text"]) for i in items)
    assert len({i.inputs["text"] for i in items}) == 60
    assert task.signature.instruction == kind.wordings[0]
    assert dept.task_of(kind, 1).fingerprint() == task.fingerprint() != dept.task_of(kind, 2).fingerprint()

    def tokens(items):
        _, run = learned_by(dept.method_of("start", {}), task, zoo_model("word-t5"), 0)
        asked = [with_cue(messages(run.start, i.inputs, task.signature), "\n\nAnswer:") for i in items]
        return [len(body.encode(a)) for a in asked]

    assert max(tokens(items)) <= 48
    long = {"text": "so " * 60}
    some = replace(
        kind,
        make=lambda rng, target: replace(e := kind.make(rng, target), inputs=e.inputs if rng.random() < 0.5 else long),
    )
    assert max(tokens(dept.task_of(some, 1).train)) <= 48


def test_arms_have_equal_parameters_and_the_same_first_rows():
    body = zoo_model("word-t5").frozen()
    d, task = body.dimension, dept.task_of(dept.KINDS[0], 3)
    start = {}
    for arm in ("dept", "pt", "frozen"):
        method = replace(dept.method_of(arm, dept.GRIDS[arm][0]), steps=0)
        learned, _ = learned_by(method, task, zoo_model("word-t5"), 3)
        assert learned.readout.type == "label-likelihood"
        prompt = learned.part(SiteTensors)
        assert prompt.site == "encoder.input"
        start[arm] = prompt.values
        if arm != "pt":
            offsets = learned.part(SiteModule)
            r = 24 * d // (48 + d)
            assert [offsets.arrays[name].shape for name in "AB"] == [(48, r), (r, d)]
            total = prompt.values.size + offsets.arrays["A"].size + offsets.arrays["B"].size
            assert total <= 40 * d < total + 48 + d
    assert start["pt"].shape == (40, d)
    np.testing.assert_array_equal(start["pt"][:16], start["dept"])
    np.testing.assert_array_equal(start["frozen"], start["dept"])


def test_without_a_rate_the_offsets_stay_zero(small):
    method = dept.method_of("frozen", dept.GRIDS["frozen"][3])
    learned, run = learned_by(method, dept.task_of(dept.KINDS[0], 0), zoo_model("word-t5"), 0)
    assert not learned.part(SiteModule).arrays["B"].any()
    assert run.meter.charged.passes == 3 * 2 * 8


def test_the_rates_are_chosen_once_on_seed_0_of_the_first_kind(small, monkeypatch):
    asked = []

    def scored(arm, setting, kind, seed, split):
        asked.append((arm, setting, kind.name, seed, split))
        return float(setting.get("rate", 0) == 0.01)

    monkeypatch.setattr(dept, "accuracy_of", scored)
    bench = Once()
    assert dept.accuracy("pt", 2, bench) == dept.accuracy("pt", 3, bench) == {"accuracy": 1.0}
    assert dept.accuracy("start", 2, bench) == {"accuracy": 0.0}
    assert bench.made == {"rates of pt": {"rate": 0.01}}
    assert asked[:4] == [("pt", s, "habitat", 0, "validation") for s in dept.GRIDS["pt"]]
    chosen = {"rate": 0.01}
    assert asked[4:6] == [("pt", chosen, "habitat", 2, "test"), ("pt", chosen, "mood", 2, "test")]
    assert best_of([{"a": 1}, {"a": 2}], lambda s: 0.0) == {"a": 1}


def test_every_arm_is_measured(small):
    bench = Once()
    bench.made = {f"rates of {arm}": grid[0] for arm, grid in dept.GRIDS.items()}
    for arm in ("dept", "pt", "frozen", "start"):
        assert 0.0 <= dept.accuracy(arm, 0, bench)["accuracy"] <= 1.0


def test_the_arms_of_the_cost_are_equal_but_for_what_is_attached(monkeypatch):
    short, long = dept.Arm(0, length=40, rank=40), dept.Arm(0, length=100)
    assert short.parameters == long.parameters == 12_800
    assert short.ids.shape == (16, 64)
    assert (short.ids == long.ids).all() and (short.wanted == long.wanted).all()
    weights = zip(short.model.parameters(), long.model.parameters(), strict=True)
    assert all((a == b).all() for a, b in weights)
    assert (short.fillings[0].filler == long.fillings[0].filler[:40]).all()
    assert short.logits().shape == (16, 2000)
    before = [p.detach().clone() for p in short.stepper.parameters]
    short.step()
    moved = [bool((a != b).any()) for a, b in zip(before, short.stepper.parameters, strict=True)]
    assert moved == [True, False, True]  # A has no gradient as long as B is zero
    monkeypatch.setattr(
        dept, "interleaved", lambda arms: {name: float(work() is None) + 1 for name, work in arms.items()}
    )
    found = dept.cost(0, None)
    assert [(name, set(values)) for name, values in found.items()] == [
        (name, {"step", "saved", "predict"}) for name in ("dept", "pt")
    ]
    assert found == dept.cost(0, None)
