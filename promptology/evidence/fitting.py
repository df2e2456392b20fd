"""One run from start to evidence: learn, choose on validation, measure on the sealed split, save."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from promptology.data.items import digest
from promptology.data.task import Task
from promptology.errors import ReplayError
from promptology.evidence.guards import Guards, check_length, guard, room_for_noise, within
from promptology.evidence.protocols import Evidence, choose, gather
from promptology.evidence.specifying import Settings, check_prices, new_nonce, roles_of, run_spec
from promptology.evidence.streams import NAME as STREAM
from promptology.evidence.streams import check_stream, prequential
from promptology.evidence.turns import check_alive, held_back
from promptology.methods.registry import Card
from promptology.predict import bind
from promptology.prompts.learned import Learned
from promptology.prompts.saving import save
from promptology.run.cost import Cost
from promptology.run.engine import Run, learn, status_of
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import Place, Store, home, no_place, using_store

__all__ = [
    "Begun",
    "Observer",
    "Result",
    "Settings",
    "begun",
    "fit_one",
    "held_back",
    "ledger_of",
    "new_nonce",
    "roles_of",
    "run_spec",
]

Observer = Callable[[str, Mapping[str, Any]], None]


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
    spent: list[dict[str, Any]] = field(default_factory=list, repr=False)
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
    if settings.protocol == STREAM:
        check_stream(task, settings.blocks, settings.order)
    with begun(
        task, model, card, method, helpers, settings, store=store, sources=sources, observe=observe, progress=progress
    ) as (run, meter, models, folder, say):
        return _run(card, method, models, settings, run, meter, folder, say)


class Begun(NamedTuple):
    """A run that was begun: what a method sees, the meter behind it, models by role, its folder, who is told."""

    run: Run
    meter: Meter
    models: Mapping[str, Any]
    folder: Path
    say: Observer


@contextmanager
def begun(
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
    more: Mapping[str, Any] | None = None,
) -> Iterator[Begun]:
    """Begin a run, or take up the one of this specification, and keep other processes off it.

    `more`: what else makes it this run. Raises UsageError, AccessError or StoreError before anything is asked.
    """
    say: Observer = observe or (lambda event, values: None)
    models, notes = roles_of(card, model, helpers, task.metric)
    if "usd" in settings.budget.limits:
        check_prices(models, settings.prices)
    for note in notes:
        say("note", {"text": note})
    spec = {**run_spec(task, card, method, models, settings, sources), **(more or {})}
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
        yield Begun(run, meter, models, folder, say)


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
    store = meter.store
    with status_of(meter):
        course = _stream if settings.protocol == STREAM else _hold_out
        learned, evidence, learning, ended, guards = course(card, method, settings, run, meter, say)
        meter.check_missing()
    result = Result(
        learned,
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
        (*run.warnings, *warnings_of(ended, evidence, meter), *guards.warnings),
        meter.elapsed,
        run.lineage.to_json(learned),
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


class Course(NamedTuple):
    """How a run went: what was learned, the evidence, the cost of learning, and what is to be said about its end."""

    learned: Learned
    evidence: Evidence
    learning: Cost
    ended: tuple[str, ...]
    guards: Guards


def _hold_out(card: Card, method: Any, settings: Settings, run: Run, meter: Meter, say: Observer) -> Course:
    """Learn, choose on validation, measure on the sealed split or in a duel."""
    bind(run.start, run.model(), dict(run.roles))  # a start that cannot be read is told before anything is learned
    meter.held_back = held_back(run.task, settings.budget, settings.noise_floor, calls_each(method))
    found = within(run, learn(method, run))
    check_alive(card, run, meter, found)
    learning, stopped, steps = meter.charged, meter.stopped, len(run.history)
    say("phase", {"name": "evidence"})
    meter.phase, meter.held_back = "evidence", {}
    with room_for_noise(run, meter, found, settings.noise_floor, settings.protocol):
        choice = choose(run, meter, found)
        evidence = gather(run.task, run, meter, choice.learned, settings.protocol)
    guards = guard(run, meter, evidence, choice.learned, settings.noise_floor)
    when = f"after {steps} recorded steps" if steps else "before its first step: a larger budget is needed"
    return Course(
        choice.learned,
        evidence,
        learning,
        (*([choice.note] if choice.note else []), *([f"the budget ended the search {when}"] if stopped else [])),
        guards,
    )


def _stream(card: Card, method: Any, settings: Settings, run: Run, meter: Meter, say: Observer) -> Course:
    """Predict, open the labels and learn, block by block."""
    reserved = {resource: limit * settings.budget.evidence_share for resource, limit in settings.budget.limits.items()}
    if "calls" in reserved:
        most = len(run.task.train) * (1 + calls_each(method) + 2 * len(run.task.metric.needs))
        reserved["calls"] = min(int(reserved["calls"]), most)
    done = prequential(method, run, meter, reserved, settings.blocks, settings.order)
    check_alive(card, run, meter, done.learned)
    fits = len(done.evidence.curve)
    ended = (f"the budget ended {done.ended} of {fits} fits before their end",) if done.ended else ()
    return Course(done.learned, done.evidence, done.learning, ended, guard(run, meter, done.evidence, done.learned, 0))


def calls_each(method: Any) -> int:
    """Return the calls that a prediction by what a method learns takes at most: 1, or as its class says."""
    return int(getattr(method, "calls_each", 1))


def warnings_of(ended: Sequence[str], evidence: Evidence, meter: Meter) -> tuple[str, ...]:
    """Return what a user should know about how a run ended."""
    warnings = [*ended, *evidence.notes]
    if meter.missing:
        warnings.append(f"{meter.missing} answers are missing")
    return tuple(warnings)


def _declared(card: Card, role: str) -> tuple[str, ...]:
    return card.needs.get(role) or card.optional.get(role) or ("generates",)


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
