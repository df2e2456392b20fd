"""Which methods suit a model, a task and a budget: from cards, plans, recorded claims and sample sizes, each named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from promptology.api.common import as_task, default_budget, open_all, settings_of
from promptology.api.learning import compare
from promptology.api.planning import plan
from promptology.claims.recording import recorded
from promptology.data.task import Task
from promptology.errors import PromptologyError, UsageError
from promptology.evidence.documents import model_entry, task_entry
from promptology.evidence.fitting import roles_of
from promptology.evidence.measuring import shuffled
from promptology.evidence.protocols import choosing_items
from promptology.evidence.report import format_cost
from promptology.evidence.statistics import POWER, items_needed
from promptology.methods.registry import Card, catalogue
from promptology.models.access import offers
from promptology.models.opening import model as open_model

PLAIN, PROBE = "manual", "linear-probe"
DISAGREEMENT = 0.15
"""Share of items on which two prompts are taken to score differently, until they have been measured."""
UNITS = ("steps", "subsets", "generations", "rounds", "candidates", "prompts", "metric_calls")
"""Settings that say how long a method goes on; a budget that covers a part of its plan buys that part of them."""
MEASURED, TRAINED = 100, 1000
"""Validation and training items that `measure` uses at most."""
ORDER = (
    "what the budget covers of the predicted search, then recorded claims (reproduced; none or both; none reproduced), "
    "then predicted calls and passes of learning, then name"
)
SAMPLE = "sample size of a paired test, 5 %, power 80 %: n = 7.84 d / difference squared"
Note = dict[str, str]


def advise(
    task: Any,
    model: Any,
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    measure: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Return which methods suit this model, task and budget, best first, and why the others do not.

    Nothing is asked of a model, except with `measure`: then the plain prompt and, where it fits, a linear probe are
    scored on validation items (at most 100), never on the test split. `options`: as in `fit`. Every reason names its
    source: a card, a plan, a recorded claim, or a rule of sample size. Raises UsageError where no method that learns
    fits, with what is missing.
    """
    task, model, helpers = as_task(task, prompt, system), open_model(model), open_all(helpers)
    limits = budget if budget is not None else default_budget(model)
    known, claims = catalogue(), recorded()
    entries = [_entry(card, task, model, helpers, limits, options) for card in known.values()]
    for entry in entries:
        _cite(entry, claims.get(entry["method"], []))
    fitting = sorted((e for e in entries if not e["lacks"]), key=_rank)
    lacking = [e for e in entries if e["lacks"]]
    if all(e["learns"] == "nothing" for e in fitting):
        raise UsageError(_nothing(task, model, lacking))
    measured = _measured(task, model, helpers, fitting, limits, options) if measure else None
    return {
        "task": {**task_entry(task), "labelled": labelled(task), "output": task.signature.output},
        "model": {**model_entry(model), "offers": list(offers(model))},
        "budget": str(settings_of(limits).budget),
        "budget_given": budget is not None,
        "order": ORDER,
        "notes": [*_evidence_notes(task, fitting), *_enough_notes(task, measured, fitting)],
        "measured": measured,
        "methods": [*fitting, *lacking],
    }


def labelled(task: Task) -> dict[str, int]:
    """Return the labelled items by split; those of the test split are counted, not opened."""
    return {split: sum(i.labelled for i in getattr(task, split)) for split in ("train", "validation", "test")}


def _entry(
    card: Card, task: Task, model: Any, helpers: Mapping[str, Any], budget: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what card and plan say about a method here."""
    entry: dict[str, Any] = {
        "method": card.slug,
        "family": card.family,
        "help": card.help,
        "learns": card.learns,
        "lacks": _lacks(card, task, model, helpers),
        "why": [],
        "learning": None,
        "affordable": None,
        "evidence_items": None,
        "claims": [],
    }
    if entry["lacks"]:
        return entry
    entry["why"].append(_note(_access(card, model, helpers), f"card of {card.slug}"))
    try:
        planned = plan(task, model, card.slug, budget=budget, **options)
    except PromptologyError as error:
        entry["lacks"] = [_note(str(error), f"plan of {card.slug}")]
        return entry
    entry |= {name: planned[name] for name in ("learning", "affordable", "evidence_items")}
    source = f"plan of {card.slug} at its defaults"
    entry["why"].append(_note(_cost(planned), source))
    if (short := _too_small(planned)) is not None:
        entry["lacks"] = [_note(short, source)]
    return entry


def _lacks(card: Card, task: Task, model: Any, helpers: Mapping[str, Any]) -> list[Note]:
    """Return what keeps a method from running here."""
    source = f"card of {card.slug}"
    mine = {r: m for r, m in helpers.items() if r in (*card.needs, *card.optional, "judge")}
    try:
        roles_of(card, model, mine, task.metric)
    except PromptologyError as error:
        return [_note(str(error).removeprefix(f"method {card.slug!r} "), source)]
    found: list[Note] = []
    counts = labelled(task)
    judged = not getattr(task.metric, "labels", True) and card.learns == "text"
    if card.labels and not judged and not counts["train"] + counts["validation"]:
        found.append(_note("needs labelled training or validation items; the task has none", source))
    classes = task.signature.output in ("class", "classes")
    usable = {*offers(model)} & {*card.needs.get("model", ())}
    kind = getattr(model, "kind", "")
    if card.kinds and kind and kind not in card.kinds:
        found.append(_note(f"is for {', '.join(card.kinds)} models; {model.name} is of kind {kind}", source))
    if task.signature.images and "two-tower" not in usable:
        found.append(_note(f"reads no images; field {task.signature.images[0]!r} holds some", source))
    if card.outputs and task.signature.output not in card.outputs:
        text = f"is for tasks whose output is {' or '.join(card.outputs)}; here it is {task.signature.output}"
        found.append(_note(text, source))
    elif not classes and (usable == {"embeds"} or {"head", "readout", "network"} & {*card.learns.split(", ")}):
        found.append(_note(f"tells classes apart; the task's output is {task.signature.output}", source))
    return found


def _access(card: Card, model: Any, helpers: Mapping[str, Any]) -> str:
    parts = []
    for role, allowed in card.needs.items():
        given = helpers.get(role, model) if role != "model" else model
        offered = [access for access in allowed if access in offers(given)]
        own = "" if role == "model" or role in helpers else ", the task's own"
        parts.append(f"{role}: {' or '.join(offered)} ({given.name}{own})")
    return f"the access is there: {'; '.join(parts)}; " + ("it needs labels" if card.labels else "it needs no labels")


def _cost(planned: Mapping[str, Any]) -> str:
    if planned["learning"] is None:
        return "it does not predict its cost here"
    cost = format_cost(planned["learning"])
    says = "learning asks no model" if cost == "0" else f"learning takes {cost}"
    share = planned["affordable"]
    if share is None:
        return says
    bought = _bought(planned)
    some = f"{100 * share:.0f} % of it" + (f" ({bought})" if bought else "")
    return f"{says}; the budget of {planned['budget']} covers {'all of it' if share >= 1 else some} beside evidence"


def _bought(planned: Mapping[str, Any]) -> str:
    """Return how much of a method's course the budget buys, in its own unit; empty where it names none."""
    unit = next((u for u in UNITS if isinstance(planned["settings"].get(u), int)), None)
    if unit is None:
        return ""
    whole = planned["settings"][unit]
    return f"{max(0, math.floor(planned['affordable'] * whole))} of {whole} {unit.replace('_', ' ')}"


def _too_small(planned: Mapping[str, Any]) -> str | None:
    """Return what to say where the budget buys no step of a search; None where it buys one, or nothing tells."""
    share = planned["affordable"]
    if share is None or share >= 1:
        return None
    bought = _bought(planned)
    if share > 0 and not bought.startswith("0 "):
        return None
    cost = format_cost(planned["learning"])
    part = bought or "nothing"
    return f"the budget of {planned['budget']} buys {part} beside evidence; all of it takes {cost}"


def _cite(entry: dict[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    """Add what has been measured about a method: verdict and figures, with the claim's id."""
    for result in results:
        entry["claims"].append({"id": result["id"], "verdict": result["verdict"]})
        figures = "; ".join(_term(term) for term in result["terms"])
        text = (
            f"{result['verdict']} on {result['seeds']} seeds: {result['says']} Measured: {result['metric']}: {figures}"
        )
        entry["why"].append(_note(text, f"claim {result['id']}, recorded {result.get('date', 'without a date')}"))


def _term(term: Mapping[str, Any]) -> str:
    value, low, high = (term.get(name) for name in ("value", "low", "high"))
    if value is None:
        return str(term["rule"])
    span = "" if low is None or high is None or low == high else f" [{low:.3g}, {high:.3g}]"
    return f"{term['rule']}: {value:.3g}{span}"


def _rank(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    share, cost = entry["affordable"], entry["learning"]
    free = cost is not None and not any(cost[name] for name in ("calls", "passes"))
    covered = 0 if free or (share is not None and share >= 1) else 1
    verdicts = {claim["verdict"] for claim in entry["claims"]}
    claims = 0 if verdicts == {"reproduced"} else 2 if verdicts == {"not reproduced"} else 1
    amount = math.inf if cost is None else cost["calls"] + cost["passes"]
    return covered, claims, amount, entry["method"]


def _nothing(task: Task, model: Any, lacking: Sequence[Mapping[str, Any]]) -> str:
    """Return the line for a task for which nothing can be learned: what is missing, and for how many methods."""
    reasons: dict[str, list[str]] = {}
    for entry in lacking:
        reasons.setdefault(entry["lacks"][0]["text"], []).append(entry["method"])
    missing = "; ".join(f"{', '.join(methods)}: {text}" for text, methods in reasons.items())
    return f"no method that learns fits task {task.name!r} and model {model.name!r}: {missing}"


def _evidence_notes(task: Task, fitting: Sequence[Mapping[str, Any]]) -> list[Note]:
    """Return what the test split can show."""
    n = len(task.test)
    scored = task.labelled or not getattr(task.metric, "labels", True)
    if not n:
        return [_note("no test items: nothing can show that a prompt is better", SAMPLE)]
    if not scored:
        text = f"the {n:,} test items have no labels: start and found can only meet in a duel before a judge"
        return [_note(text, "protocol duel")]
    seen = math.sqrt(POWER * DISAGREEMENT / n)
    need = items_needed(0.03, DISAGREEMENT)
    usual = f"where two prompts differ on {100 * DISAGREEMENT:.0f} % of the items"
    if seen > DISAGREEMENT:
        text = f"{n:,} test items are too few to show any difference {usual}; 3 points take {need:,}"
    else:
        text = f"{n:,} test items show a difference of {100 * seen:.1f} points {usual}; 3 points take {need:,}"
    notes = [_note(text, SAMPLE)]
    covered = [e["evidence_items"]["test"] for e in fitting if e["evidence_items"]]
    if covered and max(covered) < n:
        text = f"the budget leaves evidence on {min(covered):,} to {max(covered):,} of {n:,} test items"
        notes.append(_note(text, "plans of the methods"))
    return notes


def _enough_notes(task: Task, measured: Mapping[str, Any] | None, fitting: Sequence[Mapping[str, Any]]) -> list[Note]:
    """Return whether plain prompting or a linear probe is enough, as far as that was measured."""
    if measured is None:
        names = [e["method"] for e in fitting if e["method"] in (PLAIN, PROBE)]
        if not names or not choosing_items(task):
            return []
        costs = " and ".join(f"{e['method']} ({_learning(e)})" for e in fitting if e["method"] in names)
        return [_note(f"whether {costs} is enough has not been measured: --measure does", "plans of the methods")]
    source = f"measured on {measured['items']} validation items"
    notes: list[Note] = []
    for arm in measured["arms"]:
        score = arm["score"]
        if score is None:
            notes.append(_note(f"{arm['method']}: {arm['verdict']}", source))
            continue
        gain = 1.0 - score["value"]
        span = f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
        need = items_needed(gain, gain) if gain > 0 else None
        if need is None or need > len(task.test):
            short = (
                "nothing is left to gain" if need is None else f"even a perfect prompt would take {need:,} test items"
            )
            text = f"{arm['method']} is enough: {span}; {short}, there are {len(task.test):,}"
            notes.append(_note(text, f"{source}; {SAMPLE}"))
        else:
            notes.append(_note(f"{arm['method']} scores {span}: at most {100 * gain:.0f} points are left", source))
        if arm["method"] == PROBE and arm["difference"]:
            d = arm["difference"]
            text = (
                f"{PROBE} against {PLAIN}: {d['value']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}], {arm['verdict']}; "
                f"what costs more has to beat it"
            )
            notes.append(_note(text, source))
    return notes


def _learning(entry: Mapping[str, Any]) -> str:
    cost = format_cost(entry["learning"])
    return "nothing to learn" if cost == "0" else cost


def _measured(
    task: Task,
    model: Any,
    helpers: Mapping[str, Any],
    fitting: Sequence[Mapping[str, Any]],
    budget: Any,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the scores of the plain prompt and a linear probe on validation items, which stand in for the test."""
    items = shuffled([i for i in task.validation if i.labelled], task)[:MEASURED]
    methods = [name for name in (PLAIN, PROBE) if any(e["method"] == name for e in fitting)]
    if not items or not methods:
        raise UsageError(
            f"nothing to measure: task {task.name!r} has no labelled validation items; leave --measure out"
        )
    small = Task(
        shuffled([i for i in task.train if i.labelled], task)[:TRAINED],
        [],
        items,
        signature=task.signature,
        metric=task.metric,
        name=f"{task.name} (validation)",
    )
    judge = {role: helper for role, helper in helpers.items() if role == "judge"}
    arms = compare(small, model, methods, helpers=judge, budget=budget, **options).document["arms"]
    kept = ("method", "score", "difference", "p", "verdict", "learning", "evidence")
    return {"items": len(items), "arms": [{name: arm[name] for name in kept} for arm in arms]}


def _note(text: str, source: str) -> Note:
    return {"text": text, "source": source}
