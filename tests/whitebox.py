"""Small tasks that a rule can solve, and runs outside a store, for tests of methods that look inside a model."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

import promptology as pt
from promptology.models.access import offers
from promptology.predict import bind
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store

WORDS = {"late parcel": "parcel order", "late": "late slow", "refund": "refund invoice", "lost card": "card password"}
FILL = ["the", "my", "for", "a", "is", "was", "to", "this", "please", "help", "new", "old"]


def text_of(names, rng):
    words = [w for name in names for w in WORDS[name].split()] + list(rng.choice(FILL, int(rng.integers(1, 8))))
    return " ".join(rng.permutation(words))


def one_class(train=24, validation=12, test=12, seed=0):
    """A task of one class an item."""
    return _task(lambda rng, n: list(WORDS)[n % len(WORDS)], train, validation, test, seed, "one class")


def many_classes(train=24, validation=12, test=12, seed=0):
    """A task of one to three classes an item, the first ones more often than the others."""

    def draw(rng, n):
        size = 1 + n % 3
        return list(rng.choice(list(WORDS), size, replace=False, p=(0.4, 0.3, 0.2, 0.1)))

    return _task(draw, train, validation, test, seed, "many classes")


def _task(draw, train, validation, test, seed, name):
    rng = np.random.default_rng(seed)
    targets = [draw(rng, n) for n in range(train + validation + test)]
    rows = [(text_of(t if isinstance(t, list) else [t], rng), t) for t in targets]
    return pt.Task(
        rows[:train], rows[train : train + validation], rows[train + validation :], classes=list(WORDS), name=name
    )


def run_of(task, model, seed=0, **settings):
    """Return a run of a model that may be used in every way it offers."""
    meter = Meter(memory_store())
    return Run(task, {"model": Handle(meter, "model", model, offers(model))}, meter, seed=seed, **settings)


def weights_of(model):
    """Return a copy of everything that must be as it was."""
    return {name: value.clone() for name, value in model.frozen().model.state_dict().items()}


def untouched(model, before):
    """Whether a model is bit for bit what it was, needs no gradient and holds none, and has no hook left."""
    net = model.frozen().model
    same = all((value == before[name]).all() for name, value in net.state_dict().items())
    still = all(not p.requires_grad and p.grad is None for p in net.parameters())
    hooks = any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    return same and still and not net.training and not hooks


APPLIED = """
import json, sys, promptology as pt
found = pt.load(sys.argv[1]).bind(pt.model("hf:" + sys.argv[2])).predict(json.loads(sys.argv[3]))
print(json.dumps([found.outputs, found.scores.tolist()]))
"""


def same_in_a_fresh_process(learned, model, folder, texts, place):
    """Save a prompt at a place, and check that another process with the model's folder predicts what this one does."""
    learned.save(place)
    asked = [sys.executable, "-c", APPLIED, str(place), str(folder), json.dumps(texts)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    here, (outputs, scores) = bind(learned, model).predict(texts), json.loads(done.stdout)
    assert outputs == here.outputs
    np.testing.assert_allclose(scores, here.scores, atol=1e-5)
