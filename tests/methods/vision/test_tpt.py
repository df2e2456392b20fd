"""The methods tpt and difftpt: what they hand on, from what they begin, and their folders."""

from __future__ import annotations

import numpy as np
import pictured
import pytest
import torch
import whitebox

import promptology as pt
from promptology.errors import AccessError, UsageError
from promptology.methods.registry import create
from promptology.models.access import offers
from promptology.prompts.procedures import Procedure
from promptology.prompts.saving import load, save
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.testing.towers import MadeViews

FEW = {"views": 4, "confident": 0.5}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def run_of(sources=(), seed=0):
    meter, model = Meter(memory_store()), pictured.model("clip")
    handles = {"model": Handle(meter, "model", model, offers(model)), "views": Handle(meter, "views", MadeViews())}
    return Run(pictured.task(), handles, meter, seed=seed, sources=sources)


def test_learning_asks_nothing_and_needs_no_label():
    task = pictured.task()
    bare = pt.Task(
        unlabeled=[i.with_target(None) for i in task.train],
        test=[i.with_target(t) for i, t in zip(task.train[:8], pictured.NAMES * 2, strict=True)],
        signature=task.signature,
    )
    found = pt.fit(bare, pictured.model("clip"), "tpt", settings=FEW, budget="5000passes")
    assert found.learning.passes == 0 and found.learned.method == "tpt"
    tuned, plain = (4 + (3 + 1) * 4) * len(task.test), len(task.test) + 4  # beside it the start is measured
    assert found.charged.passes == tuned + plain


def test_the_papers_settings_are_the_defaults():
    def options(slug):
        return create(slug).fit(run_of()).part(Procedure).options

    both = {"rate": 0.005, "decay": 0.01, "flip": 0.5, "augmix": False}
    assert options("tpt") == {**both, "crops": 63, "confident": 0.1, "steps": 1, "seed": options("tpt")["seed"]}
    wanted = {**both, "crops": 64, "generated": 63, "faithful": 0.8, "similarity": "image", "confident": 0.3}
    assert options("difftpt") == {**wanted, "steps": 4, "seed": options("tpt")["seed"]}
    assert create("tpt").fit(run_of(seed=1)).part(Procedure).options["seed"] != options("tpt")["seed"]


def test_a_folder_predicts_as_what_was_saved(tmp_path):
    for slug, settings in (("tpt", FEW), ("difftpt", {"crops": 2, "generated": 2})):
        learned = create(slug, settings).fit(run_of())
        again = load(save(learned, tmp_path / slug))
        assert again.same_as(learned) and "[procedure] view-tuning: crops" in again.as_text()
        inputs = [dict(i.inputs) for i in pictured.task().train[:2]]
        helpers = {"views": MadeViews()} if slug == "difftpt" else {}
        one, other = (p.bind(pictured.model("clip"), helpers).predict(inputs).scores for p in (learned, again))
        assert np.array_equal(one, other)


def test_what_coop_and_cocoop_learned_is_a_start():
    inputs = [dict(i.inputs) for i in pictured.task().train[:2]]
    for slug, settings in (
        ("coop", {"epochs": 2.0, "rate": 0.1}),
        ("coop", {"epochs": 1.0, "own": True}),
        ("coop", {"epochs": 2.0, "rate": 0.1, "position": "front", "phrase": ""}),
        ("coop", {"epochs": 2.0, "rate": 0.1, "position": "middle", "phrase": ""}),
        ("cocoop", {"epochs": 0.0}),
    ):
        source = pictured.fitted("clip", slug, **settings)
        still = create("tpt", {**FEW, "steps": 0}).fit(run_of([source]))
        model = pictured.model("clip")
        assert np.array_equal(still.bind(model).predict(inputs).scores, source.bind(model).predict(inputs).scores)
        moved = create("tpt", {**FEW, "rate": 0.05}).fit(run_of([source]))
        assert np.abs(moved.bind(model).predict(inputs).scores - source.bind(model).predict(inputs).scores).max() > 1e-3
    twice = create("tpt", FEW).fit(run_of([still]))
    assert sum(p.kind == "procedure" for p in twice.parts) == 1


def test_settings_and_tasks_that_cannot_be_are_one_line():
    for slug, settings, says in (
        ("tpt", {"views": 0}, "the image itself is one"),
        ("difftpt", {"generated": 0}, "take method tpt"),
        ("tpt", {"length": 0}, "has nothing to learn"),
    ):
        with pytest.raises(UsageError, match=says):
            create(slug, settings).fit(run_of())
    with pytest.raises(AccessError, match="as 'views'"):
        pt.fit(pictured.task(), pictured.model("clip"), "difftpt", budget="10passes")
    with pytest.raises(AccessError):
        pt.fit(whitebox.one_class(), "simulated:tickets", "tpt", budget="10calls")


def test_its_class_features_are_no_matrix(tmp_path):
    from promptology.api.exporting import export_features

    with pytest.raises(UsageError, match="depend on each image"):
        export_features(create("tpt", FEW).fit(run_of()), pictured.model("clip"), tmp_path / "f.safetensors")
