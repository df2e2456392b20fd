"""What makes a run this run: settings, the models of its roles, its specification."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from promptology.data.items import digest
from promptology.data.scoring import Metric
from promptology.data.task import Task
from promptology.errors import AccessError, UsageError
from promptology.evidence.streams import NAME as STREAM
from promptology.methods.registry import Card
from promptology.models.access import offers, verb
from promptology.prompts.learned import Learned
from promptology.run.budget import Budget
from promptology.run.cost import Price
from promptology.run.meter import Limits

LATER = ("readout", "noise_floor", "max_prompt_tokens")


@dataclass(frozen=True)
class Settings:
    """Settings of a run that do not belong to the method.

    `sampling`: temperature and max_tokens per role, where the user fixed them. `nonce` tells apart runs with the cache
    off. `origin`: how the command line can start the run again. `expect`: the run that must be the one continued.
    `readout`: how the start reads the model, where the default is not wanted. `noise_floor`: test items on which what
    was found is asked a second time. `max_prompt_tokens`: tokens that a prompt may have, 0 for any number. `blocks`,
    `order`: of a stream, see `streams.prequential`.
    """

    budget: Budget
    seed: int = 0
    cache: bool = True
    prices: Mapping[str, Price] = field(default_factory=dict)
    sampling: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    protocol: str | None = None
    retry_failed: bool = False
    nonce: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    expect: str = ""
    readout: str = ""
    noise_floor: int = 0
    max_prompt_tokens: int = 0
    blocks: int = 10
    order: str = "seed"


def roles_of(
    card: Card, model: Any, helpers: Mapping[str, Any], metric: Metric | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return a model per role that method and metric declare, and what must be said aloud about defaults.

    A helper role that was not given takes the task's own model where it can do the work. Raises AccessError where a
    model does not offer what its role needs, UsageError for a helper that the method does not know.
    """
    unknown = set(helpers) - set(card.needs) - set(card.optional) - {"judge"}
    if unknown:
        known = ", ".join(r for r in (*card.needs, *card.optional) if r != "model") or "none"
        raise UsageError(f"method {card.slug!r} has no role {', '.join(sorted(unknown))}; its helper roles: {known}")
    models: dict[str, Any] = {}
    notes: list[str] = []
    of_metric = {r: (a,) for r, a in metric.needs.items() if r not in card.needs} if metric else {}
    for role, allowed in {**card.needs, **of_metric}.items():
        given = model if role == "model" else helpers.get(role)
        if given is None:
            given = model
            notes.append(f"role {role}: the task's own model ({model.name})")
        who = f"metric {metric.name!r}" if metric and role in of_metric else f"method {card.slug!r}"
        _check_offer(who, role, given, allowed)
        models[role] = given
    for role in (*card.optional, "judge"):
        if role in helpers:
            _check_offer(f"method {card.slug!r}", role, helpers[role], card.optional.get(role, ()))
            models[role] = helpers[role]
    return models, notes


def _check_offer(who: str, role: str, model: Any, allowed: Sequence[str]) -> None:
    """Raise AccessError where a model does not offer what its role needs, with how another one is given."""
    if not allowed or set(offers(model)) & set(allowed):
        return
    given = f"give one with --{role} MODEL (in Python, helpers={{{role!r}: MODEL}})"
    raise AccessError(
        f"{who} needs a model that {' or '.join(map(verb, allowed))} as {role!r}; "
        f"{model.name} offers {', '.join(offers(model)) or 'nothing'}" + ("" if role == "model" else f"; {given}")
    )


def run_spec(
    task: Task,
    card: Card,
    method: Any,
    models: Mapping[str, Any],
    settings: Settings,
    sources: Sequence[Learned] = (),
) -> dict[str, Any]:
    """Return what makes a run this run; equal specifications are the same run."""
    return {
        "task": {"name": task.name, "fingerprint": task.fingerprint(), "metric": task.metric.name},
        "method": card.slug,
        "settings": asdict(method),
        "models": {role: str(getattr(m, "identity", m.name)) for role, m in models.items()},
        "budget": str(settings.budget),
        "evidence_share": settings.budget.evidence_share,
        "seed": settings.seed,
        "prices": {role: list(price) for role, price in settings.prices.items()},
        "sampling": {role: dict(values) for role, values in settings.sampling.items()},
        "protocol": settings.protocol or "",
        "cache": settings.cache,
        "nonce": settings.nonce,
        # Runs from before these settings, or without them, keep their ids.
        **{name: value for name in LATER if (value := getattr(settings, name))},
        **({"stream": [settings.blocks, settings.order]} if settings.protocol == STREAM else {}),
        **({"sources": [digest(source.to_json()) for source in sources]} if sources else {}),
    }


def check_prices(models: Mapping[str, Any], prices: Mapping[str, Price]) -> None:
    """Raise UsageError where a limit in dollars lacks the price of a model."""
    missing = [r for r, m in models.items() if r not in prices and not getattr(m, "local", False)]
    if missing:
        raise UsageError(
            f"a usd budget needs the price of {', '.join(missing)}; give --price IN,OUT in dollars per million tokens"
        )


def new_nonce() -> str:
    """Return what makes a run with the cache off a new run."""
    return os.urandom(6).hex()
