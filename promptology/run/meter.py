"""The meter between methods and models: every call reserved, cached, recorded, replayed and charged.

Two figures are kept: `charged`, what a cold cache would have cost, which limits and comparisons use, and `paid`, what
was really spent. Decisions fall at the barriers between batches, in submission order, so that neither the number of
workers nor a kill changes a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptology.errors import BudgetEnded, ReplayError, TooManyMissing
from promptology.models.access import Answer, Embeds, Failure, Generates, Outcome, Request, Vectors
from promptology.run.budget import Budget
from promptology.run.cost import ZERO, Cost, Price
from promptology.run.keys import Keys, decode, encode
from promptology.run.store import Event, Store

COMMIT_EVERY = 0.02
"""Seconds at most that an answer waits for others of its burst before its row is made durable."""
EMBED_CHUNK = 512
"""Texts per durable row of an embedding model: what a kill can lose."""


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
        self.stopped = False
        self.last_failure = ""
        self._retry_failed = retry_failed
        self.on_progress = on_progress
        self._events = store.events(run) if run else {}
        row = store.run(run) if run else None
        self._elapsed_before = row.elapsed if row else 0.0
        self._started = time.monotonic()
        self._committed = self._started
        self._seq = 0
        self._memo: dict[bytes, Answer] = {}
        self._vectors: dict[tuple[str, str], dict[str, Vectors]] = {}

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
        first = self._enter(keys)
        new = {k: i for i, k in reversed(list(enumerate(keys))) if k not in self._memo}
        order = sorted(new.values())
        self._reserve(first, [self._worst(role, model, requests[i]) for i in order])
        failed: dict[bytes, Failure] = {}
        send = self._recall(role, model, first, keys, order, failed)
        if send:
            self._send(role, model, requests, keys, first, send, failed)
        outcomes: list[Outcome] = [self._memo.get(key) or failed[key] for key in keys]
        self._count(outcomes)
        return outcomes

    def embed(self, role: str, model: Embeds, texts: Sequence[str]) -> Vectors:
        """Return unit vectors of the texts, shape (n, dimension); a text seen before in this run costs nothing."""
        identity = str(getattr(model, "identity", model.name))
        memo = self._vectors.setdefault((role, identity), {})
        new = [text for text in dict.fromkeys(texts) if text not in memo]
        if new:
            self._check_budget(self._seq, Cost(passes=len(new)))
        for at in range(0, len(new), EMBED_CHUNK):
            some = new[at : at + EMBED_CHUNK]
            for text, vector in zip(some, self._embed_chunk(role, model, identity, some), strict=True):
                memo[text] = vector
        return np.stack([memo[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)

    def _embed_chunk(self, role: str, model: Embeds, identity: str, texts: list[str]) -> Vectors:
        key = self._keys.hash(["embed", role, identity, texts])
        first = self._enter([key])
        event = self._events.get(first)
        body = self.store.answers([key]).get(key)
        if body is not None:
            vectors: Vectors = np.frombuffer(body, np.float32).reshape(len(texts), -1)
            if event and event.state == "done":
                self._charge(role, Cost.unpack(event.charged), Cost.unpack(event.paid))
                return vectors
            cost, paid = Cost(passes=len(texts)), ZERO
        else:
            began = time.monotonic()
            vectors = np.ascontiguousarray(model.embed(texts), np.float32)
            cost = paid = Cost(passes=len(texts), seconds=time.monotonic() - began)
            self.store.put_answer(key, vectors.tobytes())
        self._write(first, Event(key, "done", cost.pack(), paid.pack()))
        self.flush()
        self._charge(role, cost, paid)
        self._tell(role, len(texts))
        return vectors

    def _enter(self, keys: Sequence[bytes]) -> int:
        """Take the next positions and compare their stored keys with today's."""
        first = self._seq
        for offset, key in enumerate(keys):
            event = self._events.get(first + offset)
            if event and event.state != "stop" and event.key != key:
                raise ReplayError(
                    f"run {self.run}: call {first + offset} differs from the stored one (code, data or model changed); "
                    "start a new run with another --seed or --cache off"
                )
        if (event := self._events.get(first)) and event.state == "stop":
            self._seq = first + 1
            self.stopped = True
            raise BudgetEnded
        self._seq = first + len(keys)
        return first

    def _reserve(self, first: int, worst: Sequence[Cost]) -> None:
        total = ZERO
        for cost in worst:
            total = total.plus(cost)
        self._check_budget(first, total)

    def _check_budget(self, first: int, worst: Cost) -> None:
        """Raise BudgetEnded where the worst case does not fit, before anything is sent."""
        if not self.budget.covers(self.charged.plus(worst), self.held_back):
            self.stopped = True
            raise BudgetEnded
        limit = self.budget.limits.get("seconds")
        if limit is None or first in self._events:
            return
        if self.elapsed > limit - self.held_back.get("seconds", 0.0):
            # The clock is not replayed: where it stopped a run is a row, so that a resumed run stops there too.
            self._write(first, Event(b"", "stop"))
            self._seq = first + 1
            self.flush()
            self.stopped = True
            raise BudgetEnded

    def worst(self, role: str, model: Any, requests: Sequence[Request], texts: Sequence[str] = ()) -> Cost:
        """Return the worst case of requests and texts that this run has not asked before."""
        total = ZERO
        numbered, keys = self._keys.number(role, model, requests, False) if requests else ([], [])
        for key, request in dict(zip(keys, numbered, strict=True)).items():
            if key not in self._memo:
                total = total.plus(self._worst(role, model, request))
        memo = self._vectors.get((role, str(getattr(model, "identity", model.name))), {})
        return total.plus(Cost(passes=sum(text not in memo for text in set(texts))))

    def _worst(self, role: str, model: Generates, request: Request) -> Cost:
        if getattr(model, "local", False):
            return Cost(passes=1)
        size = sum(len(content.encode("utf-8", "surrogatepass")) + 8 for _, content in request.messages)
        return self._priced(role, Cost(1, size + 8, request.max_tokens))

    def _priced(self, role: str, cost: Cost) -> Cost:
        price = self.prices.get(role)
        return cost if price is None else cost._replace(usd=price.usd(cost.tokens_in, cost.tokens_out))

    def _recall(
        self,
        role: str,
        model: Generates,
        first: int,
        keys: Sequence[bytes],
        order: Sequence[int],
        failed: dict[bytes, Failure],
    ) -> list[int]:
        """Answer from the run's rows and from the cache; return what must be sent."""
        bodies = self.store.answers(keys[i] for i in order)
        send: list[int] = []
        for i in order:
            key, event = keys[i], self._events.get(first + i)
            if event and event.state == "done" and key in bodies:
                self._memo[key] = decode(bodies[key])
                self._charge(role, Cost.unpack(event.charged), Cost.unpack(event.paid))
            elif event and event.state == "failed" and not self._retry_failed:
                cost = Cost.unpack(event.charged)
                failed[key] = Failure(event.note, transient=False, attempts=cost.calls)
                self._charge(role, cost, Cost.unpack(event.paid))
            elif key in bodies:
                answer = decode(bodies[key])
                cost = self.cost_of(role, model, replace(answer, attempts=1))
                paid = Cost.unpack(event.paid) if event and event.paid else ZERO
                self._memo[key] = answer
                self._write(first + i, Event(key, "done", cost.pack(), paid.pack()))
                self._charge(role, cost, paid)
            else:
                send.append(i)
        return send

    def _send(
        self,
        role: str,
        model: Generates,
        requests: Sequence[Request],
        keys: Sequence[bytes],
        first: int,
        send: list[int],
        failed: dict[bytes, Failure],
    ) -> None:
        """Send what is new. Retries start at once where the budget covers all of them, else after a barrier."""
        for i in send:
            self._write(first + i, Event(keys[i], "sent", "", self._lost(first + i).pack()))
        self.flush()
        tries = dict.fromkeys(send, 0)
        pending = list(send)
        extra = self.room("calls") - len(send)
        while pending:
            at_once = extra >= len(pending) * (self.limits.attempts - 1) and self._only_calls_limited()
            attempts = self.limits.attempts if at_once else 1
            again: list[int] = []
            try:
                ask = getattr(model, "arrivals", model.generate)
                for came in ask([requests[i] for i in pending], attempts):
                    if came is None:
                        self.flush()
                        continue
                    k, outcome = came
                    i = pending[k]
                    tries[i] += outcome.attempts
                    if isinstance(outcome, Failure) and outcome.transient and tries[i] < self.limits.attempts:
                        again.append(i)
                    self._settle(role, model, first + i, keys[i], outcome, tries[i], failed)
                    self._commit_when_due()
            finally:
                self.flush()
            pending = sorted(again)
            if pending:
                pause = max(failed[keys[i]].retry_after for i in pending)
                pending = self._grant(role, model, requests, pending)
                for i in pending:
                    del failed[keys[i]]
                if pending:
                    time.sleep(min(max(pause, 0.2), 30.0))
            extra = -1.0

    def _only_calls_limited(self) -> bool:
        return not {"tokens", "usd"} & set(self.budget.limits)

    def _grant(self, role: str, model: Generates, requests: Sequence[Request], pending: list[int]) -> list[int]:
        """Return those retries, in submission order, that the budget still covers."""
        granted: list[int] = []
        total = ZERO
        for i in pending:
            total = total.plus(self._worst(role, model, requests[i]))
            if not self.budget.covers(self.charged.plus(total), self.held_back):
                break
            granted.append(i)
        return granted

    def _settle(
        self,
        role: str,
        model: Generates,
        seq: int,
        key: bytes,
        outcome: Outcome,
        tries: int,
        failed: dict[bytes, Failure],
    ) -> None:
        """Record one outcome: its row, its cost, and the answer for whoever asks again."""
        before = self._events.get(seq)
        known = Cost.unpack(before.charged) if before and before.charged else ZERO
        lost = Cost.unpack(before.paid).minus(known) if before and before.paid else ZERO
        if isinstance(outcome, Answer):
            self._memo[key] = outcome
            self.store.put_answer(key, encode(outcome))
            cost = self.cost_of(role, model, replace(outcome, attempts=tries))
            event = Event(key, "done", cost.pack(), cost.plus(lost).pack())
        else:
            failed[key] = replace(outcome, attempts=tries)
            self.last_failure = outcome.reason
            cost = Cost(calls=0 if getattr(model, "local", False) else tries)
            event = Event(key, "failed", cost.pack(), cost.plus(lost).pack(), outcome.reason)
        self._write(seq, event)
        self._charge(role, cost.minus(known), cost.minus(known) if known.calls else cost.plus(lost))
        self._tell(role, 1)

    def _lost(self, seq: int) -> Cost:
        """Cost of requests that were in flight when an earlier process ended: paid, perhaps, and never charged."""
        event = self._events.get(seq)
        before = Cost.unpack(event.paid) if event and event.paid else ZERO
        return before.plus(Cost(calls=1)) if event and event.state == "sent" else before

    def cost_of(self, role: str, model: Generates, answer: Answer) -> Cost:
        """Return what an answer costs: a call (or a pass of a local model) and its tokens, priced."""
        if getattr(model, "local", False):
            return Cost(0, answer.tokens_in, answer.tokens_out, passes=1)
        tokens = Cost(answer.attempts, answer.tokens_in, answer.tokens_out, estimated=answer.estimated)
        return self._priced(role, tokens)

    def _charge(self, role: str, charged: Cost, paid: Cost) -> None:
        self.charged = self.charged.plus(charged)
        self.paid = self.paid.plus(paid)
        old = self.ledger.get((role, self.phase), (ZERO, ZERO))
        self.ledger[role, self.phase] = (old[0].plus(charged), old[1].plus(paid))

    def _count(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.asked += 1
            self.missing += isinstance(outcome, Failure)
        if self.missing > max(2, self.limits.missing * self.asked):
            self.raise_missing()

    def check_missing(self) -> None:
        """Raise TooManyMissing at the end of a run too short for the check at its barriers."""
        if self.missing > self.limits.missing * self.asked:
            self.raise_missing()

    def raise_missing(self) -> None:
        """Raise the error that names how many answers are missing and the last reason."""
        raise TooManyMissing(
            f"{self.missing} of {self.asked} answers are missing (last: {self.last_failure}); "
            "what was answered is kept, resume when the model answers again"
        )

    def _write(self, seq: int, event: Event) -> None:
        self._events[seq] = event
        if self.run:
            self.store.put_event(self.run, seq, event)

    def _commit_when_due(self) -> None:
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self.flush()

    def flush(self) -> None:
        """Make everything recorded so far durable."""
        self.store.commit(self.run, self.elapsed)
        self._committed = time.monotonic()

    def _tell(self, role: str, n: int) -> None:
        if self.on_progress:
            self.on_progress(self, role, n)


def replace_seconds(cost: Cost, seconds: float) -> Cost:
    """Return the cost with the clock's seconds instead of the models' own."""
    return cost._replace(seconds=seconds)
