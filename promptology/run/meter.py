"""The meter between methods and models: every call reserved, cached, recorded, replayed and charged.

Two figures are kept: `charged`, what a cold cache would have cost, which limits and comparisons use, and `paid`, what
was really spent. Decisions fall at the barriers between batches, in submission order, so that neither the number of
workers nor a kill changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from promptology.errors import BudgetEnded, ReplayError, TooManyMissing
from promptology.models.access import Answer, Asked, Failure, Generates, Outcome, Request, Vectors
from promptology.run.batch import Batch
from promptology.run.budget import Budget
from promptology.run.checkpoints import States, fingerprint
from promptology.run.cost import ZERO, Cost, Price
from promptology.run.embedding import embed, worst_of
from promptology.run.keys import Keys, decode
from promptology.run.store import Event, Store

COMMIT_EVERY = 0.02
"""Seconds at most that an answer waits for others of its burst before its row is made durable."""
REMEMBERED = 50_000
"""Answers of a run that are held in memory; older ones are read from the store again."""


@dataclass(frozen=True)
class Limits:
    """Tolerances of a run: attempts per request, share of missing answers that stops it."""

    attempts: int = 5
    missing: float = 0.2


class Meter:
    """Answers of models for one run: budget, cache, ledger and replay in one place."""

    def __init__(
        self,
        store: Store,
        run: str = "",
        *,
        budget: Budget | None = None,
        prices: Mapping[str, Price] | None = None,
        seed: int = 0,
        cache: bool = True,
        salt: str = "",
        limits: Limits | None = None,
        retry_failed: bool = False,
        on_progress: Callable[[Meter, str, int], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.store = store
        self.run = run
        self.budget = budget or Budget({})
        self.prices = dict(prices or {})
        self._keys = Keys(seed, None if cache else salt or run)
        self.limits = limits or Limits()
        self.phase = "learning"
        self.held_back: dict[str, float] = {}
        self.ledger: dict[tuple[str, str], tuple[Cost, Cost]] = {}
        self.charged = ZERO
        self.paid = ZERO
        self.asked = 0
        self.missing = 0
        self._of_role: dict[str, tuple[int, int]] = {}
        self.answered = 0
        self.stopped = False
        self.last_failure = ""
        self.retry_failed = retry_failed
        self.on_progress = on_progress
        self._events = store.events(run) if run else {}
        self.ahead = _charged(self._events.values()) if retry_failed else ZERO
        """What rows that come later in the run were charged for: not to be spent on asking again what failed."""
        row = store.run(run) if run else None
        self._elapsed_before = row.elapsed if row else 0.0
        self._started = time.monotonic()
        self._committed = self._started
        self._seq = 0
        self._asked: set[bytes] = set()
        self._memo: dict[bytes, Answer] = {}
        self._overhead: dict[str, int] = {}
        self._vectors: dict[tuple[str, str], dict[Asked, Vectors]] = {}
        self.states = States(folder)
        self.last_row = (-1, b"")
        self.journal: list[list[Any]] | None = None
        """Which texts stand in which row, noted while a training goes on, which is restored without asking again."""
        self.said_place = False
        self.recalled: dict[tuple[str, str], dict[str, tuple[bytes, int, int]]] = {}

    @property
    def elapsed(self) -> float:
        """Seconds that this run has taken, over all its processes."""
        return self._elapsed_before + time.monotonic() - self._started

    def room(self, resource: str) -> float:
        """Return what is left of a resource in this phase; infinite where it has no limit."""
        used = replace_seconds(self.charged, self.elapsed)
        return self.budget.room(resource, used) - self.held_back.get(resource, 0.0)

    def generate(self, role: str, model: Generates, requests: Sequence[Request], fresh: bool = False) -> list[Outcome]:
        """Return the outcome of each request, in order.

        Raises BudgetEnded before anything is sent where the budget does not cover the batch, TooManyMissing where too
        many answers are missing, ReplayError where a stored run disagrees, ModelError where the model refuses.
        """
        requests, keys = self._keys.number(role, model, requests, fresh)
        first, rows = self._enter(keys)
        new = {k: i for i, k in reversed(list(enumerate(keys))) if k not in self._asked}
        order = sorted(new.values())
        worst = ZERO
        for i in order if self.budget.limits else ():
            worst = worst.plus(self.worst_of(role, model, requests[i]))
        self._check_budget(first, worst, bool(rows))
        batch = Batch(self, role, model, requests, keys, first, rows)
        batch.run(order)
        self._remember(role, requests, order, keys, batch.answers)
        older = self._recollect(k for k in keys if k not in batch.answers and k not in batch.failed)
        outcomes: list[Outcome] = [batch.answers.get(k) or older.get(k) or batch.failed[k] for k in keys]
        self._count(role, len(outcomes), sum(isinstance(o, Failure) for o in outcomes))
        return outcomes

    def _remember(
        self,
        role: str,
        requests: Sequence[Request],
        order: Sequence[int],
        keys: Sequence[bytes],
        answers: Mapping[bytes, Answer],
    ) -> None:
        """Keep a batch's answers for whoever asks again, and learn what a chat template adds to a request."""
        self._asked.update(answers)
        self._memo.update(answers)
        if (surplus := len(self._memo) - REMEMBERED) > 0:
            for key in list(islice(self._memo, surplus)):
                del self._memo[key]
        for i in order if {"tokens", "usd"} & set(self.budget.limits) else ():
            answer = answers.get(keys[i])
            if answer and answer.tokens_in > (bound := _input_bound(requests[i])):
                self._overhead[role] = max(self._overhead.get(role, 0), answer.tokens_in - bound)

    def _recollect(self, keys: Iterable[bytes]) -> dict[bytes, Answer]:
        """Return answers of earlier batches, from memory or from the store."""
        wanted = list(keys)
        found = {k: self._memo[k] for k in wanted if k in self._memo}
        if len(found) < len(wanted):
            bodies = self.store.answers(k for k in wanted if k not in found)
            found.update((k, decode(body)) for k, body in bodies.items())
        return found

    def embed(self, role: str, model: Any, asked: Sequence[Asked]) -> Vectors:
        """Return vectors of texts, states and images, shape (n, dimension); see `run.embedding.embed`."""
        return embed(self, role, model, asked)

    def _enter(self, keys: Sequence[bytes]) -> tuple[int, dict[int, Event]]:
        """Take the next positions; return the first, and the rows an earlier process left there, by offset."""
        first = self._seq
        rows = {n: event for n in range(len(keys)) if (event := self._events.pop(first + n, None))}
        if (stop := rows.get(0)) and stop.state == "stop":
            self._seq = first + 1
            self.stopped = True
            raise BudgetEnded
        for n, row in rows.items():
            if row.key != keys[n] and row.state != "stop":
                raise ReplayError(
                    f"run {self.run}: call {first + n} differs from the stored one (code, data or model changed); "
                    "start a new run with another --seed or --cache off"
                )
        self._seq = first + len(keys)
        if self.retry_failed and rows:
            self.ahead = self.ahead.minus(_charged(rows.values()))
        return first, rows

    @property
    def tries(self) -> float:
        """Calls that an answer has taken so far, failed ones included; 1 where nothing was asked yet."""
        return max(1.0, self.charged.calls / self.answered) if self.answered else 1.0

    def covers(self, cost: Cost) -> bool:
        """Whether a further cost stays inside every limit but the clock."""
        return self.budget.covers(self.charged.plus(cost), self.held_back)

    def _check_budget(self, first: int, worst: Cost, replayed: bool) -> None:
        """Raise BudgetEnded where the worst case does not fit, before anything is sent."""
        if not self.covers(worst):
            self.stopped = True
            raise BudgetEnded
        limit = self.budget.limits.get("seconds")
        if limit is None or replayed:
            return
        if self.elapsed > limit - self.held_back.get("seconds", 0.0):
            # The clock is not replayed: where it stopped a run is a row, so that a resumed run stops there too.
            self.record(first, Event(b"", "stop"))
            self._seq = first + 1
            self.flush()
            self.stopped = True
            raise BudgetEnded

    def worst(
        self, role: str, model: Any, requests: Sequence[Request], texts: Sequence[Asked], known: set[Any]
    ) -> Cost:
        """Return the worst case of requests and texts that this run has not asked before and are not in `known` yet."""
        total = ZERO
        numbered, keys = self._keys.number(role, model, requests, False) if requests else ([], [])
        for key, request in zip(keys, numbered, strict=True):
            if key not in self._asked and key not in known:
                total = total.plus(self.worst_of(role, model, request))
                known.add(key)
        which = role, str(getattr(model, "identity", model.name))
        memo, before = self._vectors.get(which, {}), self.recalled.get(which)
        new = [text for text in dict.fromkeys(texts) if text not in memo and text not in known]
        if before:
            new = [text for text in new if fingerprint(text) not in before]
        known.update(new)
        return total.plus(worst_of(self, role, model, new)) if new else total

    def worst_of(self, role: str, model: Generates, request: Request) -> Cost:
        """Return the most that one try can cost: a byte is a token at most, and an answer is as long as it may be."""
        most = Cost(1, _input_bound(request) + self._overhead.get(role, 0), request.max_tokens)
        return most._replace(calls=0, passes=1) if getattr(model, "local", False) else self._priced(role, most)

    def _priced(self, role: str, cost: Cost) -> Cost:
        price = self.prices.get(role)
        return cost if price is None else cost._replace(usd=price.usd(cost.tokens_in, cost.tokens_out))

    def cost_of(self, role: str, model: Generates, answer: Answer, calls: int) -> Cost:
        """Return what an answer costs that took so many calls: those (or a pass) and its tokens, priced."""
        if getattr(model, "local", False):
            return Cost(0, answer.tokens_in, answer.tokens_out, passes=1)
        return self._priced(role, Cost(calls, answer.tokens_in, answer.tokens_out, estimated=answer.estimated))

    def charge(self, role: str, charged: Cost, paid: Cost) -> None:
        """Enter a cost into the ledger."""
        self.charged = self.charged.plus(charged)
        self.paid = self.paid.plus(paid)
        old = self.ledger.get((role, self.phase), (ZERO, ZERO))
        self.ledger[role, self.phase] = (old[0].plus(charged), old[1].plus(paid))

    def _count(self, role: str, asked: int, missing: int) -> None:
        """Count outcomes; raise where too many of the run, or of a role that asks little, are missing."""
        self.asked, self.missing = self.asked + asked, self.missing + missing
        before = self._of_role.get(role, (0, 0))
        self._of_role[role] = before[0] + asked, before[1] + missing
        if self._too_many(role):
            self.raise_missing(role)

    def _too_many(self, role: str, asked: int = 0, missing: int = 0) -> bool:
        """Whether with so many more asked and missing in a role too many are missing."""
        counts = [(self.asked, self.missing), self._of_role.get(role, (0, 0))]
        return any(m + missing > max(2, self.limits.missing * (n + asked)) for n, m in counts)

    def stop_if_hopeless(self, role: str, failed: int, size: int) -> None:
        """Raise where a batch of this size, with so many failed already, must end with too many missing."""
        if self._too_many(role, size, failed):
            self._count(role, size, failed)

    def check_missing(self) -> None:
        """Raise TooManyMissing at the end of a run too short for the check at its barriers."""
        if self.missing > self.limits.missing * self.asked:
            self.raise_missing()

    def raise_missing(self, role: str = "") -> None:
        """Raise the error that names how many answers are missing, of which role where one is to blame, and why."""
        todo = "when the model answers again, " + ("resume with --retry-failed" if self.run else "run this once more")
        if not self.covers(Cost(calls=self.missing)):
            todo = "the budget does not cover asking again, so start again with a larger --budget"
        asked, missing = self._of_role.get(role, (0, 0))
        what = f"{self.missing} of {self.asked} answers"
        if missing == self.missing and asked < self.asked:
            what = f"{missing} of {asked} answers in the role {role}"
        raise TooManyMissing(f"{what} are missing (last: {self.last_failure}); what was answered is kept, {todo}")

    def record(self, seq: int, event: Event) -> None:
        """Write the row of a position; a meter outside a run keeps none."""
        if self.run:
            self.last_row = seq, event.key
            self.store.put_event(self.run, seq, event)

    def commit_when_due(self) -> None:
        """Make what came durable, at most COMMIT_EVERY seconds after it came."""
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self.flush()

    def flush(self) -> None:
        """Make everything recorded so far durable."""
        self.store.commit(self.run, self.elapsed)
        self._committed = time.monotonic()

    def tell(self, role: str, n: int) -> None:
        """Let whoever watches know of n more outcomes."""
        if self.on_progress:
            self.on_progress(self, role, n)


def _charged(rows: Iterable[Event]) -> Cost:
    """Return what rows were charged for."""
    total = ZERO
    for row in rows:
        total = total.plus(Cost.unpack(row.charged)) if row.charged else total
    return total


def _input_bound(request: Request) -> int:
    """Return the most tokens that what a request sends can be, but for what a chat template adds of its own."""
    contents = [content for _, content in request.messages]
    contents += [] if request.continuation is None else [request.continuation]
    return 8 + sum(len(content.encode("utf-8", "surrogatepass")) + 8 for content in contents)


def replace_seconds(cost: Cost, seconds: float) -> Cost:
    """Return the cost with the clock's seconds instead of the models' own."""
    return cost._replace(seconds=seconds)
