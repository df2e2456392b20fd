"""Using prompts: evaluate one, apply one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from promptology.api.common import Progress, as_task, handles_of, open_all, open_meter, scored, settings_of, watched
from promptology.data.items import digest
from promptology.data.scoring import figures_of
from promptology.data.task import SPLITS, Task
from promptology.errors import BudgetEnded, UsageError
from promptology.evidence.calibration import calibration_error
from promptology.evidence.documents import model_entry, score_of, task_entry
from promptology.evidence.fitting import Settings, ledger_of
from promptology.evidence.guards import Guards, check_length, guard_prompt, measured_twice
from promptology.evidence.measuring import Measured
from promptology.evidence.statistics import Interval, bootstrap_interval
from promptology.models.access import offers
from promptology.models.opening import model as open_model
from promptology.predict import Predictions, bind
from promptology.predict.judging import referee
from promptology.prompts.learned import Learned
from promptology.prompts.start import start_from
from promptology.run.budget import Budget
from promptology.run.cost import Cost
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import Place, using_store

if TYPE_CHECKING:
    from promptology.api.transferring import Evaluations


@dataclass(frozen=True)
class Evaluation:
    """One prompt measured: score with interval, parse rate, cost, guards. `document` is the same as plain JSON."""

    score: Interval
    metrics: dict[str, float]
    measured: Measured
    charged: Cost
    paid: Cost
    document: dict[str, Any] = field(repr=False)
    guards: Guards = field(default_factory=Guards)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the figure."""
        return tuple(self.document["warnings"])

    def __str__(self) -> str:
        s = self.score
        return f"{next(iter(self.metrics))} {s.value:.3f} [{s.low:.3f}, {s.high:.3f}] on {s.n} items"


@overload
def evaluate(
    task: Mapping[str, Any], model: Any, prompt: str | Learned | None = None, **options: Any
) -> Evaluations: ...


@overload
def evaluate(task: Learned, model: Mapping[str, Any], prompt: Any, **options: Any) -> Evaluations: ...


@overload
def evaluate(task: Any, model: Any, prompt: Any = None, **options: Any) -> Evaluation: ...


def evaluate(
    task: Any,
    model: Any,
    prompt: Any = None,
    *,
    system: str | None = None,
    split: str = "test",
    budget: Any = None,
    store: Place = None,
    progress: Progress | None = None,
    helpers: Mapping[str, Any] | None = None,
    command: str = "",
    **options: Any,
) -> Evaluation | Evaluations:
    """Measure one prompt: score with a 95 % bootstrap interval, parse rate, cost.

    `prompt`: a text, something learned, or nothing for the plain start. `split`: test (its opening is counted),
    validation or train. `helpers`: by role; a metric that needs a judge takes the task's own model without one.
    `options`: as in `fit`; noise_floor asks the prompt a second time on so many of the items.

    Several named tasks, {"base": t1, "novel": t2}, give the score of each and their harmonic mean; the prompt is bound
    to the classes of each, and the budget is over all. What was learned may stand first: evaluate(learned, tasks,
    model). Raises UsageError where the split has no labelled items and the metric needs them, or the prompt is longer
    than max_prompt_tokens.
    """
    if isinstance(task, Learned):
        task, model, prompt = model, prompt, task
    if isinstance(task, Mapping) and not {*task} <= {*SPLITS}:  # a mapping of splits is one task
        from promptology.api.transferring import evaluate_several as measured
    else:
        measured = _evaluate_one  # type: ignore[assignment]
    given = {"system": system, "split": split, "budget": budget, "store": store, "progress": progress}
    return measured(task, model, prompt, **given, helpers=helpers, command=command, **options)


def _evaluate_one(
    task: Any,
    model: Any,
    prompt: str | Learned | None,
    *,
    system: str | None,
    split: str,
    budget: Any,
    store: Place,
    progress: Progress | None,
    helpers: Mapping[str, Any] | None,
    command: str,
    **options: Any,
) -> Evaluation:
    task = as_task(task, None if isinstance(prompt, Learned) else prompt, system)
    model = open_model(model)
    run_settings = settings_of(Budget({}) if budget is None else budget, **options)
    if isinstance(prompt, Learned) and run_settings.readout:
        raise UsageError(f"a saved prompt has its own readout ({prompt.readout.type}); leave the other one out")
    learned = prompt if isinstance(prompt, Learned) else start_from(task.signature, offers(model), run_settings.readout)
    with using_store(store) as opened:
        meter = open_meter(opened, run_settings)
        handles = handles_of(meter, run_settings, model, open_all(helpers), task.metric)
        judge = referee(task.metric, handles, task.signature)
        predictor = bind(learned, handles["model"], {r: h for r, h in handles.items() if r != "model"}, task.signature)
        items = scored(task, split)
        check_length(learned, handles["model"], run_settings.max_prompt_tokens)
        with watched(progress) as shown:
            meter.on_progress = shown
            both, noise = measured_twice(meter, predictor, items, task.metric, judge, run_settings.noise_floor)
        if both is None:
            raise UsageError(f"budget {run_settings.budget} does not cover a single item; give a larger one")
        openings = 0
        if split == "test":
            openings = opened.open_test(task.items_fingerprint(), f"evaluate-{digest(learned.to_json())}")
        meter.check_missing()
    guards = guard_prompt(task, learned, handles["model"], noise, openings)
    (one,) = both
    metrics = figures_of(task.metric, one.outputs, one.targets)
    if one.confidence:
        metrics["ece"] = calibration_error(one.confidence, one.outputs, one.targets)
    rng = np.random.default_rng(int(task.items_fingerprint(), 16))
    interval = bootstrap_interval(task.metric, one.outputs, one.targets, rng)
    doc = _evaluation_document(task, model, learned, interval, metrics, one, meter, run_settings, openings, command)
    doc |= {"guards": guards.to_json(), "warnings": [*doc["notes"], *guards.warnings]}
    return Evaluation(interval, metrics, one, meter.charged, meter.paid, doc, guards)


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
        "notes": [
            *([f"{one.missing} answers are missing"] if one.missing else []),
            *([f"{one.ungraded} grades of the judge could not be read"] if one.ungraded else []),
        ],
    }


def apply(
    learned: Learned,
    model: Any,
    inputs: Sequence[Any],
    *,
    helpers: Mapping[str, Any] | None = None,
    store: Place = None,
    progress: Progress | None = None,
    **options: Any,
) -> Predictions:
    """Predict many inputs durably: every answer is stored before it is used, so that a second call asks only the rest.

    `inputs`: items, mappings of the prompt's fields, or plain strings. `options`: as in `fit`; a budget that does not
    cover all inputs raises UsageError before anything is sent.
    """
    settings = settings_of(options.pop("budget", None) or Budget({}), **options)
    try:
        with using_store(store) as opened:
            meter = open_meter(opened, settings)
            meter.phase = "prediction"
            models = {"model": open_model(model), **open_all(helpers)}
            handles = {
                role: Handle(meter, role, m, None, dict(settings.sampling.get(role, {}))) for role, m in models.items()
            }
            predictor = bind(learned, handles.pop("model"), handles)
            with watched(progress) as shown:
                meter.on_progress = shown
                predictions = predictor.predict(inputs)
            meter.check_missing()
            return predictions
    except BudgetEnded:
        raise UsageError(
            f"budget {settings.budget} does not cover {len(inputs)} predictions; nothing was sent"
        ) from None
