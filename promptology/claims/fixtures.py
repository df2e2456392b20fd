"""What the fixtures of several claims have in common: zoo models that are opened once, runs, choices from a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from promptology.claims.measuring import run_of
from promptology.data.task import Task
from promptology.prompts.learned import Learned
from promptology.run.engine import Run

Setting = Mapping[str, Any]


@cache
def zoo_model(name: str, **options: Any) -> Any:
    """Open a zoo model on the CPU, where a claim's figures are the same on every machine; in one process it is one."""
    from promptology.models.opening import model

    return model(f"zoo:{name}", device="cpu", **options)


def learned_by(method: Any, task: Task, model: Any, seed: int) -> tuple[Learned, Run]:
    """Return what a method learns in a run of its own, and that run."""
    run = run_of(task, {"model": model}, seed)
    return method.fit(run), run


def best_of(grid: Sequence[Setting], score: Callable[[Setting], float]) -> Setting:
    """Return the setting of a grid with the highest score; of equal ones the first."""
    return max(grid, key=score)
