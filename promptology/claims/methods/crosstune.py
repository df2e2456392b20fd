"""CrossTune's claims: descriptions carry few-shot classification on frozen vectors, and its switch keeps bad texts out.

All texts of `tickets` are pooled and split anew for each seed. A text has the same vector in every arm and seed, so it
is computed once in a process; what a run is charged for is what it would have asked on its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from promptology.claims.fixtures import Setting, best_of
from promptology.claims.measuring import Bench, measures
from promptology.data.items import Item
from promptology.data.loaders import load_task
from promptology.data.task import Task
from promptology.methods.search.template_search import TemplateSearch
from promptology.methods.soft.crosstune import CrossTune
from promptology.methods.soft.linear_probe import LinearProbe
from promptology.models.access import Vectors, offers
from promptology.prompts.learned import Learned
from promptology.run.budget import Budget
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store

GRID: tuple[Setting, ...] = tuple({"rate": r, "decay": d} for r in (1e-4, 1e-3) for d in (0.01, 0.1))
DECAYS: tuple[Setting, ...] = tuple({"decay": d} for d in (0.001, 0.01, 0.1, 1.0))
QUALITY = {"train": 16, "validation": 8}
FEW = {"train": 4, "validation": 4}
SWITCH = {"train": 8, "validation": 8, "aside": 24}
SEARCH = "2400passes"
ASIDE = 24


class Remembered:
    """MiniLM, which embeds a text once in this process; `labels`: vectors that stand for the classes' descriptions."""

    local = True
    simulated = False
    name = "minilm"

    def __init__(self, labels: Mapping[str, Vectors] | None = None, mark: str = "") -> None:
        self.labels = labels or {}
        self.identity = f"remembered:{encoder().identity}{mark}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32, shape (len(texts), 384)."""
        new = [text for text in dict.fromkeys(texts) if text not in _KNOWN and text not in self.labels]
        _KNOWN.update(zip(new, encoder().embed(new), strict=True) if new else ())
        return np.stack([self.labels[text] if text in self.labels else _KNOWN[text] for text in texts])


_KNOWN: dict[str, Vectors] = {}


@cache
def encoder() -> Any:
    """Return MiniLM on the CPU."""
    from promptology.models.opening import model

    return model("minilm", device="cpu")


def splits(seed: int, sizes: Mapping[str, int]) -> dict[str, list[Item]]:
    """Return the pooled texts in parts of so many texts a class, and the rest as `test`."""
    task = load_task("tickets")
    pooled = sorted((*task.train, *task.validation, *task.open_test()), key=lambda item: item.id)
    rng = np.random.default_rng([seed, 2403])
    parts: dict[str, list[Item]] = {name: [] for name in (*sizes, "test")}
    for name in task.signature.class_names:
        mine = [item for item in pooled if item.target == name]
        order = [mine[i] for i in rng.permutation(len(mine))]
        for part, size in sizes.items():
            parts[part] += order[:size]
            order = order[size:]
        parts["test"] += order
    return parts


def task_of(seed: int, sizes: Mapping[str, int]) -> Task:
    """Return the task of a seed."""
    parts, signature = splits(seed, sizes), load_task("tickets").signature
    return Task(parts["train"], parts["validation"], parts["test"], signature=signature, name="tickets")


def run_of(task: Task, models: Mapping[str, Any], seed: int, budget: str = "") -> Run:
    """Return a run on models by role."""
    meter = Meter(memory_store(), budget=Budget.parse(budget) if budget else None, seed=seed)
    return Run(task, {r: Handle(meter, r, m, offers(m)) for r, m in models.items()}, meter, seed=seed)


def accuracy(run: Run, learned: Learned, items: Sequence[Item]) -> float:
    """Return the share of items whose class is right."""
    from promptology.training.objectives import score_of

    return score_of(run, learned, items, "accuracy")


def measured(method: Any, models: Mapping[str, Any], sizes: Mapping[str, int], seed: int, split: str) -> float:
    """Return the accuracy on a split of what a method learns."""
    task = task_of(seed, sizes)
    run = run_of(task, models, seed)
    return accuracy(run, method.fit(run), task.open_test() if split == "test" else task.validation)


@measures("crosstune-quality")
def quality(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return accuracy on test, and the passes of learning.

    The search may score every wording on every labelled text, 12,288 scores; it reads each text once, as ours does.
    """
    task, models = task_of(seed, QUALITY), {"model": Remembered()}

    def choice() -> Setting:
        return best_of(GRID, lambda s: measured(CrossTune(**s), models, QUALITY, 0, "validation"))

    search = arm == "search"
    run = run_of(task, models, seed, SEARCH if search else "")
    method: Any = TemplateSearch(share=1.0) if search else CrossTune(**bench.once("grid of 16 shots", choice))
    learned = method.fit(run)
    passes = float(run.meter.charged.passes)
    # Measured outside of the budget for learning.
    return {"accuracy": accuracy(run_of(task, models, seed), learned, task.open_test()), "passes": passes}


def drawn_labels(seed: int) -> Remembered:
    """Return MiniLM with, for each description, a Gaussian draw that has the mean and the norm of their vectors."""
    wordings = [c.description for c in load_task("tickets").signature.classes]
    real = Remembered().embed(wordings)
    draws = np.random.default_rng([seed, 12468]).standard_normal(real.shape)
    draws = draws * (real - real.mean(axis=0)).std() + real.mean(axis=0)
    unit = (draws / np.linalg.norm(draws, axis=1, keepdims=True)).astype(np.float32)
    return Remembered(dict(zip(wordings, unit, strict=True)), f":random:{seed}")


@measures("crosstune-descriptions")
def descriptions(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return accuracy on test."""

    def method(setting: Setting) -> Any:
        if arm == "head":
            return LinearProbe(**setting)
        return CrossTune(labels="names" if arm == "names" else "descriptions", **setting)

    def value(setting: Setting, seed: int, split: str) -> float:
        models = {"model": drawn_labels(seed) if arm == "random" else Remembered()}
        return measured(method(setting), models, FEW, seed, split)

    grid = DECAYS if arm == "head" else GRID
    setting = bench.once(f"grid of {arm}, 4 shots", lambda: best_of(grid, lambda s: value(s, 0, "validation")))
    return {"accuracy": value(setting, seed, "test")}


class Writer:
    """Stands in for a chat model: asked for texts of a class, it gives those kept aside, with half of the labels wrong.

    `clean`: with the right ones.
    """

    def __init__(self, seed: int, clean: bool) -> None:
        aside, names = splits(seed, SWITCH)["aside"], load_task("tickets").signature.class_names
        rng = np.random.default_rng([seed, 42])
        wrong = set() if clean else {*rng.permutation(len(aside))[: len(aside) // 2].tolist()}
        self.texts: dict[str, list[str]] = {name: [] for name in names}
        for n, item in enumerate(aside):
            others = [name for name in names if name != item.target]
            meant = others[int(rng.integers(len(others)))] if n in wrong else str(item.target)
            self.texts[meant].append(str(item.inputs["text"]))

    def __call__(self, prompt: str) -> str:
        """Return the texts of the class that a request names."""
        found = re.search(r"<class>\n(.*?)\n</class>", prompt)
        assert found is not None
        return "".join(f"<text>{text}</text>\n" for text in self.texts[found[1]])


@measures("crosstune-switch")
def switch(arm: str, seed: int, bench: Bench) -> dict[str, float]:
    """Return accuracy on test."""
    from promptology.models.opening import model

    def value(setting: Setting, seed: int, split: str) -> float:
        models: dict[str, Any] = {"model": Remembered()}
        if arm != "none":
            clean = arm == "clean"
            models["optimizer"] = model(Writer(seed, clean), identity=f"aside:{seed}:{clean}", name="texts kept aside")
        # As many of the class that comes most often are offered: all texts that were kept aside.
        method = CrossTune(switch=arm != "raw", generated=8 * ASIDE, at_once=8 * ASIDE, **setting)
        return measured(method, models, SWITCH, seed, split)

    setting = bench.once(f"grid of {arm}, switch", lambda: best_of(GRID, lambda s: value(s, 0, "validation")))
    return {"accuracy": value(setting, seed, "test")}
