"""Whole trainings against the authors' loops, re-expressed: every step's loss, and all that was learned."""

from __future__ import annotations

import official_towers as official
import pictured
import pytest
import torch
import whitebox
from torch.nn.functional import cross_entropy, linear

from promptology.injection.towers import TextRows
from promptology.training.batches import Batches
from promptology.training.schedules import CosineEpochs

BATCH, EPOCHS, RATE = 5, 4.0, 0.3


class Loop:
    """The authors' loop over a tiny model: padded texts, every tower run in full at each step, SGD of torch."""

    def __init__(self, kind, length, wording):
        self.towers = pictured.model(kind).towers()
        self.inner = self.towers.inner
        texts = [wording.replace("{label}", name) for name in pictured.NAMES]
        found = self.towers.worded(texts, length)
        self.rows = TextRows([one.ids for one in found], [one.slots for one in found])
        self.task = pictured.task()
        self.gold = torch.tensor([pictured.NAMES.index(i.target) for i in self.task.train])
        self.pixels = self.towers.pixels([i.inputs["image"] for i in self.task.train])
        with torch.no_grad():
            self.features = official.images(self.inner, self.pixels)

    def texts(self, context=None, deep=()):
        """Features of all classes."""
        return official.texts(
            self.inner, self.rows, self.towers.prompted.pad, self.towers.prompted.opening, context, deep
        )

    def per_image(self, contexts):
        """Features of all classes for each image."""
        pad, opening = self.towers.prompted.pad, self.towers.prompted.opening
        return official.texts_per_image(self.inner, self.rows, pad, opening, contexts)

    def loss(self, images, texts, batch):
        """Cross-entropy of logits; texts (classes, d), or one such for each image."""
        cosines = images @ texts.T if texts.dim() == 2 else (images[:, None] * texts).sum(-1)
        return cross_entropy(self.towers.scale * cosines + self.towers.bias, self.gold[batch])

    def train(self, parameters, loss):
        """Return the losses of all steps; the parameters end where the loop leaves them."""
        n, seed = len(self.task.train), 0
        rng = whitebox.run_of(self.task, pictured.model("clip"), seed).rng("batches")
        batches = Batches(list(range(n)), BATCH, rng, drop_last=True)
        optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=5e-4)
        per_epoch, losses = n // BATCH, []
        for k in range(round(EPOCHS * per_epoch)):
            optimizer.param_groups[0]["lr"] = RATE * CosineEpochs(per_epoch, EPOCHS, 1e-5 / RATE)(k, 0)
            optimizer.zero_grad()
            found = loss(batches(k))
            found.backward()
            optimizer.step()
            losses.append(float(found.detach()))
        return losses


def started(kind, slug, **settings):
    """Return what a method starts from, as leaves."""
    found = pictured.arrays(pictured.fitted(kind, slug, epochs=0.0, **settings))
    return {name: torch.tensor(value).requires_grad_() for name, value in found.items()}


def compared(kind, slug, losses, leaves, monkeypatch, **settings):
    """Train by the method, and compare the losses and all that was learned."""
    seen = pictured.Losses(monkeypatch)
    start = {name: value.clone() for name, value in started(kind, slug, **settings).items()}
    given = {"rate": RATE, "epochs": EPOCHS, "batch": BATCH, **settings}
    found = pictured.arrays(pictured.fitted(kind, slug, **given))
    assert seen.found[-1] == pytest.approx(losses, abs=1e-4)
    assert max(seen.found[-1]) - min(seen.found[-1]) > 1e-3
    for name, value in leaves.items():
        assert torch.allclose(torch.tensor(found[name]), value.detach(), atol=2e-5), name
        assert not torch.allclose(start[name], value.detach(), atol=1e-3), name


@pytest.mark.parametrize("kind", pictured.KINDS)
@pytest.mark.parametrize(
    ("settings", "wording"),
    [
        ({"phrase": ""}, "{context} {label}."),
        ({"phrase": "a photo of a", "length": 1}, "{context} photo of a {label}."),
        ({"phrase": "", "position": "middle"}, "{context:2} {label} {context}."),
        ({"phrase": "", "position": "front", "own": True}, "{label} {context}."),
    ],
)
def test_coop(kind, settings, wording, monkeypatch):
    settings = {"length": 4, **settings}
    leaves = started(kind, "coop", **settings)
    v, loop = leaves["text.context[0]"], Loop(kind, settings["length"], wording)
    losses = loop.train([v], lambda batch: loop.loss(loop.features[batch], loop.texts(v), batch))
    compared(kind, "coop", losses, leaves, monkeypatch, **settings)


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_cocoop(kind, monkeypatch):
    leaves = started(kind, "cocoop", phrase="")
    loop, v = Loop(kind, 4, "{context} {label}."), leaves["text.context[0]"]
    down, down_bias, up, up_bias = (leaves[f"text.context[0].{n}"] for n in ("down", "down_bias", "up", "up_bias"))

    def loss(batch):
        moved = linear(linear(loop.features[batch], down, down_bias).relu(), up, up_bias)
        return loop.loss(loop.features[batch], loop.per_image(v + moved[:, None]), batch)

    losses = loop.train(list(leaves.values()), loss)
    compared(kind, "cocoop", losses, leaves, monkeypatch, phrase="")


@pytest.mark.parametrize("kind", pictured.KINDS)
@pytest.mark.parametrize("lengths", [(2, 2), (0, 3), (1, 0)])
def test_ivlp(kind, lengths, monkeypatch):
    b, n = lengths
    settings = {"length": b, "image_length": n, "depth": 3, "phrase": ""}
    leaves = started(kind, "ivlp", **settings)
    text = [leaves[f"text.context[{k}]"] for k in range(3 if b else 0)]
    image = [leaves[f"vision.context[{k}]"] for k in range(3 if n else 0)]
    loop = Loop(kind, b, "{context} {label}." if b else "a photo of a {label}.")

    def loss(batch):
        texts = loop.texts(text[0], text[1:]) if b else loop.texts()
        images = official.images(loop.inner, loop.pixels[batch], image[0] if n else None, image[1:])
        return loop.loss(images, texts, batch)

    losses = loop.train(list(leaves.values()), loss)
    compared(kind, "ivlp", losses, leaves, monkeypatch, **settings)


@pytest.mark.parametrize("kind", pictured.KINDS)
def test_maple(kind, monkeypatch):
    from promptology.training.deep_prompts import linear_maps

    settings = {"depth": 3, "phrase": ""}
    leaves = started(kind, "maple", **settings)
    text = [leaves[f"text.context[{k}]"] for k in range(3)]
    maps = linear_maps(whitebox.run_of(pictured.task(), pictured.model(kind)), pictured.model(kind).towers(), 3)
    loop = Loop(kind, 2, "{context} {label}.")

    def visual():
        return [linear(p, w, a) for p, (w, a) in zip(text, maps, strict=True)]

    def loss(batch):
        image = visual()
        images = official.images(loop.inner, loop.pixels[batch], image[0], image[1:])
        return loop.loss(images, loop.texts(text[0], text[1:]), batch)

    losses = loop.train([*text, *(one for pair in maps for one in pair)], loss)
    wanted = {name: leaves[name] for name in leaves if name.startswith("text")}
    wanted |= {f"vision.context[{k}]": q for k, q in enumerate(visual())}
    compared(kind, "maple", losses, wanted, monkeypatch, **settings)
