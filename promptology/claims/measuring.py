"""How a claim's arms are measured: the decorator that a claim's file uses, and the bench it is handed.

A claim's file holds one function per entry, in the entry's own words, and knows nothing of processes, limits, records
or verdicts: it measures an arm on a seed, and the runner does the rest.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.models.access import offers
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Values = float | Mapping[str, float]
"""What an arm gives on a seed: its metric, or one figure per metric by the names that the rule uses."""


class Bench(Protocol):
    """What the runner offers to a measurement beside arm and seed."""

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` gives (plain JSON), computed once for all seeds, arms and attempts, then recorded.

        For choices that hold for all seeds, such as the setting of a grid. Entries of one method that use the same name
        on the same fixture share it.
        """
        ...


@dataclass(frozen=True)
class Measurement:
    """How one entry is measured: `measure(arm, seed, bench)`, or `measure(seed, bench)` for all arms `together`."""

    id: str
    measure: Callable[..., Any]
    together: bool
    needs: tuple[str, ...]


_KNOWN: dict[str, Measurement] = {}


def measures(id: str, *, together: bool = False, needs: Sequence[str] = ()) -> Callable[[F], F]:
    """Register the function that measures an entry.

    `measure(arm: str, seed: int, bench) -> Values` is asked for one arm and seed at a time; with `together`,
    `measure(seed: int, bench) -> {arm: Values}` measures all arms of a seed in one go (timings interleaved, arms that
    share a training). `needs`: zoo models of the fixture; where one is not there, the verdict is "fixture missing".
    """

    def register(function: F) -> F:
        if id in _KNOWN and _KNOWN[id].measure.__qualname__ != function.__qualname__:
            raise UsageError(f"claim {id!r} is measured twice")
        _KNOWN[id] = Measurement(id, function, together, tuple(needs))
        return function

    return register


def measurements() -> dict[str, Measurement]:
    """Return all measurements by the id of their entry: one file per method stands in `claims/methods`."""
    package = importlib.import_module("promptology.claims.methods")
    for file in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{file.name}")
    return dict(_KNOWN)


def measurement(id: str) -> Measurement:
    """Return the measurement of an entry whose file was imported; raises UsageError where it has none."""
    if id not in _KNOWN:
        raise UsageError(f"no file of claims/methods measures {id!r}")
    return _KNOWN[id]


def run_of(task: Task, models: Mapping[str, Any], seed: int, **options: Any) -> Run:
    """Return a run without limits on models by role, its answers kept in memory; `options`: as of `Run`."""
    meter = Meter(memory_store(), seed=seed)
    handles = {role: Handle(meter, role, model, offers(model)) for role, model in models.items()}
    return Run(task, handles, meter, seed=seed, **options)
