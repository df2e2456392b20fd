"""The run that a method sees: its models, its randomness, what it keeps; and the engine that ends it."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from promptology.data.task import Task
from promptology.errors import AccessError, BudgetEnded, PromptologyError
from promptology.prompts.learned import Learned
from promptology.prompts.start import start_from
from promptology.run.handles import Handle
from promptology.run.lineage import Lineage, by_role, counts
from promptology.run.meter import Meter
from promptology.run.scored import Scored

T = TypeVar("T")


class Method(Protocol):
    """One way to learn: a frozen dataclass whose fields are its hyper-parameters."""

    def fit(self, run: Run) -> Learned:
        """Learn, and return what was learned."""
        ...


class Run:
    """What a method is given: task, models, randomness, and a place to keep the best so far. Nothing else.

    `task` is the first of `tasks`; `sources` are things learned before, handed in as a start, teacher or source.
    `start` is the user's current prompt, or a plain one, bound to what the model offers.
    """

    def __init__(
        self,
        task: Task,
        handles: Mapping[str, Handle],
        meter: Meter,
        *,
        seed: int = 0,
        sources: Sequence[Learned] = (),
        tasks: Mapping[str, Task] | None = None,
        on_log: Callable[[str, Mapping[str, Any]], None] | None = None,
        on_track: Callable[[str, int, int | None], None] | None = None,
        readout: str = "",
        max_prompt_tokens: int = 0,
    ) -> None:
        self.task = task
        self.tasks: Mapping[str, Task] = tasks or {task.name: task}
        self.sources = tuple(sources)
        self.seed = seed
        self.start = start_from(task.signature, handles["model"].access, readout)
        self.kept: Learned | None = None
        self.lineage = Lineage(self.start)
        self.history: list[dict[str, Any]] = []
        self.spent: list[dict[str, Any]] = []
        """What had been charged at each entry of the history, beside it: calls that fail cost too, and by chance.

        By unit, and in `roles` what learning had charged by role and unit.
        """
        self.warnings: list[str] = []
        self.tally: Counter[str] = Counter()
        """What parts count as they go: proposals, unanswered and usable ones; votes and void ones."""
        self.trainings: Counter[str] = Counter()
        self.scored = Scored()
        """What the search scored, noted by `search.scoring.score`."""
        self.max_prompt_tokens = max_prompt_tokens
        self.meter = meter
        self._handles = dict(handles)
        self._readout = readout
        self._stage = ""
        self._on_log = on_log
        self._on_track = on_track

    def model(self, role: str = "model") -> Handle:
        """Return the metered handle of a role; raises AccessError where the method did not declare it."""
        try:
            return self._handles[role]
        except KeyError:
            known = ", ".join(self._handles)
            raise AccessError(f"role {role!r} was not declared by the method; declared: {known}") from None

    def has(self, role: str) -> bool:
        """Whether an optional role was given a model."""
        return role in self._handles

    @property
    def roles(self) -> Mapping[str, Handle]:
        """The handles of all declared roles."""
        return self._handles

    def rng(self, name: str = "") -> np.random.Generator:
        """Return a generator that depends on the run's seed, the stage and this name alone."""
        key = hashlib.blake2b(f"{self.seed}\0{self._stage}\0{name}".encode(), digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(key, "big"))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name a part of the run: inside it, generators depend on its name too, so skipping it shifts nothing."""
        outer, self._stage = self._stage, f"{self._stage}/{name}"
        try:
            yield
        finally:
            self._stage = outer

    def part(
        self, name: str, task: Task, *, sources: Sequence[Learned] = (), tasks: Mapping[str, Task] | None = None
    ) -> Run:
        """Return a part of this run with a task of its own: a block of a stream, a stage.

        Models, meter, history and counts are shared; generators depend on its name too, and its start is its task's.
        """
        part = copy.copy(self)
        part.task, part.tasks = task, tasks or {task.name: task}
        part.sources, part.kept, part.scored = tuple(sources), None, Scored()
        part.start = start_from(task.signature, self.model().access, self._readout)
        part._stage = f"{self._stage}/{name}"
        return part

    def fits(self, learned: Learned) -> bool:
        """Whether a prompt is no longer than the user allows (`max_prompt_tokens`; 0: any length)."""
        most = self.max_prompt_tokens
        return not most or self.model().length(learned).tokens <= most

    def keep(self, learned: Learned) -> None:
        """Keep this as the best so far: what the run returns if the budget ends."""
        self.kept = learned
        self.lineage.kept(learned, self.meter.charged)

    @overload
    def track(self, steps: int, label: str = "") -> Iterator[int]: ...

    @overload
    def track(self, steps: Iterable[T], label: str = "") -> Iterator[T]: ...

    def track(self, steps: int | Iterable[Any], label: str = "") -> Iterator[Any]:
        """Iterate over steps (a count or a collection) with a progress bar."""
        items: Iterable[Any] = range(steps) if isinstance(steps, int) else steps
        total = len(items) if isinstance(items, Sized) else None
        for n, item in enumerate(items):
            self.progress(label, n, total)
            yield item
        self.progress(label, total or 0, total)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Say how far a loop is that `track` cannot hold."""
        if self._on_track:
            self._on_track(label, done, total)

    def log(self, event: str, **values: Any) -> None:
        """Note what happened (numbers and short texts) for the history of the run."""
        spent = counts(self.meter.charged) | {"roles": by_role(self.meter.ledger)}
        self.take_up({"step": event, "values": values}, spent)

    def take_up(self, entry: dict[str, Any], spent: dict[str, Any]) -> None:
        """Put an entry into the history as it was noted before, by a training that goes on."""
        self.history.append(entry)
        self.spent.append(spent)
        if self._on_log:
            self._on_log(entry["step"], entry["values"])

    def warn(self, text: str) -> None:
        """Say what a user should know about the result, once: it stands among the warnings of the result."""
        if text not in self.warnings:
            self.warnings.append(text)


def learn(method: Method, run: Run) -> Learned:
    """Run a method to its end or the budget's; the budget's end returns the last kept, else the start."""
    try:
        return method.fit(run)
    except BudgetEnded:
        return run.kept or run.start


@contextmanager
def status_of(meter: Meter) -> Iterator[None]:
    """Let the status of a run follow what happens to it, with the reason where it fails."""
    meter.store.set_status(meter.run, "running")
    try:
        yield
    except BaseException as error:
        meter.flush()
        why = {"error": " ".join(str(error).split())} if isinstance(error, PromptologyError) else None
        meter.store.set_status(meter.run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", why)
        raise
