"""The models behind a page: metered, with a budget over the whole session, asked by one thread at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from promptology.api.common import default_budget, open_meter, settings_of
from promptology.data.task import Task
from promptology.errors import BudgetEnded, PromptologyError, UsageError
from promptology.evidence.specifying import Settings, check_prices, new_nonce, roles_of
from promptology.evidence.wording import cut
from promptology.feedback.sessions import Conversing, State, at
from promptology.methods.registry import catalogue
from promptology.prompts.learned import Learned
from promptology.run.cost import Cost
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import Place, Store, open_store

NEVER = 1.0
"""Share of missing answers that stops: a page tells of each and goes on."""


@dataclass(frozen=True)
class Asking:
    """What is asked, and by whose leave: task, method, models by role, settings."""

    task: Task
    method: Conversing
    models: Mapping[str, Any]
    settings: Settings
    access: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    store: Place = field(default=None, repr=False)


def asking(
    task: Task, method: Any, model: Any, helpers: Mapping[str, Any], budget: Any, store: Place, **options: Any
) -> Asking:
    """Return what a page asks; raises UsageError or AccessError for what it cannot ask, before anything is sent."""
    card = type(method).card
    if not isinstance(method, Conversing):
        able = [slug for slug, other in catalogue().items() if issubclass(other.cls, Conversing)]
        raise UsageError(f"method {card.slug!r} does not learn from a person at a page; {', '.join(able)} can")
    if task.signature.output != "text" or any(f.kind != "text" for f in task.signature.fields):
        raise UsageError(
            f"task {task.name!r} does not turn texts into a text, which is all that a page can show; for labels that "
            "are texts give --output text"
        )
    settings = settings_of(budget if budget is not None else default_budget(model), **{**options, "missing": NEVER})
    if "seconds" in settings.budget.limits:
        raise UsageError("a page waits for a person: limit calls, usd, tok or passes, not the time")
    models, notes = roles_of(card, model, helpers)
    if "usd" in settings.budget.limits:
        check_prices(models, settings.prices)
    access = {role: card.needs.get(role) or card.optional.get(role) or ("generates",) for role in models}
    return Asking(task, method, models, settings, access, tuple(notes), store)


class Models:
    """The models of a page, opened and asked by one thread. `charged`: what the session has cost, earlier included."""

    def __init__(self, what: Asking, charged: Cost) -> None:
        self._what = what
        self._store: Store = open_store(what.store)
        self._run, self._meter = self._begin(what.settings, charged)

    @property
    def charged(self) -> Cost:
        """What the session has cost so far."""
        return self._meter.charged

    def ask(self, state: State, anew: bool = False) -> tuple[State, str]:
        """Return the state after the models did what was due, and in words what they could not do.

        `anew`: answers that were given before do not count, an empty one above all.
        """
        if anew:
            settings = replace(self._what.settings, cache=False, nonce=new_nonce())
            self._run, self._meter = self._begin(settings, self.charged)
        self._meter.last_failure = ""
        try:
            state = self._what.method.ask(self._run, state)
        except BudgetEnded:
            budget = self._what.settings.budget
            return state, f"The budget of {budget} is used up. Start the page again with a larger --budget to go on."
        except PromptologyError as error:
            return state, f"{str(error)[:1].upper()}{str(error)[1:]}."
        except Exception as error:  # a method or a model of somebody else: the page stays, and says what happened
            return state, f"The method failed with {type(error).__name__}: {error}"
        why = f" ({cut(self._meter.last_failure)})" if self._meter.last_failure else ""
        if at(state, "open"):
            return state, f"The model gave no draft{why}." if why else "The model gave an empty draft."
        return state, f"What an edit says could not be found out{why}." if at(state, "edited") else ""

    def learned(self, state: State) -> Learned:
        """Return what was learned so far as a prompt."""
        return self._what.method.learned(self._run, state)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def _begin(self, settings: Settings, charged: Cost) -> tuple[Run, Meter]:
        what = self._what
        meter = open_meter(self._store, settings)
        meter.phase, meter.charged = "learning", charged
        handles = {
            role: Handle(meter, role, m, what.access[role], dict(settings.sampling.get(role, {})))
            for role, m in what.models.items()
        }
        return Run(what.task, handles, meter, seed=settings.seed), meter
