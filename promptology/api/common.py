"""What the public calls share: tasks, models and settings from what a user gives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from promptology.data.items import Item
from promptology.data.loaders import load_task
from promptology.data.scoring import Metric
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.fitting import Settings, new_nonce
from promptology.evidence.measuring import shuffled
from promptology.models.access import offers
from promptology.models.opening import in_role
from promptology.run.budget import Budget
from promptology.run.cost import Price
from promptology.run.embedding import texts_per_call
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.progress import Bar
from promptology.run.store import Store

DEFAULT_BUDGET = "1000calls"
PROTOCOLS = ("holdout", "duel", "prequential")
Progress = Callable[[Meter, str, int], None]


def as_task(task: Any, prompt: Any, system: str | None) -> Task:
    """Return a task from what a user gives, starting from the prompt where there is one."""
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
    readout: str = "",
    noise_floor: int = 0,
    max_prompt_tokens: int = 0,
    blocks: int | None = None,
    order: str | None = None,
    roles: Sequence[str] = ("model", "optimizer", "judge"),
) -> Settings:
    """Return checked run settings; `price` is (in, out) for every role, or a mapping by role."""
    prices = price if isinstance(price, Mapping) else dict.fromkeys(roles, price) if price is not None else {}
    if protocol not in (None, *PROTOCOLS):
        raise UsageError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    if protocol != "prequential" and (blocks is not None or order is not None):
        raise UsageError("blocks and order belong to a stream: give them with protocol prequential")
    if protocol == "prequential" and noise_floor:
        raise UsageError("a noise floor is measured on sealed test items, which a stream does not open; leave it out")
    for name, value in (("noise_floor", noise_floor), ("max_prompt_tokens", max_prompt_tokens)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(f"{name} is {value!r}; give a whole number, 0 turns it off")
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
        readout,
        noise_floor,
        max_prompt_tokens,
        10 if blocks is None else blocks,
        order or "seed",
    )


def default_budget(model: Any) -> str:
    """Return the budget that is used, and said aloud, where none is given."""
    offered = offers(model)
    asked = bool({"generates", "scores"} & {*offered}) and not getattr(model, "local", False)
    return DEFAULT_BUDGET if asked or texts_per_call(model) else "200000passes"


def open_all(helpers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the helper models by role, opened."""
    return {role: in_role(m, role) for role, m in (helpers or {}).items()}


def open_meter(store: Store, settings: Settings) -> Meter:
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


def handles_of(
    meter: Meter, settings: Settings, model: Any, helpers: Mapping[str, Any], metric: Metric
) -> dict[str, Handle]:
    """Return metered handles by role; a role that only the metric needs is the task's own model by default."""
    models = {**{role: model for role in metric.needs}, "model": model, **helpers}
    return {role: Handle(meter, role, m, None, dict(settings.sampling.get(role, {}))) for role, m in models.items()}


def scored(task: Task, split: str) -> list[Item]:
    """Return the items of a split in the task's random order; raises UsageError where the metric lacks their labels."""
    if split not in ("test", "validation", "train"):
        raise UsageError(f"unknown split {split!r}; there are test, validation and train")
    items = shuffled(task.open_test() if split == "test" else getattr(task, split), task)
    if not items or (getattr(task.metric, "labels", True) and not all(i.labelled for i in items)):
        raise UsageError(
            f"task {task.name!r} has no labelled {split} items to score against; give --label or --test, or let a "
            "model grade the answers with --metric judge"
        )
    return items
