"""The public calls: evaluate, fit, compare, load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from promptology.data.items import digest
from promptology.data.loaders import load_task
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.documents import document, model_entry, score_of, task_entry, write_document
from promptology.evidence.fitting import Observer, Result, Settings, fit_one, new_nonce
from promptology.evidence.measuring import Measured, affordable, measure, shuffled
from promptology.evidence.statistics import Interval, bootstrap_interval
from promptology.methods.registry import create
from promptology.models.access import offers
from promptology.models.opening import model as open_model
from promptology.predict import bind
from promptology.prompts.learned import Learned
from promptology.prompts.saving import load
from promptology.prompts.start import start_from
from promptology.run.budget import Budget
from promptology.run.cost import Cost, Price
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.progress import Bar
from promptology.run.store import SQLiteStore, Store, home

__all__ = ["Comparison", "Evaluation", "Result", "compare", "evaluate", "fit", "load", "plan"]

DEFAULT_BUDGET = "1000calls"
Progress = Callable[[Meter, str, int], None]


@dataclass(frozen=True)
class Evaluation:
    """One prompt measured: score with interval, parse rate, cost. `document` is the same as plain JSON."""

    score: Interval
    metrics: dict[str, float]
    measured: Measured
    charged: Cost
    paid: Cost
    document: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        s = self.score
        return f"{next(iter(self.metrics))} {s.value:.3f} [{s.low:.3f}, {s.high:.3f}] on {s.n} items"


@dataclass(frozen=True)
class Comparison:
    """Arms measured on the same sealed items at the same budget. `document` is the same as plain JSON."""

    results: tuple[Result, ...]
    document: dict[str, Any] = field(repr=False)
    folder: Path = Path()

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per arm."""
        rows: list[dict[str, Any]] = []
        for arm in self.document["arms"]:
            score, difference = arm["score"] or {}, arm["difference"] or {}
            rows.append(
                {
                    "method": arm["label"],
                    "score": score.get("value"),
                    "low": score.get("low"),
                    "high": score.get("high"),
                    "n": score.get("n"),
                    "difference": difference.get("value"),
                    "p_holm": arm["p_adjusted"],
                    "verdict": arm["verdict"],
                    **{f"learning_{k}": v for k, v in arm["learning"].items() if k != "estimated"},
                }
            )
        return rows

    def to_frame(self) -> Any:
        """Return the rows as a pandas DataFrame; raises UsageError where pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise UsageError(
                "to_frame needs pandas (pip install pandas); rows() gives the same as dictionaries"
            ) from None
        return pd.DataFrame(self.rows())

    def __str__(self) -> str:
        from promptology.evidence.report import format_table

        return format_table(self.document)


def _task(task: Any, prompt: Any, system: str | None) -> Task:
    loaded: Task = task if isinstance(task, Task) else load_task(task)
    if prompt is not None and not isinstance(prompt, str):
        raise UsageError(
            f"prompt is a {type(prompt).__name__}; give a text (a saved prompt goes to evaluate or sources)"
        )
    return loaded.with_prompt(prompt, system) if prompt is not None or system is not None else loaded


@contextmanager
def watched(progress: Progress | None) -> Iterator[Progress]:
    """Give the caller's own progress function, else a bar on standard error that shows only on a terminal."""
    bar = Bar(sys.stderr)
    try:
        yield progress or bar.advance
    finally:
        bar.clear()


def settings_of(
    budget: Any = None,
    *,
    seed: int = 0,
    cache: bool = True,
    price: Any = None,
    sampling: Mapping[str, Mapping[str, Any]] | None = None,
    evidence_share: float = 0.4,
    missing: float = 0.2,
    protocol: str | None = None,
    retry_failed: bool = False,
    nonce: str = "",
    expect: str = "",
    origin: Mapping[str, Any] | None = None,
    roles: Sequence[str] = ("model", "optimizer", "judge"),
) -> Settings:
    """Return checked run settings; `price` is (in, out) for every role, or a mapping by role."""
    prices = price if isinstance(price, Mapping) else dict.fromkeys(roles, price) if price is not None else {}
    if protocol not in (None, "holdout", "duel"):
        raise UsageError(f"unknown protocol {protocol!r}; there are holdout and duel")
    return Settings(
        Budget.parse(DEFAULT_BUDGET if budget is None else budget, evidence_share),
        seed,
        cache,
        {role: Price(*map(float, pair)) for role, pair in prices.items()},
        sampling or {},
        Limits(missing=missing),
        protocol,
        retry_failed,
        nonce if cache else nonce or new_nonce(),
        origin or {},
        expect,
    )


def default_budget(model: Any) -> str:
    """Return the budget that is used, and said aloud, where none is given."""
    return DEFAULT_BUDGET if "generates" in offers(model) else "200000passes"


def fit(
    task: Any,
    model: Any,
    method: Any = "spo",
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    settings: Mapping[str, Any] | None = None,
    sources: Sequence[Learned] = (),
    out: str | Path | None = None,
    store: Store | None = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Result:
    """Learn a prompt with one method and return it with evidence and cost.

    `task`: a Task or what `load_task` takes; `model` and `helpers` (by role): what `model` takes; `method`: a name or
    an instance; `settings`: fields of the method that differ from its defaults; `prompt`, `system`: the start;
    `budget`: "300calls,2usd,500ktok,20000passes,10m" in any mix, over learning and evidence; `out`: where to save the
    prompt folder. `options`: seed, cache, price, sampling, evidence_share, missing, protocol, retry_failed. The same
    call after a crash continues. Raises PromptologyError with one clear line.
    """
    task, model, helpers = _task(task, prompt, system), open_model(model), _open_all(helpers)
    chosen = create(method, settings)
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    with watched(progress) as shown:
        result = fit_one(
            task,
            model,
            type(chosen).card,
            chosen,
            helpers,
            run_settings,
            store=store,
            sources=sources,
            observe=observe,
            progress=shown,
        )
    doc = document(
        "fit",
        task,
        model,
        [result],
        budget=str(run_settings.budget),
        seed=run_settings.seed,
        helpers=helpers,
        command=command,
    )
    result = replace(result, document=doc)
    write_document(doc, result.folder)
    if out is not None:
        result.save(out)
    return result


def compare(
    task: Any,
    model: Any,
    methods: Sequence[Any],
    *,
    helpers: Mapping[str, Any] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    budget: Any = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    store: Store | None = None,
    observe: Observer | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Any,
) -> Comparison:
    """Run several methods, each with the whole budget, and measure them on the same sealed items.

    `settings`: fields by method name; a helper goes to the methods that know its role. p values are corrected after
    Holm over the arms. Other arguments as in `fit`.
    """
    if not methods:
        raise UsageError("compare needs at least one method")
    task, model, helpers = _task(task, prompt, system), open_model(model), _open_all(helpers)
    chosen = [create(m, (settings or {}).get(m if isinstance(m, str) else type(m).card.slug)) for m in methods]
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    results: list[Result] = []
    for n, one in enumerate(chosen):
        card = type(one).card
        if observe:
            observe("arm", {"method": card.slug, "number": n + 1, "total": len(chosen)})
        known = {r: m for r, m in helpers.items() if r in (*card.needs, *card.optional, "judge")}
        with watched(progress) as shown:
            results.append(
                fit_one(task, model, card, one, known, run_settings, store=store, observe=observe, progress=shown)
            )
    doc = document(
        "compare",
        task,
        model,
        results,
        budget=str(run_settings.budget),
        seed=run_settings.seed,
        helpers=helpers,
        command=command,
        labels=labels_of(chosen),
    )
    folder = write_document(doc, home() / "runs" / f"compare-{digest([r.run for r in results])}")
    return Comparison(tuple(results), doc, folder)


def labels_of(chosen: Sequence[Any]) -> list[str]:
    """Return the slugs of methods, with the settings that were changed where a slug appears twice."""
    slugs = [type(m).card.slug for m in chosen]
    labels: list[str] = []
    for slug, m in zip(slugs, chosen, strict=True):
        changed = [f"{f.name}={getattr(m, f.name)}" for f in fields(m) if getattr(m, f.name) != f.default]
        labels.append(f"{slug} {' '.join(changed)}".strip() if slugs.count(slug) > 1 else slug)
    return labels


def evaluate(
    task: Any,
    model: Any,
    prompt: str | Learned | None = None,
    *,
    system: str | None = None,
    split: str = "test",
    budget: Any = None,
    store: Store | None = None,
    progress: Progress | None = None,
    helpers: Mapping[str, Any] | None = None,
    command: str = "",
    **options: Any,
) -> Evaluation:
    """Measure one prompt: score with a 95 % bootstrap interval, parse rate, cost.

    `prompt`: a text, something learned, or nothing for the plain start. `split`: test (its opening is counted),
    validation or train. Raises UsageError where the split has no labelled items.
    """
    if split not in ("test", "validation", "train"):
        raise UsageError(f"unknown split {split!r}; there are test, validation and train")
    task = _task(task, None if isinstance(prompt, Learned) else prompt, system)
    model = open_model(model)
    run_settings = settings_of(Budget({}) if budget is None else budget, **options)
    learned = prompt if isinstance(prompt, Learned) else start_from(task.signature, offers(model))
    own, store = store is None, store or SQLiteStore()
    try:
        meter = _meter(store, run_settings)
        handle = Handle(meter, "model", model, None, dict(run_settings.sampling.get("model", {})))
        predictor = bind(learned, handle, _open_all(helpers), task.signature)
        items = shuffled(task.open_test() if split == "test" else getattr(task, split), task)
        if not items or not all(i.labelled for i in items):
            raise UsageError(
                f"task {task.name!r} has no labelled {split} items to score against; give --label or --test"
            )
        with watched(progress) as shown:
            meter.on_progress = shown
            both = measure(meter, [predictor], items, affordable(meter, [predictor], items))
        if both is None:
            raise UsageError(f"budget {run_settings.budget} does not cover a single item; give a larger one")
        openings = store.open_test(task.items_fingerprint(), f"evaluate-{learned.as_text()}") if split == "test" else 0
        meter.check_missing()
    finally:
        if own:
            store.close()
    (one,) = both
    metrics = task.metric.aggregate(one.outputs, one.targets)
    rng = np.random.default_rng(int(task.items_fingerprint(), 16))
    interval = bootstrap_interval(task.metric, one.outputs, one.targets, rng)
    doc = _evaluation_document(task, model, learned, interval, metrics, one, meter, run_settings, openings, command)
    return Evaluation(interval, metrics, one, meter.charged, meter.paid, doc)


def _meter(store: Store, settings: Settings) -> Meter:
    """Return a meter outside a run: its answers are cached, nothing is replayed."""
    meter = Meter(
        store,
        budget=settings.budget,
        prices=settings.prices,
        seed=settings.seed,
        limits=settings.limits,
        cache=settings.cache,
        salt=settings.nonce,
    )
    meter.phase = "evidence"
    return meter


def _evaluation_document(
    task: Task,
    model: Any,
    learned: Learned,
    interval: Interval,
    metrics: Mapping[str, float],
    one: Measured,
    meter: Meter,
    settings: Settings,
    openings: int,
    command: str,
) -> dict[str, Any]:
    from promptology.evidence.fitting import ledger_of

    return {
        "kind": "evaluate",
        "title": f"{task.name}: one prompt",
        "task": task_entry(task, openings),
        "model": model_entry(model),
        "seed": settings.seed,
        "budget": str(settings.budget),
        "protocol": "holdout",
        "command": command,
        "start": {"prompt": learned.as_text(), "score": score_of(interval, one)},
        "metrics": dict(metrics),
        "charged": meter.charged.to_json(),
        "paid": meter.paid.to_json(),
        "per_prediction": one.per_prediction.to_json(),
        "ledger": ledger_of(meter),
        "arms": [],
        "notes": [f"{one.missing} answers are missing"] if one.missing else [],
    }


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
    """Return what a fit would cost, without calling anything: learning by the method's own plan, evidence, limits."""
    task, model = _task(task, prompt, system), open_model(model)
    chosen = create(method, settings)
    card = type(chosen).card
    run_settings = settings_of(budget if budget is not None else default_budget(model), **options)
    learning = chosen.plan(task) if hasattr(chosen, "plan") else None
    unit = Cost(calls=1) if "generates" in offers(model) else Cost(passes=1)
    labelled = len([i for i in task.validation if i.labelled])
    items = 2 * (len(task.test) + labelled) if unit.calls else len(task.test) + labelled
    evidence = Cost(calls=items * unit.calls, passes=items * unit.passes)
    return {
        "method": card.slug,
        "task": task_entry(task),
        "model": model_entry(model),
        "needs": {role: list(access) for role, access in card.needs.items()},
        "budget": str(run_settings.budget),
        "learning": learning.to_json() if learning else None,
        "evidence_at_most": evidence.to_json(),
        "covered": run_settings.budget.covers(evidence.plus(learning or Cost())),
        "settings": {f.name: getattr(chosen, f.name) for f in card.settings},
    }


def _open_all(helpers: Mapping[str, Any] | None) -> dict[str, Any]:
    return {role: open_model(m) for role, m in (helpers or {}).items()}
