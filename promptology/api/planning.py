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
from promptology.prompts.render import input_text, messages
from promptology.prompts.start import start_from
from promptology.run.budget import Budget
from promptology.run.cost import Cost, Price
from promptology.run.embedding import texts_per_call
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
    counts, at_once = _labelled(task), texts_per_call(model)
    if learning and at_once:  # the passes of a plan are texts, which a server embeds several at a time
        learning = learning._replace(passes=0).plus(_together(one, learning.passes, at_once))
    again = run_settings.noise_floor if one.calls and not at_once else 0
    pairs, wordings = _pairs(one, at_once), 2 * len(task.signature.classes) if at_once else 0
    evidence = _together(one, pairs * counts["validation"] + wordings, at_once)
    evidence = evidence.plus(_together(one, pairs * counts["test"] + min(again, counts["test"]), at_once))
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
        "evidence_items": _covered(counts, one, learning, share, run_settings.budget, again, at_once),
        "covered": run_settings.budget.covers(evidence.plus(learning or Cost())),
        "settings": {f.name: getattr(chosen, f.name) for f in fields(chosen)},
    }


def _labelled(task: Task) -> dict[str, int]:
    return {"validation": len(choosing_items(task)), "test": len(task.test)}


def _prediction(task: Task, model: Any, start: Learned, settings: Settings) -> Cost:
    """Return the cost of one prediction by the start: passes, or calls with the tokens they are likely to take."""
    likelihood = start.readout.type == "label-likelihood"
    each = len(task.signature.classes) if likelihood else 1
    items = [*task.validation, *task.train, *task.test, *task.unlabeled][:200]
    if texts_per_call(model):
        read = sum(len(input_text(i.inputs, task.signature).encode("utf-8", "replace")) for i in items)
        tokens = math.ceil(read / max(len(items), 1) / BYTES_PER_TOKEN)
        return _priced(Cost(1, tokens, estimated=True), settings.prices.get("model"))
    if start.roles["model"] == "embeds" or getattr(model, "local", False):
        return Cost(passes=each)
    size = sum(_bytes(start, item, task) for item in items) / max(len(items), 1)
    shown = [answer_text(i.target, task.signature, i.inputs) for i in items if i.labelled and not i.sealed]
    said = [len(text.encode("utf-8", "replace")) for text in shown]
    out = sum(said) / len(said) if said else 200.0
    wrote = 1 if likelihood else math.ceil(out / BYTES_PER_TOKEN)
    asked = Cost(each, each * math.ceil(size / BYTES_PER_TOKEN), each * wrote, estimated=True)
    return _priced(asked, settings.prices.get("model"))


def _pairs(one: Cost, at_once: int) -> int:
    """Return how often an item is asked, by start and found: twice, or once where both read the same vector."""
    return 2 if one.calls and not at_once else 1


def _together(one: Cost, items: int, at_once: int) -> Cost:
    """Return the cost of items that cost `one` each by themselves, where one call takes `at_once` of them (0: one)."""
    whole = one.scaled(items)
    return whole._replace(calls=-(-whole.calls // max(at_once, 1)))


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
    counts: Mapping[str, int],
    one: Cost,
    learning: Cost | None,
    share: float | None,
    budget: Budget,
    again: int,
    at_once: int,
) -> dict[str, int]:
    """Return the validation and test items on which start and found can both be asked after the search.

    `again`: items that are asked a second time; their part of what is left is kept for them. `at_once`: items whose
    vectors one call brings, 0 where items are not embedded by a server.
    """
    used = (learning or Cost()).scaled(1.0 if share is None else share)
    others = 2 * sum(counts.values())
    back = again / (others + again) if again else 0.0
    kept = {r: back * (budget.limits[r] - getattr(used, r)) for r in RESOURCES if r in budget.limits}

    def most(n: int, used: Cost, part: float) -> int:
        room = [
            part
            * (budget.limits[r] - kept[r] - getattr(used, r))
            / (_pairs(one, at_once) * getattr(one, r))
            * (max(at_once, 1) if r == "calls" else 1)
            for r in RESOURCES
            if r in budget.limits and getattr(one, r)
        ]
        return max(0, min([n, *(int(x) for x in room)]))

    validation = most(counts["validation"], used, VALIDATION_SHARE)
    after = used.plus(_together(one, _pairs(one, at_once) * validation, at_once))
    return {"validation": validation, "test": most(counts["test"], after, 1.0)}
