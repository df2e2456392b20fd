"""A few random pictures of four classes, tiny CLIPs and SigLIPs, and fits outside of evidence, for tests of methods."""

from __future__ import annotations

from functools import cache

import numpy as np
import tiny_towers
import whitebox

import promptology as pt
from promptology.data.images import Image
from promptology.methods.registry import create
from promptology.training import image_classes

NAMES = ("dog", "red bird", "big old lamp", "cat")
OTHERS = ("small fish", "river", "a kettle")
KINDS = ("clip", "siglip")


def task(names=NAMES, each=3, seed=0):
    """A task whose pictures differ in brightness and noise by class."""
    rng = np.random.default_rng(seed)
    items = []
    for n in range(each):
        for c, name in enumerate(names):
            pixels = np.clip(rng.integers(0, 90, (tiny_towers.PX, tiny_towers.PX, 3)) + 40 * c, 0, 255)
            items.append(pt.Item(f"{c}-{n}", {"image": Image(pixels.astype(np.uint8), name)}, name))
    classes = tuple(pt.ClassLabel(name) for name in names)
    signature = pt.Signature((pt.Field("image", "image"),), "class", classes)
    return pt.Task(items, items[: len(names)], items[: 2 * len(names)], signature=signature, name="pictured")


@cache
def model(kind):
    """A tiny random model of a type."""
    return pt.model(tiny_towers.tiny_towers(kind), tiny_towers.processor(kind))


def fitted(kind, slug, seed=0, on=None, **settings):
    """What a method learns, without a look at validation items."""
    run = whitebox.run_of(on or task(), model(kind), seed=seed)
    return create(slug, settings).fit(run)


class Losses:
    """The losses of every step of the trainings that follow."""

    def __init__(self, monkeypatch):
        self.found = []
        real = image_classes.train

        def train(*given, **settings):
            trained = real(*given, **settings)
            self.found.append(trained.losses)
            return trained

        monkeypatch.setattr(image_classes, "train", train)


def arrays(learned):
    """The tensors of a prompt by their site and name."""
    found = {}
    for part in learned.parts:
        if part.kind == "tensors":
            found[part.site] = part.values
        if part.kind == "module":
            found |= {f"{part.site}.{name}": value for name, value in part.arrays.items()}
    return found


def scores(learned, kind, on=None):
    """The logits of a prompt on the pictures of a task."""
    given = on or task()
    return learned.bind(model(kind), signature=given.signature).predict([dict(i.inputs) for i in given.train]).scores
