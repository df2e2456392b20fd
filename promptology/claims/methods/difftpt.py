"""DiffTPT's claims: generated views and their filter help test-time tuning under shift, and the filter keeps the right.

The fixture in the entry's words. What it leaves open: a shifted drawing style is any way of drawing but the clean one,
Toyland's other styles and its shifts at full strength; the 30 classes of a seed are the pairs of the first six of its
shapes and the first five of its colours, ten test images each; a known style is the clean one; crops are not flipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from promptology.claims.fixtures import zoo_model
from promptology.claims.measuring import Bench, measures, run_of
from promptology.data.images import Image
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.task import Task
from promptology.methods.vision.difftpt import DiffTPT
from promptology.methods.vision.tpt import TPT
from promptology.methods.vision.zero_shot import ZeroShot
from promptology.predict.view_tuning import ViewTuning
from promptology.prompts.procedures import Procedure
from promptology.zoo.toyland.kinds import Kind, drawn, pairs, scenes
from promptology.zoo.toyland.lists import SHIFTS, STYLES
from promptology.zoo.toyland.tasks import order

MODEL = "toy-clip"
EACH, OFTEN = 10, 0.3
"""Test images a class; share of generated pictures that show another class."""
ABOVE = 0.1
"""By how much zero-shot accuracy must lie above chance in the style that is used."""
CROPS, GENERATED = 16, 15
COURSE: Mapping[str, Any] = {"steps": 4, "flip": 0.0}


def kinds_of(seed: int) -> tuple[Kind, ...]:
    """Return the 30 classes of a seed."""
    shapes, colours = order(seed)
    return pairs(shapes[:6], colours[:5])


def task_of(seed: int, style: str, toyland: int) -> Task:
    """Return the test images of a seed in a style; `toyland`: the seed that they are drawn from."""
    kinds = kinds_of(seed)
    pictures = drawn(scenes(kinds, EACH, toyland), style)
    items = [
        Item(f"{n}", {"image": Image(np.ascontiguousarray(one), f"image {n}")}, kinds[n // EACH].name)
        for n, one in enumerate(pictures)
    ]
    signature = Signature((Field("image", "image"),), "class", tuple(ClassLabel(kind.name) for kind in kinds))
    return Task(test=items, unlabeled=[i.with_target(None) for i in items[:1]], signature=signature, name="shifted")


class Renderer:
    """A generator: pictures of the class that a picture shows, in the clean style, some of another class."""

    name = identity = "toyland-renderer"

    def __init__(self, seed: int, items: Sequence[Item]) -> None:
        self.kinds = kinds_of(seed)
        names = [kind.name for kind in self.kinds]
        self._shown = {i.inputs["image"].rgb().tobytes(): names.index(i.target) for i in items}
        self.faithful: dict[bytes, list[bool]] = {}
        """Whether each picture that was made of one shows its class."""

    def vary(self, picture: Any, count: int, seed: int) -> list[Any]:
        """Return independent pictures of the class of a picture."""
        from PIL.Image import fromarray

        rng, shown = np.random.default_rng(seed), picture.tobytes()
        own = self._shown[shown]
        right = rng.random(count) >= OFTEN
        others = (own + rng.integers(1, len(self.kinds), count)) % len(self.kinds)
        self.faithful[shown] = right.tolist()
        which = [self.kinds[own if keep else other] for keep, other in zip(right, others, strict=True)]
        return [fromarray(drawn(scenes([kind], 1, seed + n))[0]) for n, kind in enumerate(which)]


@dataclass(frozen=True)
class Watching(ViewTuning):
    """The procedure, which notes for each image which generated views it keeps."""

    noted: list[list[int]] = field(default_factory=list, compare=False)

    def kept(self, logits: Any, f: Any) -> Any:
        """Return the views that count."""
        views = super().kept(logits, f)
        self.noted.append([v - 1 - self.crops for v in views.tolist() if v > self.crops])
        return views


def method_of(arm: str) -> Any:
    """Return an arm's method; without the filter as many views are kept as with it, 8 of 32."""
    if arm == "zero":
        return ZeroShot("a photo of a {}.")
    if arm.startswith("tpt"):
        return TPT(views=1 + CROPS + GENERATED, **{**COURSE, "steps": 4 if arm == "tpt_4" else 1})
    unfiltered: dict[str, Any] = {"faithful": 1.0, "confident": 8 / 32} if arm == "unfiltered" else {}
    return DiffTPT(crops=CROPS, generated=GENERATED, **unfiltered, **COURSE)


def measured(arm: str, seed: int, style: str, toyland: int) -> dict[str, float]:
    """Return the accuracy of an arm and, where views are generated, the share of faithful ones among those kept."""
    task, method = task_of(seed, style, toyland), method_of(arm)
    items = task.open_test()
    renderer = Renderer(seed, items)
    run = run_of(task, {"model": zoo_model(MODEL), "views": renderer}, seed)
    learned = method.fit(run)
    predictor = learned.bind(run.model(), {"views": run.model("views")})
    part = learned.part(Procedure)
    watching = Watching(**part.options) if part else None
    if watching:
        given = {"views": renderer}
        predictor.adapting = replace(
            predictor.adapting, run=lambda model, images, *rest: watching.run(model, given, images, *rest)
        )
    outputs = predictor.predict(items).outputs
    found = {"accuracy": float(np.mean([o == i.target for o, i in zip(outputs, items, strict=True)]))}
    if isinstance(method, DiffTPT) and watching:
        truth = [renderer.faithful[i.inputs["image"].rgb().tobytes()] for i in items]
        right = [own[n] for own, kept in zip(truth, watching.noted, strict=True) for n in kept]
        found["precision"] = float(np.mean(right)) if right else float("nan")
    return found


def style_of(bench: Bench) -> str:
    """Return the style of the lowest zero-shot accuracy that is above chance by 10 points, by images for no claim."""

    def choice() -> str:
        shifted = [style for style in (*STYLES, *SHIFTS) if style != "clean"]
        by = {s: np.mean([measured("zero", n, s, 10 * n + 3)["accuracy"] for n in range(4)]) for s in shifted}
        usable = [style for style in shifted if by[style] >= 1 / len(kinds_of(0)) + ABOVE]
        return min(usable, key=lambda style: float(by[style]))

    return bench.once("style", choice)


@measures("difftpt-accuracy", needs=(MODEL,))
@measures("difftpt-filter", needs=(MODEL,))
def shifted(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return what an arm reaches on the 300 test images of a seed."""
    style = style_of(bench)
    return bench.once(f"{arm}, seed {seed}", lambda: measured(arm, seed, style, 10 * seed + 2))
