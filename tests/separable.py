"""A small task that a linear rule solves, tiny models of every kind, and methods watched while they learn on it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import tiny
import torch

import promptology as pt

THINGS = ["red", "green", "blue", "grey", "lamp", "kettle", "kitchen", "garden", "river"]
WORDS = {"positive": ["great", "good", "fine", "yes"], "negative": ["awful", "bad", "no", "broken"]}
KINDS = {
    "gpt2": tiny.tiny_gpt2,
    "llama": tiny.tiny_llama,
    "t5": tiny.tiny_t5,
    "bert": tiny.tiny_bert,
    "encoder": functools.partial(tiny.tiny_bert, head=False),
}


def task():
    """Return things that were praised or blamed, 72 items, half of them for training."""
    rows = [(f"the {thing} was {w}", name) for thing in THINGS for name, words in WORDS.items() for w in words]
    return pt.Task(rows, name="separable")


@functools.cache
def folder(kind):
    """Return the folder of a tiny model, made once."""
    where = tempfile.mkdtemp(prefix="tiny-")
    KINDS[kind](where)
    return Path(where)


@functools.cache
def model(kind):
    """Return a tiny model as a user opens it."""
    torch.set_num_threads(1)
    return pt.model(f"hf:{folder(kind)}")


class Seen:
    """What a method gave to `train_inside`: `goal`, `groups`, `fillings`, and the state it began with."""

    def __init__(self, monkeypatch):
        import promptology.training.inside as inside

        original = inside.train_inside

        def watched(run, goal, course, groups, fillings, method):
            self.run, self.goal, self.course, self.groups, self.fillings = run, goal, course, groups, fillings
            self.start = {n: p.detach().clone() for g in groups for n, p in g.parameters.items()}
            return original(run, goal, course, groups, fillings, method)

        monkeypatch.setattr(inside, "train_inside", watched)

    @property
    def parameters(self):
        """All parameters by name."""
        return {n: p for g in self.groups for n, p in g.parameters.items()}


def fit(kind, method, budget="50000passes", seed=0, on=None, **settings):
    """Fit on the separable task with few steps."""
    given = {"steps": 4, "batch": 8, "checks": 0, "length": 4, **settings}
    return pt.fit(on or task(), model(kind), method, settings=given, budget=budget, seed=seed)


def found_by(kind, method, **settings):
    """Return what a method learned: without validation items nothing is chosen between it and the start."""
    return fit(kind, method, on=without_validation(), **settings).learned


def without_validation():
    """Return the task without validation items."""
    whole = task()
    return pt.Task(
        train=whole.train, validation=(), test=whole.open_test(), signature=whole.signature, name="separable"
    )


def part(learned, site):
    """Return the array that a prompt holds at a site."""
    return next(p.values for p in learned.parts if getattr(p, "site", "") == site and hasattr(p, "values"))
