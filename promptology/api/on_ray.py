"""Arms x seeds as Ray tasks: on this machine, or on the cluster that RAY_ADDRESS or `ray.init` names."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import promptology.errors
from promptology.api.common import watched
from promptology.api.remote import (
    FILE,
    Identity,
    Outcome,
    Place,
    by_value,
    collect,
    collect_left,
    here,
    identify,
    pack,
    remove,
    work,
)
from promptology.api.running import Job
from promptology.data.task import Task
from promptology.errors import PromptologyError, UsageError
from promptology.evidence.fitting import Observer, Result, fit_one
from promptology.prompts.saving import save
from promptology.run import store as stores
from promptology.run.merging import absorb, rows_of
from promptology.run.progress import Bar
from promptology.run.store import SQLiteStore, Store, home, open_store

NEED_RAY = 'running on Ray needs the package ray; install it with pip install "promptology[ray]"'
GRACE = 5.0
"""Seconds that cancelled tasks get to put down what they have."""
RETRIES = 2
"""Times that a run whose worker died (memory, a lost machine) starts again; what was answered stays answered."""
OBJECTS = 256 * 2**20
"""Bytes of Ray's object store on this machine: a run's task and result are small."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else the working folder travels where the driver runs under uv
}


def run_on_ray(
    jobs: Sequence[Job],
    task: Task,
    model: Any,
    at_once: int | None,
    *,
    store: stores.Place,
    observe: Observer | None,
) -> list[Result]:
    """Return the result of every job, in order, the same as one after the other.

    Finished runs are read from the store; the others become tasks, whose rows are merged as they end. Raises the error
    of a failed run, with its arm and seed, when all others have ended.
    """
    try:
        import ray
    except ImportError:
        raise UsageError(NEED_RAY) from None
    identities = [identify(job, task, model) for job in jobs]
    address = store if isinstance(store, str) else os.environ.get("PROMPTOLOGY_STORE", "") if store is None else ""
    opened = open_store(store)
    try:
        place = here(_models(identities), _reachable(opened, address))
        driver = _Driver(ray, jobs, identities, task, model, opened, place, observe)
        waiting = driver.recall()
        if waiting:
            with by_value(ray.cloudpickle, [*_models(identities), task.metric, *(j.method for j in jobs)]):
                driver.prepare(waiting)
            with contextlib.ExitStack() as stack:
                driver.keep_alone(stack, waiting)
                stack.enter_context(_cluster(ray, at_once))
                driver.go(waiting, at_once or max(1, int(ray.cluster_resources().get("CPU", 1))))
        return driver.finished()
    finally:
        if opened is not store:
            opened.close()


def _models(identities: Sequence[Identity]) -> list[Any]:
    return list({id(m): m for identity in identities for m in identity.models.values()}.values())


def _reachable(store: Store, address: str) -> str:
    """Return where workers find the store: an address, else the path of a file, else nothing."""
    if "://" in address:
        return address
    path = store.path if isinstance(store, SQLiteStore) else None
    return str(path.absolute()) if path is not None and path.is_file() else ""


@contextlib.contextmanager
def _cluster(ray: Any, at_once: int | None) -> Iterator[None]:
    """Use the Ray that this process is connected to as it is, else connect or start one, quietly, and leave it."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    _check(address or "")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if not address or address == "local":
        quiet |= {"num_cpus": at_once, "include_dashboard": False, "object_store_memory": OBJECTS}
    before = {name: os.environ.get(name) for name in QUIET}
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.update(QUIET)
    try:
        ray.init(address=address or "local", **quiet)
    except Exception as error:  # Ray raises many kinds
        where = f"no Ray cluster can be used at RAY_ADDRESS={address}" if address else "Ray does not start here"
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{where}: {reason}") from None
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    try:
        yield
    finally:
        ray.shutdown()
        with contextlib.suppress(ValueError, TypeError):  # no main thread, where Ray set none; or none of Python's
            signal.signal(signal.SIGTERM, handler)


def _check(address: str) -> None:
    """Raise where nothing answers at an address: Ray itself would go on trying for many minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"nothing answers at RAY_ADDRESS={address} ({reason}); start the cluster (ray start --head) or unset it"
        ) from None


@dataclass
class _Driver:
    """Submits jobs, merges what comes back, and says how it goes."""

    ray: Any
    jobs: Sequence[Job]
    identities: Sequence[Identity]
    task: Task
    model: Any
    store: Store
    place: Place
    observe: Observer | None
    common: bytes = b""
    payloads: dict[int, bytes] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)
    errors: dict[int, tuple[str, str]] = field(default_factory=dict)
    openings: dict[int, int] = field(default_factory=dict)
    same: dict[int, int] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)

    def say(self, event: str, **values: Any) -> None:
        if self.observe:
            self.observe(event, values)

    def recall(self) -> list[int]:
        """Return the jobs that are not finished; the others are read from what they left, at no cost.

        A job that is the same run as an earlier one shares its result.
        """
        waiting: list[int] = []
        seen: dict[str, int] = {}
        for n, (job, identity) in enumerate(zip(self.jobs, self.identities, strict=True)):
            if identity.id in seen:
                self.same[n] = seen[identity.id]
                continue
            seen[identity.id] = n
            if not self.place.direct:
                collect_left(self.store, identity.id)
            row = self.store.run(identity.id)
            if row is None or row.status != "done":
                waiting.append(n)
                continue
            card = type(job.method).card
            with watched(None) as shown:
                self.results[n] = fit_one(
                    self.task,
                    self.model,
                    card,
                    job.method,
                    job.helpers,
                    job.settings,
                    store=self.store,
                    progress=shown,
                )
            self.told(n, f"{self.results[n].evidence}; finished before")
        return waiting

    def prepare(self, waiting: Sequence[int]) -> None:
        """Pickle task, models and jobs; raises UsageError before anything has started."""
        dumps = self.ray.cloudpickle.dumps
        helpers = {role: m for job in self.jobs for role, m in job.helpers.items()}
        for m in _models(self.identities):
            pack(dumps, f"model {m.name}", m)
        self.common = pack(dumps, f"task {self.task.name}", (self.task, self.model, helpers))
        for n in waiting:
            job, identity = self.jobs[n], self.identities[n]
            rows = None if self.place.direct else rows_of(self.store, identity.id)
            value = (job.method, list(job.helpers), job.settings, identity.id, rows)
            self.payloads[n] = pack(dumps, f"method {job.label}", value)

    def keep_alone(self, stack: contextlib.ExitStack, waiting: Sequence[int]) -> None:
        """Keep another driver off these runs; where the workers write into the common store, they do it themselves."""
        if not self.place.direct:
            for n in waiting:
                stack.enter_context(self.store.alone(self.identities[n].id))

    def go(self, waiting: Sequence[int], at_once: int) -> None:
        """Keep so many tasks going until all have ended; an interruption cancels them."""
        run = self.ray.remote(num_cpus=1, max_retries=RETRIES)(work)
        common = self.ray.put(self.common)
        queue = deque(waiting)
        going: dict[Any, int] = {}
        bar = Bar(sys.stderr)
        try:
            while queue or going:
                while queue and len(going) < at_once:
                    n = queue.popleft()
                    bar.clear()
                    self.started(n)
                    going[run.remote(common, self.payloads.pop(n), self.place, min(at_once, len(waiting)))] = n
                bar.tally(len(self.results) + len(self.errors), len(self.jobs), len(going))
                ready, _ = self.ray.wait(list(going), num_returns=1, timeout=1.0)
                for reference in ready:
                    bar.clear()
                    self.ended(going.pop(reference), self.outcome(reference))
        except BaseException:
            bar.clear()
            self.cancel(going)
            raise
        finally:
            bar.clear()

    def started(self, n: int) -> None:
        """Make the run known to `promptology runs`, and say that it starts."""
        identity = self.identities[n]
        row = self.store.create_run(identity.id, identity.spec)
        if row.status != "running":
            self.store.set_status(identity.id, "running")
        for note in identity.notes:
            if note not in self.said:
                self.said.add(note)
                self.say("note", text=note)
        continued = row.status != "running" or row.elapsed > 0
        self.say(
            "start",
            label=self.jobs[n].label,
            number=n + 1,
            total=len(self.jobs),
            id=identity.id,
            resumed=continued,
        )

    def outcome(self, reference: Any) -> Outcome:
        """Return how a task ended; one that Ray lost is an error like any other."""
        try:
            outcome: Outcome = self.ray.get(reference)
            return outcome
        except self.ray.exceptions.RayError as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            return Outcome(None, None, "", f"its worker was lost ({type(error).__name__}: {reason.strip()[:160]})")

    def ended(self, n: int, outcome: Outcome) -> None:
        """Merge what a run brought back, and say how it ended."""
        identity, folder = self.identities[n], home() / "runs" / self.identities[n].id
        if outcome.rows is not None:
            self.openings[n] = absorb(self.store, outcome.rows)
        elif not self.place.direct:
            collect(self.store, identity.id)
        if outcome.result is None:
            self.errors[n] = outcome.kind, outcome.error
            if outcome.rows is None:
                self.store.set_status(identity.id, "failed")
            self.told(n, outcome.error, failed=True)
            return
        if outcome.host == self.place.host:
            remove(folder / FILE)
        models = identity.models
        for m in models.values():
            if str(getattr(m, "identity", m.name)) in outcome.simulated and not getattr(m, "simulated", False):
                m.simulated = True  # its server said so, to the worker
        self.results[n] = replace(outcome.result, folder=folder, _model=models["model"], _helpers=models)
        save(self.results[n].learned, folder / "prompt")
        self.told(n, f"{self.results[n].evidence}; {self.results[n].elapsed:.1f} s")

    def told(self, n: int, text: str, failed: bool = False) -> None:
        done = len(self.results) + len(self.errors)
        self.say("end", label=self.jobs[n].label, done=done, total=len(self.jobs), text=text, failed=failed)

    def cancel(self, going: Mapping[Any, int]) -> None:
        """Stop the tasks, gently at first, and keep what those on this machine have put down."""
        for reference in going:
            with contextlib.suppress(Exception):
                self.ray.cancel(reference, force=False)
        with contextlib.suppress(Exception):
            end = time.monotonic() + GRACE
            left = list(going)
            while left and time.monotonic() < end:
                _, left = self.ray.wait(left, num_returns=len(left), timeout=0.5)
            for reference in left:
                self.ray.cancel(reference, force=True)
        for n in going.values():
            if not self.place.direct:
                collect(self.store, self.identities[n].id)
            row = self.store.run(self.identities[n].id)
            if row is not None and row.status != "done":  # it may have ended before it heard
                self.store.set_status(row.id, "interrupted")

    def finished(self) -> list[Result]:
        """Return all results, with openings of the test split counted arm by arm; raises where a run failed."""
        if self.errors:
            raise self.failure()
        counts = iter(sorted(c for c in self.openings.values() if c))
        for n in sorted(n for n, c in self.openings.items() if c):
            evidence = replace(self.results[n].evidence, openings=next(counts))
            self.results[n] = replace(self.results[n], evidence=evidence)
        return [self.results[self.same.get(n, n)] for n in range(len(self.jobs))]

    def failure(self) -> PromptologyError:
        """Return one error for all failed runs, each named by arm and seed; runs that failed alike stand together."""
        groups: dict[str, list[str]] = {}
        for n, (_, text) in sorted(self.errors.items()):
            groups.setdefault(text, []).append(self.jobs[n].label)
        words = "; ".join(f"{', '.join(labels)}: {text}" for text, labels in groups.items())
        if done := len(self.results):
            others = f"other {done} runs are" if done > 1 else "other run is"
            words += f" (the {others} finished and kept, the same command continues)"
        kind = next(iter(self.errors.values()))[0]
        error: type[PromptologyError] = getattr(promptology.errors, kind, PromptologyError)
        return error(words)
