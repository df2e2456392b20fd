"""The bench on which a method is checked: its models served and counted, its runs repeated, killed and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.fitting import Result
from promptology.methods.registry import Card
from promptology.models.access import offers, verb
from promptology.models.http import ChatEndpoint
from promptology.models.opening import model as open_model
from promptology.models.simulated import SimulatedChat
from promptology.testing.fixtures import Counting, CountingScores, HashingEncoder
from promptology.testing.inside import INSIDE, Counted, counting_inside, uncount
from promptology.testing.promises import Checked
from promptology.testing.running import in_child, new_nest, own_home, run_once, summary
from promptology.testing.serving import Served, served
from promptology.testing.towers import CountingTowers, CountingViews, MadeViews, uncount_towers

WORKERS = 8
FAST, SLOW = 0.002, 0.03
"""Seconds of the longest answer; slow ones where a process is killed, so that not all that it asked comes at once."""


class Trial(NamedTuple):
    """One run on the bench: its result, what must repeat, and the calls (or texts embedded) that the models saw."""

    result: Result
    summary: dict[str, Any]
    asked: int


class Bench:
    """Runs one method with one task and one seed. Models that generate are served over HTTP, others counted here."""

    def __init__(
        self, stack: ExitStack, checked: Checked, method: Any, task: Task, models: Mapping[str, Any], seed: int
    ) -> None:
        self.checked, self.method, self.task, self.seed = checked, method, task, seed
        self.card: Card = type(method).card
        self.models = models
        self.servers: dict[int, Served] = {}
        for role, model in models.items():
            if self.over_http(role) and id(model) not in self.servers:
                self.servers[id(model)] = stack.enter_context(served(model, FAST))
        inside = [model for role, model in models.items() if self.looked_into(role)]
        for model in inside:
            stack.callback(uncount_towers if two_tower(model) else uncount, model)
        nested = bool(inside) and hasattr(os, "fork")
        self.nest = stack.enter_context(new_nest()) if nested else None

    def over_http(self, role: str) -> bool:
        """Whether a role generates, and so is served."""
        allowed = {**self.card.optional, **self.card.needs}.get(role, ("generates",))
        return "generates" in allowed and "generates" in offers(self.models[role])

    def scored_here(self, role: str) -> bool:
        """Whether a role is asked for log-probabilities, and so is counted in this process."""
        allowed = {**self.card.optional, **self.card.needs}.get(role, ())
        return not self.over_http(role) and "scores" in allowed and "scores" in offers(self.models[role])

    def looked_into(self, role: str) -> bool:
        """Whether a role may be looked into and its model can be, and so is counted in this process."""
        allowed = {**self.card.optional, **self.card.needs}.get(role, ())
        return bool(INSIDE & {*allowed} & {*offers(self.models[role])})

    @property
    def unit(self) -> str:
        """What the limits of this bench count: calls of served and scoring models, else passes of local ones."""
        return "calls" if self.servers or any(map(self.scored_here, self.models)) else "passes"

    def open(self, workers: int, kill_at: int | None = None) -> dict[str, Any]:
        """Return the models as a user would open them."""
        opened: dict[str, Any] = {}
        for role, model in self.models.items():
            if self.over_http(role):
                opened[role] = ChatEndpoint("checked", self.servers[id(model)].url, workers=workers)
            elif self.looked_into(role):
                opened[role] = (CountingTowers if two_tower(model) else counting_inside)(model, kill_at)
            elif "varies" in offers(model):
                opened[role] = CountingViews(model, kill_at)
            else:
                opened[role] = (CountingScores if self.scored_here(role) else Counting)(model, kill_at)
        return opened

    def asked(self, opened: Mapping[str, Any]) -> int:
        """Return the calls that the servers and these models have seen so far, else the passes that were made."""
        if self.unit == "calls":
            here = sum(m.requests for m in opened.values() if isinstance(m, CountingScores))
            return here + sum(server.requests for server in self.servers.values())
        inside = sum(m.passes for m in opened.values() if isinstance(m, Counted))
        return inside + sum(m.texts for m in opened.values() if isinstance(m, Counting))

    def fit(self, budget: str, workers: int = WORKERS) -> Trial:
        """Run in this process, with an empty store."""
        opened = self.open(workers)
        before = self.asked(opened)
        try:
            with own_home():
                result = run_once(self.method, self.task, opened, budget, self.seed)
        except Exception as error:  # any error of a method under test is a broken promise, told with its type
            text = f"fit failed with budget {budget}: {type(error).__name__}: {error}"
            raise AssertionError(f"{self.checked.about}: {text}") from error
        finally:
            for model in opened.values():
                if isinstance(model, ChatEndpoint):
                    model.close()
        return Trial(result, summary(result), self.asked(opened) - before)

    def fit_in_child(self, folder: Path, budget: str, kill_after: int | None) -> tuple[int, Any]:
        """Run in a process of its own, killed by SIGKILL when its models have been asked that often."""
        opened = self.open(WORKERS, None if self.servers else kill_after)
        before = self.asked(opened)

        def watch(process: Any) -> None:
            def kill(n: int) -> None:
                if kill_after is not None and self.asked(opened) - before >= kill_after:
                    process.kill()

            for server in self.servers.values():
                server.on_request, server.slowest = kill, SLOW

        spec = {"method": self.method, "task": self.task, "models": opened, "budget": budget, "seed": self.seed}
        spec["gap"] = 0.0  # so that a short training is taken up from a state too, and not only from its start
        try:
            return in_child("fit", folder, spec, watch, self.nest)
        finally:
            for server in self.servers.values():
                server.on_request, server.slowest = ignore, FAST


ignore: Callable[[int], None] = lambda n: None  # noqa: E731


def two_tower(model: Any) -> bool:
    """Whether a model has towers rather than a body."""
    return "two-tower" in offers(model)


def models_for(card: Card, given: Mapping[str, Any], tiny: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """Return a model per needed role: what was given, else a simulated chat model or a hashing encoder.

    `tiny(access)` makes the model of roles that are looked into. Raises UsageError for a role whose access none of them
    offers, and for roles that the method does not know.
    """
    unknown = set(given) - set(card.needs) - set(card.optional) - {"judge"}
    if unknown:
        raise UsageError(f"method {card.slug!r} has no role {', '.join(sorted(unknown))}")
    models = {role: open_model(m) for role, m in given.items()}
    chat = SimulatedChat("tickets")
    defaults: dict[str, Any] = {"generates": chat, "embeds": HashingEncoder(), "scores": chat, "varies": MadeViews()}
    for role, allowed in card.needs.items():
        if role not in models:
            name = next((a for a in allowed if a in defaults), None)
            if name is None and tiny and INSIDE & {*allowed}:
                name = next(a for a in allowed if a in INSIDE)
                defaults[name] = tiny(name)
            if name is None:
                raise UsageError(
                    f"check_method has no model that {' or '.join(map(verb, allowed))} for {role!r}; give models="
                )
            models[role] = defaults[name]
    return models
