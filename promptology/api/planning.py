"""What a fit would cost, before anything is asked: learning by the method's own plan, evidence, what a budget buys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from promptology.api.common import as_task, default_budget, settings_of
from promptology.data.items import Item
from promptology.data.task import Task
from promptology.evidence.documents import model_entry, task_entry
from promptology.evidence.fitting import Settings
from promptology.evidence.protocols import VALIDATION_SHARE, choosing_items
from promptology.evidence.turns import held_back
from promptology.methods.registry import create, planned
from promptology.models.access import offers
from promptology.models.opening import model as open_model
from promptology.prompts.learned import Learned
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import messages
from promptology.prompts.start import start_from
from promptology.run.budget import Budget
from promptology.run.cost import Cost, Price
from promptology.search.planning import grades

BYTES_PER_TOKEN = 4
RESOURCES = ("calls", "tokens", "usd", "passes")


def plan(
    task: Any,
    model: Any,
    method: Any,
    *,
    settings: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Return what a fit would cost, without calling anything.

    `learning`: the method's own prediction, None where it makes none; `evidence_at_most`: start and found on every
    labelled validation and test item; `evidence_items`: how many of them the budget covers; `affordable`: the share of
    the search that the budget covers. Tokens and money are estimates: of the prompt at the start, in bytes / 4.
    """
    task, model = as_task(task, prompt, system), open_model(model)
    chosen = create(method, settings)
    card = type(chosen).card
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    learning: Cost | None = planned(chosen, task, model)
    start = start_from(task.signature, offers(model), run_settings.readout)
    if learning and learning.calls and start.readout.type == "label-likelihood":
        learning = None  # a method plans with one call per prediction
    one = _prediction(task, model, start, run_settings).plus(_priced(grades(task, 1), run_settings.prices.get("judge")))
    counts = _labelled(task)
    again = run_settings.noise_floor if one.calls else 0
    evidence = one.scaled((2 if one.calls else 1) * sum(counts.values()) + min(again, counts["test"]))
    learning = learning and _priced(learning, run_settings.prices.get("model"))
    share = _affordable(learning, task, run_settings.budget, again)
    return {
        "method": card.slug,
        "task": task_entry(task),
        "model": model_entry(model),
        "needs": {role: list(access) for role, access in card.needs.items()},
        "budget": str(run_settings.budget),
        "learning": learning.to_json() if learning else None,
        "affordable": share,
        "evidence_at_most": evidence.to_json(),
        "evidence_items": _covered(counts, one, learning, share, run_settings.budget, again),
        "covered": run_settings.budget.covers(evidence.plus(learning or Cost())),
        "settings": {f.name: getattr(chosen, f.name) for f in fields(chosen)},
    }


def _labelled(task: Task) -> dict[str, int]:
    return {"validation": len(choosing_items(task)), "test": len(task.test)}


def _prediction(task: Task, model: Any, start: Learned, settings: Settings) -> Cost:
    """Return the cost of one prediction by the start: passes, or calls with the tokens they are likely to take."""
    likelihood = start.readout.type == "label-likelihood"
    each = len(task.signature.classes) if likelihood else 1
    if start.roles["model"] == "embeds" or getattr(model, "local", False):
        return Cost(passes=each)
    items = [*task.validation, *task.train, *task.test, *task.unlabeled][:200]
    size = sum(_bytes(start, item, task) for item in items) / max(len(items), 1)
    shown = [answer_text(i.target, task.signature, i.inputs) for i in items if i.labelled and not i.sealed]
    said = [len(text.encode("utf-8", "replace")) for text in shown]
    out = sum(said) / len(said) if said else 200.0
    wrote = 1 if likelihood else math.ceil(out / BYTES_PER_TOKEN)
    tokens = Cost(each, each * math.ceil(size / BYTES_PER_TOKEN), each * wrote, estimated=True)
    return _priced(tokens, settings.prices.get("model"))


def _bytes(start: Any, item: Item, task: Task) -> int:
    return sum(len(content.encode("utf-8", "replace")) for _, content in messages(start, item.inputs, task.signature))


def _priced(cost: Cost, price: Price | None) -> Cost:
    return cost if price is None else cost._replace(usd=price.usd(cost.tokens_in, cost.tokens_out))


def _affordable(learning: Cost | None, task: Task, budget: Budget, again: int) -> float | None:
    """Return the share of the search that fits beside what evidence holds back; None where no plan or limit tells."""
    if learning is None:
        return None
    back = held_back(task, budget, again)
    shares = [
        (budget.limits[r] - back.get(r, 0.0)) / getattr(learning, r)
        for r in RESOURCES
        if r in budget.limits and getattr(learning, r)
    ]
    return min(1.0, *shares) if shares else None


def _covered(
    counts: Mapping[str, int], one: Cost, learning: Cost | None, share: float | None, budget: Budget, again: int
) -> dict[str, int]:
    """Return the validation and test items on which start and found can both be asked after the search.

    `again`: items that are asked a second time; their part of what is left is kept for them.
    """
    used = (learning or Cost()).scaled(1.0 if share is None else share)
    others = 2 * sum(counts.values())
    back = again / (others + again) if again else 0.0
    kept = {r: back * (budget.limits[r] - getattr(used, r)) for r in RESOURCES if r in budget.limits}

    def most(n: int, used: Cost, part: float) -> int:
        pairs = 2 if one.calls else 1
        room = [
            part * (budget.limits[r] - kept[r] - getattr(used, r)) / (pairs * getattr(one, r))
            for r in RESOURCES
            if r in budget.limits and getattr(one, r)
        ]
        return max(0, min([n, *(int(x) for x in room)]))

    validation = most(counts["validation"], used, VALIDATION_SHARE)
    after = used.plus(one.scaled((2 if one.calls else 1) * validation))
    return {"validation": validation, "test": most(counts["test"], after, 1.0)}
