"""One run from start to evidence: learn, choose on validation, measure on the sealed split, save."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from promptology.data.items import digest
from promptology.data.scoring import Metric
from promptology.data.task import Task
from promptology.errors import AccessError, PromptologyError, ReplayError, TooManyMissing, UsageError
from promptology.evidence.guards import Guards, check_length, guard, room_for_noise, within
from promptology.evidence.protocols import Evidence, choose, choosing_items, gather
from promptology.methods.registry import Card
from promptology.models.access import offers, verb
from promptology.prompts.learned import Learned
from promptology.prompts.saving import save
from promptology.run.budget import Budget
from promptology.run.cost import Cost, Price
from promptology.run.engine import Run, learn
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import Place, Store, home, no_place, using_store

LATER = ("readout", "noise_floor", "max_prompt_tokens")
Observer = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Settings:
    """Settings of a run that do not belong to the method.

    `sampling`: temperature and max_tokens per role, where the user fixed them. `nonce` tells apart runs with the cache
    off. `origin`: how the command line can start the run again. `expect`: the run that must be the one continued.
    `readout`: how the start reads the model, where the default is not wanted. `noise_floor`: test items on which what
    was found is asked a second time. `max_prompt_tokens`: tokens that a prompt may have, 0 for any number.
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


@dataclass(frozen=True)
class Result:
    """What a run gives back: the prompt, the evidence, the cost, and where it lies."""

    learned: Learned
    evidence: Evidence
    run: str
    folder: Path
    method: str
    start: Learned
    charged: Cost
    paid: Cost
    learning: Cost
    ledger: list[dict[str, Any]]
    history: list[dict[str, Any]]
    warnings: tuple[str, ...]
    elapsed: float
    lineage: dict[str, Any] = field(default_factory=dict, repr=False)
    spent: list[dict[str, float]] = field(default_factory=list, repr=False)
    guards: Guards = field(default_factory=Guards)
    document: dict[str, Any] = field(default_factory=dict, repr=False)
    _model: Any = None
    _helpers: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, items: Sequence[Any]) -> list[Any]:
        """Predict with what was learned, outside the budget."""
        helpers = {role: m for role, m in self._helpers.items() if role in self.learned.roles}
        outputs: list[Any] = self.learned.bind(self._model, helpers).predict(items).outputs
        return outputs

    def save(self, folder: str | Path) -> Path:
        """Write the prompt folder."""
        return save(self.learned, folder)

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file."""
        from promptology.evidence.report import write

        write(self.document, Path(path))
        return Path(path)

    def __str__(self) -> str:
        return f"{self.method}: {self.evidence}"


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
        if not set(offers(given)) & set(allowed):
            who = f"metric {metric.name!r}" if metric and role in of_metric else f"method {card.slug!r}"
            raise AccessError(
                f"{who} needs a model that {' or '.join(map(verb, allowed))} as {role!r}; "
                f"{given.name} offers {', '.join(offers(given)) or 'nothing'}"
            )
        models[role] = given
    for role in (*card.optional, "judge"):
        if role in helpers:
            models[role] = helpers[role]
    return models, notes


def run_spec(task: Task, card: Card, method: Any, models: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
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
    }


def fit_one(
    task: Task,
    model: Any,
    card: Card,
    method: Any,
    helpers: Mapping[str, Any],
    settings: Settings,
    *,
    store: Place = None,
    sources: Sequence[Learned] = (),
    observe: Observer | None = None,
    progress: Callable[[Meter, str, int], None] | None = None,
) -> Result:
    """Learn with one method and gather evidence; a run with the same specification continues where it ended.

    Raises UsageError, AccessError, ModelError, TooManyMissing or StoreError; what was answered is kept in the store.
    """
    say: Observer = observe or (lambda event, values: None)
    models, notes = roles_of(card, model, helpers, task.metric)
    if "usd" in settings.budget.limits:
        _check_prices(models, settings.prices)
    for note in notes:
        say("note", {"text": note})
    spec = run_spec(task, card, method, models, settings)
    id = digest(spec)
    if settings.expect and id != settings.expect:
        raise ReplayError(
            f"run {settings.expect} cannot be continued: its task, model or settings are not those of today; "
            "restore them, or start a new run"
        )
    folder = home() / "runs" / id
    with using_store(store) as opened, opened.alone(id):
        _check_writable(folder)
        run, meter = _open(task, card, models, settings, opened, id, sources, say, progress)
        check_length(run.start, run.model(), settings.max_prompt_tokens)
        row = opened.create_run(id, {**spec, "origin": dict(settings.origin)})
        say("run", {"id": id, "resumed": row.status != "running" or row.elapsed > 0, "status": row.status})
        return _run(card, method, models, settings, run, meter, folder, say)


def _open(
    task: Task,
    card: Card,
    models: Mapping[str, Any],
    settings: Settings,
    store: Store,
    id: str,
    sources: Sequence[Learned],
    say: Observer,
    progress: Callable[[Meter, str, int], None] | None,
) -> tuple[Run, Meter]:
    """Return what a method sees, and the meter behind it."""
    meter = Meter(
        store,
        id,
        budget=settings.budget,
        prices=settings.prices,
        seed=settings.seed,
        cache=settings.cache,
        limits=settings.limits,
        retry_failed=settings.retry_failed,
        on_progress=progress,
        folder=home() / "runs" / id,
    )
    handles = {
        role: Handle(meter, role, m, _declared(card, role), dict(settings.sampling.get(role, {})))
        for role, m in models.items()
    }
    run = Run(
        task,
        handles,
        meter,
        seed=settings.seed,
        sources=sources,
        on_log=say,
        on_track=lambda label, n, total: say("track", {"label": label, "done": n, "total": total}),
        readout=settings.readout,
        max_prompt_tokens=settings.max_prompt_tokens,
    )
    return run, meter


def _run(
    card: Card,
    method: Any,
    models: Mapping[str, Any],
    settings: Settings,
    run: Run,
    meter: Meter,
    folder: Path,
    say: Observer,
) -> Result:
    """Learn, choose, measure; the run's status follows whatever happens."""
    store, task = meter.store, run.task
    store.set_status(meter.run, "running")
    try:
        meter.held_back = held_back(task, settings.budget, settings.noise_floor)
        found = within(run, learn(method, run))
        check_alive(card, run, meter)
        learning, stopped, steps = meter.charged, meter.stopped, len(run.history)
        say("phase", {"name": "evidence"})
        meter.phase, meter.held_back = "evidence", {}
        with room_for_noise(run, meter, found, settings.noise_floor, settings.protocol):
            choice = choose(run, meter, found)
            evidence = gather(task, run, meter, choice.learned, settings.protocol)
        guards = guard(run, meter, evidence, choice.learned, settings.noise_floor)
        meter.check_missing()
    except BaseException as error:
        meter.flush()
        why = {"error": " ".join(str(error).split())} if isinstance(error, PromptologyError) else None
        store.set_status(meter.run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", why)
        raise
    result = Result(
        choice.learned,
        evidence,
        meter.run,
        folder,
        card.slug,
        run.start,
        meter.charged,
        meter.paid,
        learning,
        ledger_of(meter),
        run.history,
        (*run.warnings, *warnings_of(choice.note, stopped, steps, evidence, meter), *guards.warnings),
        meter.elapsed,
        run.lineage.to_json(choice.learned),
        run.spent,
        guards,
        _model=models["model"],
        _helpers=models,
    )
    save(result.learned, folder / "prompt")
    summary = {"verdict": evidence.verdict, "evidence": str(evidence), "charged": meter.charged.to_json()}
    store.set_status(meter.run, "done", summary)
    meter.states.sweep()
    return result


def warnings_of(note: str, stopped: bool, steps: int, evidence: Evidence, meter: Meter) -> tuple[str, ...]:
    """Return what a user should know about how a run ended."""
    warnings = [note] if note else []
    if stopped:
        when = f"after {steps} recorded steps" if steps else "before its first step: a larger budget is needed"
        warnings.append(f"the budget ended the search {when}")
    warnings += evidence.notes
    if meter.missing:
        warnings.append(f"{meter.missing} answers are missing")
    return tuple(warnings)


def _declared(card: Card, role: str) -> tuple[str, ...]:
    return card.needs.get(role) or card.optional.get(role) or ("generates",)


def held_back(task: Task, budget: Budget, again: int = 0) -> dict[str, float]:
    """Return what learning must leave for evidence: its share of each limit, and of calls no more than it can use.

    `again`: items that are asked a second time, for the noise floor.
    """
    share = {resource: limit * budget.evidence_share for resource, limit in budget.limits.items()}
    if "calls" in share:
        items = len(task.test) + len(choosing_items(task))
        scored = task.labelled or not getattr(task.metric, "labels", True)
        # A judge grades every answer.
        most = (2 * items + again) * (1 + len(task.metric.needs)) if scored else 4 * len(task.test)
        share["calls"] = min(int(share["calls"]), most)
    return share


def check_alive(card: Card, run: Run, meter: Meter) -> None:
    """Raise where every step of a search failed: that is an error, never a success with the starting prompt."""
    count = run.tally
    if count["proposals"] and count["proposals"] == count["unanswered"]:
        raise TooManyMissing(
            f"the optimizer answered none of {count['proposals']} requests of {card.slug} (last: "
            f"{meter.last_failure}); when it answers again, resume with --retry-failed"
        )
    if count["proposals"] and not count["usable"]:
        fit = f" of at most {run.max_prompt_tokens} tokens" if count["too long"] else ""
        raise TooManyMissing(
            f"every one of {count['proposals']} proposals of {card.slug} was unusable: the optimizer's answers "
            f"hold no new prompt{fit}; try another --optimizer, or a start that says more"
        )
    if count["votes"] and count["votes"] == count["void"]:
        raise TooManyMissing(
            f"every one of {count['votes']} votes in {card.slug} was void: the judge's answers name neither side; "
            "try another --judge"
        )


def _check_prices(models: Mapping[str, Any], prices: Mapping[str, Price]) -> None:
    missing = [r for r, m in models.items() if r not in prices and not getattr(m, "local", False)]
    if missing:
        raise UsageError(
            f"a usd budget needs the price of {', '.join(missing)}; give --price IN,OUT in dollars per million tokens"
        )


def ledger_of(meter: Meter) -> list[dict[str, Any]]:
    """Return the ledger by role and phase."""
    return [
        {"role": role, "phase": phase, "charged": charged.to_json(), "paid": paid.to_json()}
        for (role, phase), (charged, paid) in meter.ledger.items()
    ]


def _check_writable(folder: Path) -> None:
    """Raise before anything is paid for where the run's files could not be written at its end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise no_place(folder, error) from None


def new_nonce() -> str:
    """Return what makes a run with the cache off a new run."""
    return os.urandom(6).hex()
