"""Running the arms and seeds of a comparison: one after the other, or as Ray tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from promptology.api.common import Progress, watched
from promptology.data.task import Task
from promptology.errors import UsageError
from promptology.evidence.fitting import Observer, Result, Settings, fit_one
from promptology.run.store import Place, using_store

RAY_FORMS = '"ray" runs arms x seeds as Ray tasks, "ray:4" four at a time'
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Job:
    """One arm with one seed: a run of its own."""

    label: str
    method: Any
    helpers: Mapping[str, Any]
    settings: Settings


class Ray(NamedTuple):
    """Run on Ray, so many runs at a time; None: as many as Ray has processors."""

    at_once: int | None = None


def parse_workers(workers: Any) -> Ray | None:
    """Read what `compare` takes as workers: nothing, "ray" or "ray:N"."""
    if workers is None or isinstance(workers, Ray):
        return workers
    match = re.fullmatch(r"ray(?::([1-9][0-9]{0,5}))?", workers) if isinstance(workers, str) else None
    if not match:
        raise UsageError(
            f"workers is {workers!r}; {RAY_FORMS}; "
            "requests in flight are a setting of the model: pt.model(..., workers=8)"
        )
    return Ray(int(match[1]) if match[1] else None)


def parse_seeds(seeds: Any, first: int = 0) -> list[int]:
    """Read seeds: nothing is the one seed `first`, a number so many from `first` on, a list (or "0,1,2") these.

    Raises UsageError for no seed, one seed twice, or a list beside another first seed.
    """
    if seeds is None:
        return [first]
    given = seeds
    if isinstance(seeds, str):
        parts = [part.strip() for part in seeds.split(",")]
        if not all(re.fullmatch(r"-?[0-9]{1,18}", part) for part in parts):
            raise UsageError(f"seeds {seeds!r} is not understood; give how many (3), or which (0,1,2)")
        given = int(parts[0]) if len(parts) == 1 else [int(part) for part in parts]
    if isinstance(given, int) and not isinstance(given, bool):
        if not 1 <= given <= MOST_SEEDS:
            raise UsageError(f"seeds is {given}; give how many, 1 to {MOST_SEEDS}, or a list such as 0,1,2")
        return list(range(first, first + given))
    if not isinstance(given, Sequence) or not all(isinstance(s, int) and not isinstance(s, bool) for s in given):
        raise UsageError(f"seeds is {seeds!r}; give how many (3), or which ([0, 1, 2])")
    if not given:
        raise UsageError("seeds is empty; give how many (3), or which (0,1,2)")
    if len(set(given)) < len(given):
        raise UsageError(
            f"seeds {','.join(map(str, given))}: one of them stands twice; the same run would count double"
        )
    if first and first not in given:
        raise UsageError(f"seed {first} is not among seeds {','.join(map(str, given))}; give one of the two")
    return list(given)


def run_jobs(
    jobs: Sequence[Job],
    task: Task,
    model: Any,
    workers: Ray | None,
    *,
    store: Place,
    observe: Observer | None,
    progress: Progress | None,
) -> list[Result]:
    """Return the result of every job, in order.

    One after the other, the first error ends all. On Ray a failed run lets the others finish, and then its error is
    raised; either way the same call continues from what was done.
    """
    if workers is not None:
        from promptology.api.on_ray import run_on_ray

        return run_on_ray(jobs, task, model, workers.at_once, store=store, observe=observe)
    results: list[Result] = []
    for n, job in enumerate(jobs):
        card = type(job.method).card
        recover(job, task, model, store)
        if observe:
            seed = {"seed": job.settings.seed} if len({j.settings.seed for j in jobs}) > 1 else {}
            observe("arm", {"method": card.slug, "number": n + 1, "total": len(jobs), **seed})
        with watched(progress) as shown:
            results.append(
                fit_one(
                    task,
                    model,
                    card,
                    job.method,
                    job.helpers,
                    job.settings,
                    store=store,
                    observe=observe,
                    progress=shown,
                )
            )
    return results


def recover(job: Job, task: Task, model: Any, store: Place) -> None:
    """Take over what the same run on Ray was answered on this machine before its driver was killed."""
    from promptology.api.remote import collect_left, identify, left

    id = identify(job, task, model).id
    if left(id):
        with using_store(store) as opened:
            collect_left(opened, id)
