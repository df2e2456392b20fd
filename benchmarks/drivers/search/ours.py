"""Our side of B8: methods of the library on the common models, until the calls are used up."""

import numpy as np
from searching import searched

from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.task import Task
from promptology.methods.registry import create
from promptology.models.access import Answer
from promptology.models.simulated.chat import count, tokens
from promptology.run.budget import Budget
from promptology.run.engine import Run, learn
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.search.halving import halve

ROLES = ("model", "optimizer", "judge")


def run(spec, stopwatch):
    """Search with one method on all cases."""
    return searched(spec, stopwatch, lambda case, models: search(spec, case, models))


def search(spec, case, models):
    """Search until the budget ends, or the method does."""
    counter = models.counter
    model = Counted(models)
    meter = Meter(memory_store(), seed=case["seed"], budget=Budget({"calls": spec["calls"]}))
    handles = {role: Handle(meter, role, model, ("generates",)) for role in ROLES}
    noted = Noted(task_of(spec, case), handles, meter, seed=case["seed"])
    noted.counter = counter
    counter.keep(noted.start.instruction)
    found = learn(create(spec["method"], spec["settings"]), noted)
    counter.keep(found.instruction)
    counter.proposals, counter.usable = noted.tally["proposals"], noted.tally["usable"]


def task_of(spec, case):
    """Return the items of a case as a task."""
    splits = {
        split: [Item(f"{split}-{n}", {"text": x}, y) for n, (x, y) in enumerate(case[split])]
        for split in ("train", "validation")
    }
    classes = tuple(ClassLabel(**c) for c in spec["descriptions"])
    signature = Signature((Field("text"),), "class", classes, spec["start"])
    return Task(**splits, test=(), signature=signature, name=spec["world"])


class Noted(Run):
    """A run that notes what it would return at each call."""

    def keep(self, learned):
        """Note the best so far."""
        super().keep(learned)
        self.counter.keep(learned.instruction)


class Counted:
    """The common model as our library asks a model; counts each request."""

    local, simulated = False, True

    def __init__(self, models):
        self.models = models
        self.name, self.identity = models.chat.name, models.chat.identity

    def generate(self, requests, attempts=1):
        """Yield an answer per request."""
        for n, r in enumerate(requests):
            self.models.counter.take()
            text = self.models.chat.reply(r.messages, r.seed if r.seed is not None else r.sample, r.temperature)
            yield n, Answer(text, tokens(r.messages), count(text), False, 1, False)


def halving(spec, stopwatch):
    """Template search's own step on the table of its scores: sequential halving; the best of each round is noted."""

    def search(case, models):
        counter, wordings = models.counter, models.chat.wordings
        table = models.chat.scores[:, case["columns"]]

        def scores(alive, columns):
            for _ in range(len(alive) * len(columns)):
                counter.take()
            return table[np.ix_(alive, list(columns))]

        counter.keep(spec["start"])
        budget = min(round(spec["settings"]["share"] * table.size), spec["calls"])
        halve(scores, *table.shape, budget, lambda alive, values: counter.keep(wordings[alive[0]]))

    return searched(spec, stopwatch, search)
