"""A tiny differentiable model and a method that trains on it, in a module that other processes can import."""

from __future__ import annotations

import os
import pathlib
import signal
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

import promptology as pt
from promptology.models.access import Differentiable, Injected
from promptology.prompts.learned import kind
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.testing.fixtures import DIMENSION, HashingEncoder, small_task


class Body:
    """Hashed words, weighed by a vector that is learned; counts steps, and dies at one of them."""

    def __init__(self, kill_at=None, interrupt_at=None, nap=0.0):
        self.kill_at, self.interrupt_at, self.nap = kill_at, interrupt_at, nap
        self.steps = 0

    def loss(self, weights, texts, labels):
        import time

        import torch

        self.steps += 1
        time.sleep(self.nap)
        if self.steps == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.steps == self.interrupt_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(HashingEncoder().embed(texts))
        return torch.nn.functional.cross_entropy((x * weights["scale"]) @ weights["head"].T, torch.tensor(labels))


class Tiny(HashingEncoder):
    """An encoder that may be looked into. `states` under learned parts are scaled by them, and counted."""

    name = "tiny"
    identity = "tiny:1"

    def __init__(self, **options):
        self.options = options
        self.body = Body(**options)
        self.asked = 0

    def __reduce__(self):
        return _again, (self.options,)

    def frozen(self):
        return self.body

    def states(self, texts, injected: Injected | None = None):
        self.asked += len(texts)
        return self.embed(texts) * (injected.fillings[0] if injected else 1.0)


def _again(options):
    return Tiny(**options)


@kind("test-weights")
@dataclass(frozen=True)
class TestWeights:
    """Arrays, kept as they are."""

    kind: ClassVar[str]
    arrays: dict
    __test__: ClassVar[bool] = False

    def to_json(self):
        return {}

    def tensors(self):
        return self.arrays

    @classmethod
    def from_json(cls, doc, tensors):
        return cls(dict(tensors))


@pt.method("test-training", family="soft", learns="tensors", needs={"model": Differentiable})
@dataclass(frozen=True)
class Learns:
    """Trains a scale and a head, evaluated through the metered handle."""

    steps: int = 40
    """Steps."""
    every: int = 8
    """Steps between evaluations."""
    trainings: int = 1
    """Trainings in a row."""
    noise: bool = True
    """Whether dropout and noise of a generator enter the loss."""
    optimizer: str = "adamw"
    """Optimiser."""
    save_every: float = 0.0
    """Seconds between two writings of the state."""

    def fit(self, run):
        import torch

        from promptology.training import keeping

        torch.set_num_threads(1)
        learned, before = run.start, (keeping.SAVE_EVERY, keeping.SAVE_SHARE)
        keeping.SAVE_EVERY, keeping.SAVE_SHARE = self.save_every, 1e9
        try:
            for n in range(self.trainings):
                arrays = trained(self, run, n, optimizer=self.optimizer)[1]
                learned = replace(learned, parts=(*run.start.parts, TestWeights(arrays)), method="test-training")
                run.keep(learned)
        finally:
            keeping.SAVE_EVERY, keeping.SAVE_SHARE = before
        return learned


def trained(method, run, n=0, **options):
    import torch

    from promptology.training.batches import Batches
    from promptology.training.loop import Group, train

    task, model = run.task, run.model()
    names = [c.name for c in task.signature.classes]
    draw = run.rng(f"start {n}")
    scale = torch.nn.Parameter(torch.from_numpy(1 + 0.1 * draw.standard_normal(DIMENSION)).float())
    head = torch.nn.Parameter(torch.from_numpy(draw.standard_normal((len(names), DIMENSION))).float())
    noise, body = run.rng(f"noise {n}"), model.frozen()

    def step(items):
        weights = {"scale": scale, "head": head}
        if method.noise:
            lift = torch.from_numpy(noise.standard_normal(DIMENSION)).float()
            weights["scale"] = torch.nn.functional.dropout(scale, 0.2) + 0.1 * lift
        return body.loss(weights, [i.inputs["text"] for i in items], [names.index(i.target) for i in items])

    def evaluate():
        digest = f"{scale.detach().numpy().tobytes().hex()}"
        texts = [i.inputs["text"] for i in task.validation]
        states = model.states(texts, Injected(digest, (scale.detach().numpy(),)))
        guess = (states @ head.detach().numpy().T).argmax(1)
        return float(np.mean([names[g] == i.target for g, i in zip(guess, task.validation, strict=True)]))

    groups = [Group("scale", {"scale": scale}, 0.02), Group("head", {"head": head}, 0.1, 0.01)]
    given = {"steps": method.steps, "every": method.every, "evaluate": evaluate, "generators": [noise], **options}
    batches = Batches(task.train, 4, run.rng(f"batches {n}"), [len(i.inputs["text"]) for i in task.train])
    found = train(run, step, batches, groups, warmup=3, **given)
    # Once more on the final state: asked before where the last evaluation was the best.
    evaluate()
    return found, {"scale": scale.detach().numpy().copy(), "head": head.detach().numpy().copy()}


def run_of(store=None, folder=None, budget=None, model=None, seed=0, **settings):
    """Return a run of its own with its meter."""
    from promptology.run.budget import Budget
    from promptology.run.store import memory_store

    meter = Meter(
        store or memory_store(),
        "r" if store else "",
        budget=Budget.parse(budget, 0.0) if budget else None,
        folder=pathlib.Path(folder) if folder else None,
        seed=seed,
        **settings,
    )
    model = model or Tiny()
    return Run(small_task(), {"model": Handle(meter, "model", model, ("differentiable",))}, meter, seed=seed)
