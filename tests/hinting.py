"""A model that profits from hints, a policy that writes them, and runs of both, for tests of rewriters."""

from __future__ import annotations

import pathlib
import re
import tempfile
from functools import cache

from tiny import BUILDERS, tiny_t5

import promptology as pt
from promptology.data.items import Field, Item, Signature
from promptology.data.task import Task
from promptology.models.access import offers
from promptology.run.budget import Budget
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store

TEXTS = (
    "red lamp and blue kettle in the kitchen",
    "two dog and one cat in the garden",
    "late bus to the city",
    "cold water and warm stone on the mountain",
    "my card was charged twice",
    "old tree near a slow river",
)
NOUNS = ("lamp", "kettle", "dog", "cat", "bus", "city", "water", "stone", "card", "tree", "river")


def summary(text):
    return " ".join(word for word in text.split() if word in NOUNS)


def task(train=4, validation=1, **meta):
    items = [
        Item(str(n), {"text": text}, summary(text), {k: v(text) if callable(v) else v for k, v in meta.items()})
        for n, text in enumerate(TEXTS)
    ]
    signature = Signature((Field("text"),), "text", instruction="Write a summary.")
    parts = items[:train], items[train : train + validation], items[train + validation :]
    return Task(*parts, signature=signature, metric="token_f1", name="nouns")


def echo(prompt):
    """Keep those words of the text that the hint names, else the first two; by content, so wherever the hint stands."""
    text, _, hint = prompt.partition("<hint>")
    words, hinted = text.split("\n\n")[1].split(), re.findall(r"\w+", hint.split("</hint>")[0])
    return " ".join([w for w in words if w in hinted] or words[:2])


@cache
def policy(kind="t5"):
    folder = tempfile.mkdtemp(prefix="policy-")
    builder = tiny_t5 if kind == "t5" else BUILDERS[kind]
    return pt.model(f"hf:{builder(folder)}", device="cpu")


def run_of(on=None, model=echo, store=None, folder=None, budget=None, seed=0, helper=None):
    """Return a run of a task; with a store it is durable."""
    meter = Meter(
        store or memory_store(),
        "r" if store else "",
        budget=Budget.parse(budget, 0.0) if budget else None,
        folder=pathlib.Path(folder) if folder else None,
        seed=seed,
    )
    helper = helper or policy()
    opened = pt.model(model)
    handles = {
        "model": Handle(meter, "model", opened, ("generates",)),
        "policy": Handle(meter, "policy", helper, offers(helper)),
    }
    return Run(on or task(), handles, meter, seed=seed)
