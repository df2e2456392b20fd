"""Every method of images on folders of other architectures, in float32 and bfloat16, and what it saves elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pictured
import PIL.Image
import pytest
import tiny_towers
import torch

import promptology as pt
from promptology.methods.registry import create
from promptology.models.access import offers
from promptology.models.callables import CallableViews
from promptology.prompts.saving import load, save
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.training.stepping import Stepper

SHAPES = {
    "clip": {
        "text": {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4},
        "vision": {"num_hidden_layers": 5, "hidden_size": 40, "num_attention_heads": 5, "patch_size": 6},
    },
    "siglip": {
        "text": {"num_hidden_layers": 4, "hidden_size": 40, "num_attention_heads": 2},
        "vision": {"num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 3, "patch_size": 12},
    },
}
COURSE = {"epochs": 2.0, "batch": 5, "rate": 0.05}
METHODS = {
    "zero-shot": {},
    "linear-probe": {"decay": 0.1},
    "coop": {**COURSE, "own": True, "fresh": True},
    "cocoop": COURSE,
    "ivlp": {**COURSE, "depth": 2},
    "maple": {**COURSE, "depth": 2},
    "tpt": {"views": 4, "confident": 0.5, "augmix": True},
    "difftpt": {"crops": 2, "generated": 2},
}


def darker(picture):
    return [picture.point(lambda v, n=n: v // n) for n in (2, 3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each type, of shapes that no other test has."""
    root = tmp_path_factory.mktemp("folders")
    return {kind: tiny_towers.tiny_towers_folder(root / kind, kind, **SHAPES[kind]) for kind in SHAPES}


def run_of(model):
    meter = Meter(memory_store())
    handles = {"model": Handle(meter, "model", model, offers(model))}
    return Run(pictured.task(), {**handles, "views": Handle(meter, "views", CallableViews(darker))}, meter, seed=0)


def bound(learned, model):
    return learned.bind(model, {"views": darker} if "views" in learned.roles else {})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", SHAPES)
def test_every_method_learns_on_a_fresh_folder(folders, kind, dtype, tmp_path, monkeypatch):
    types, real = set(), Stepper.update

    def update(self, factor):
        real(self, factor)
        kept = [v for state in self.optimizer.state.values() for v in state.values() if torch.is_tensor(v)]
        types.update(one.dtype for one in (*self.parameters, *kept))

    monkeypatch.setattr(Stepper, "update", update)
    model, other = (pt.model(f"hf:{folders[kind]}", dtype=dtype) for _ in range(2))
    assert model.towers().dtype == getattr(torch, dtype)
    inputs = [dict(i.inputs) for i in pictured.task().train[:5]]
    for slug, settings in METHODS.items():
        learned = create(slug, settings).fit(run_of(model))
        again = load(save(learned, tmp_path / slug))
        found, wanted = bound(again, other).predict(inputs), bound(learned, model).predict(inputs)
        assert found.outputs == wanted.outputs and np.array_equal(found.scores, wanted.scores), slug
        assert np.isfinite(found.scores).all() and found.scores.shape == (5, 4), slug
        assert all(value.dtype == np.float32 for value in pictured.arrays(again).values()), slug
    assert types == {torch.float32}


def test_a_fresh_process_gives_the_same_answers(folders, tmp_path):
    model = pt.model(f"hf:{folders['clip']}")
    images = [i.inputs["image"] for i in pictured.task().train[:5]]
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path, image in zip(paths, images, strict=True):
        image.rgb().save(path)
    wanted = {}
    for slug in ("coop", "cocoop", "maple", "tpt"):
        learned = create(slug, METHODS[slug]).fit(run_of(model))
        save(learned, tmp_path / slug)
        wanted[slug] = bound(learned, model).predict([{"image": path} for path in paths]).scores
    code = (
        "import json, sys, promptology as pt\n"
        "model, root, paths = pt.model('hf:' + sys.argv[1]), sys.argv[2], sys.argv[3:]\n"
        "found = {}\n"
        "for slug in ('coop', 'cocoop', 'maple', 'tpt'):\n"
        "    bound = pt.load(f'{root}/{slug}').bind(model)\n"
        "    found[slug] = bound.predict([{'image': path} for path in paths]).scores.tolist()\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders["clip"]), str(tmp_path), *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for slug, scores in json.loads(done.stdout.splitlines()[-1]).items():
        assert np.allclose(scores, wanted[slug], atol=1e-4), slug


@pytest.mark.parametrize("slug", ["zero-shot", "linear-probe", "coop", "ivlp"])
def test_images_of_every_mode_and_size_are_learned_from(slug, folders, tmp_path):
    rng = np.random.default_rng(0)
    forms = [
        ("RGB", "png", (30, 40)),
        ("L", "png", (24, 24)),
        ("RGBA", "png", (25, 60)),
        ("CMYK", "jpg", (40, 30)),
        ("I;16", "png", (20, 20)),
        ("P", "gif", (32, 24)),
        ("RGB", "png", (1, 1)),
        ("LA", "png", (9, 50)),
    ]
    for c, name in enumerate(("dog", "cat")):
        for n, (mode, suffix, (width, height)) in enumerate(forms):
            path = tmp_path / "pets" / name / f"{n}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(rng.integers(0, 100, (height, width, 3)) + 100 * c, 0, 255).astype(np.uint8)
            picture = PIL.Image.fromarray(pixels)
            if mode == "I;16":
                picture = PIL.Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
            (picture.convert(mode) if mode not in ("RGB", "I;16") else picture).save(path)
    settings = {**METHODS[slug], **({"fresh": True} if slug in ("coop", "ivlp") else {})}
    found = pt.fit(tmp_path / "pets", pt.model(f"hf:{folders['clip']}"), slug, settings=settings)
    assert found.evidence is not None
