"""One batch of requests on its way: recalled, sent, tried again, settled. Every step is a row before it counts.

A row says how far its request came: `sent` (in flight), `again` (failed for a moment, waits for its next try), `done`,
`failed`. A batch that a kill cut off goes on from its rows as if it had never stopped: first tries before second ones,
retries granted in submission order, tries that failed before the kill still count.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from promptology.models.access import Answer, Failure, Generates, Outcome, Request
from promptology.run.cost import ZERO, Cost
from promptology.run.keys import decode, encode
from promptology.run.store import Event

if TYPE_CHECKING:
    from promptology.run.meter import Meter

MOST_TOKENS = 10_000_000
"""Tokens of one call that no model reads or writes today; a server that reports more is mistaken."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
"""Seconds between two rounds of a batch whose retries the budget must grant one by one."""


@dataclass(slots=True)
class _Open:
    """A request without its outcome: tries and calls so far, what they cost, what a kill lost."""

    tries: int = 0
    calls: int = 0
    charged: Cost = ZERO
    lost: Cost = ZERO
    reason: str = ""
    reopened: bool = False


class Batch:
    """The new requests of one batch, at positions first, first + 1, ... of a run.

    `rows` are those that an earlier process left at these positions, by offset. After `run`, `answers` and `failed`
    hold an outcome for every key that was open.
    """

    def __init__(
        self,
        meter: Meter,
        role: str,
        model: Generates,
        requests: Sequence[Request],
        keys: Sequence[bytes],
        first: int,
        rows: Mapping[int, Event],
    ) -> None:
        self.meter, self.role, self.model = meter, role, model
        self.requests, self.keys, self.first, self.rows = requests, keys, first, rows
        self.answers: dict[bytes, Answer] = {}
        self.failed: dict[bytes, Failure] = {}
        self._bodies: dict[bytes, bytes] = {}
        self._local = bool(getattr(model, "local", False))
        self._open: dict[int, _Open] = {}

    def run(self, order: Sequence[int]) -> None:
        """Find the outcome of the requests at these offsets, in submission order: from rows, the cache, the model."""
        self._recall(order)
        if self._open:
            self._send()
            self._agree()

    def _recall(self, order: Sequence[int]) -> None:
        bodies = self.meter.store.answers(self.keys[i] for i in order)
        cached = ZERO
        # Requests leave in this order: a killed process had one under way at each worker, and one whose answer was
        # not durable yet. The rest of its batch had not left.
        out = 2 * int(getattr(self.model, "workers", len(order)))
        for i in order:
            key, row = self.keys[i], self.rows.get(i)
            if row and row.state == "done" and key in bodies:
                self.answers[key] = decode(bodies[key])
                self.meter.answered += 1
                self.meter.charge(self.role, Cost.unpack(row.charged), Cost.unpack(row.paid))
            elif row and row.state == "failed" and not self.meter.retry_failed:
                charged = Cost.unpack(row.charged)
                self.failed[key] = Failure(row.note, transient=False, attempts=charged.calls)
                self.meter.last_failure = row.note
                self.meter.charge(self.role, charged, Cost.unpack(row.paid))
            elif row is None and key in bodies:
                cached = cached.plus(self._cached(i, decode(bodies[key])))
            else:
                state = self._open[i] = self._state(row, out > 0)
                out -= row is not None and row.state == "sent"
                self.meter.charge(self.role, state.charged, state.charged.plus(state.lost))
                if key in bodies:
                    self._answered(i, replace(decode(bodies[key]), attempts=0))
        if cached != ZERO:
            self.meter.charge(self.role, cached, ZERO)
        if any(answer.simulated for answer in self.answers.values()) and hasattr(self.model, "simulated"):
            self.model.simulated = True  # it said so when it was asked

    def _cached(self, i: int, answer: Answer) -> Cost:
        """Take an answer of another run, the short way of `_answered`, and return what is to be charged for it."""
        charged = self.meter.cost_of(self.role, self.model, answer, 1)
        if answer.tokens_out > self.requests[i].max_tokens:
            charged = charged._replace(estimated=True)
        self.meter.answered += 1
        self.answers[self.keys[i]] = answer
        if self.meter.run:
            self.meter.record(self.first + i, Event(self.keys[i], "done", charged.pack(), ZERO.pack()))
        self.meter.tell(self.role, 1)
        return charged

    def _state(self, row: Event | None, out: bool) -> _Open:
        """Return how far a request came in an earlier process; `out`: whether it can have left when that was killed."""
        if row is None:
            return _Open()
        charged = Cost.unpack(row.charged) if row.charged and row.state != "done" else ZERO
        lost = Cost.unpack(row.paid).minus(charged) if row.paid else ZERO
        if row.state == "sent" and out:
            # It was in flight when that process ended: paid, perhaps, and never charged.
            lost = lost.plus(Cost(passes=1) if self._local else Cost(calls=1))
        tries, _, reason = row.note.partition(" ") if row.state in ("sent", "again") else ("", "", row.note)
        return _Open(int(tries or 0), charged.calls, charged, lost, reason, row.state == "failed")

    def _send(self) -> None:
        self._record(sorted(self._open), "sent")
        self.meter.flush()
        attempts = self._attempts()
        while self._open:
            level = min(state.tries for state in self._open.values())
            now = sorted(i for i, state in self._open.items() if state.tries == level)
            if level:
                now = self._grant(now)
                self._record(now, "sent")
                self.meter.flush()
            elif self._reopened(now):
                now = self._grant([*(i for i in now if not self._open[i].reopened), *self._reopened(now)])
            if now:
                self._ask(now, attempts)
            attempts = 1

    def _agree(self) -> None:
        """Take the stored answer where another process asked the same and was first, as a resumed run would."""
        for key, body in self.meter.store.answers(self._bodies).items():
            if body != self._bodies[key]:
                self.answers[key] = decode(body)

    def _attempts(self) -> int:
        """Return how often the model may try each request by itself: once, where the budget might refuse a retry."""
        meter = self.meter
        if {"tokens", "usd"} & set(meter.budget.limits) or any(s.tries or s.reopened for s in self._open.values()):
            return 1
        spare = meter.room("calls") - len(self._open)
        return meter.limits.attempts if spare >= len(self._open) * (meter.limits.attempts - 1) else 1

    def _grant(self, now: Sequence[int]) -> list[int]:
        """Return those retries, in submission order, that the budget still covers; the others have failed."""
        total, granted = self.meter.ahead, len(now)
        for n, i in enumerate(now):
            total = total.plus(self.meter.worst_of(self.role, self.model, self.requests[i]))
            if not self.meter.covers(total):
                granted = n
                break
        for i in now[granted:]:
            self._fail(i, Failure(self._open[i].reason, True))
        return list(now[:granted])

    def _reopened(self, offsets: Sequence[int]) -> list[int]:
        return [i for i in offsets if self._open[i].reopened]

    def _ask(self, now: Sequence[int], attempts: int) -> None:
        """Send one round and settle its outcomes as they come in."""
        pause = 0.0
        ask = getattr(self.model, "arrivals", None) or self.model.generate
        try:
            for came in ask([self.requests[i] for i in now], attempts):
                if came is None:
                    self.meter.flush()
                    continue
                k, outcome = came
                if isinstance(outcome, Failure):
                    pause = max(pause, outcome.retry_after)
                self._settle(now[k], outcome)
                self.meter.commit_when_due()
        finally:
            self.meter.flush()
        if self._open:
            time.sleep(min(max(pause, SHORTEST_PAUSE), LONGEST_PAUSE))

    def _settle(self, i: int, outcome: Outcome) -> None:
        """Record one outcome that came: an answer, the last failure, or one that will be tried again."""
        state = self._open[i]
        if isinstance(outcome, Answer):
            outcome = believable(outcome, self.requests[i])
            body = self._bodies[self.keys[i]] = encode(outcome)
            self.meter.store.put_answer(self.keys[i], body)
            self._answered(i, outcome)
            return
        state.tries += max(1, outcome.attempts)
        state.calls += outcome.attempts
        state.reason = outcome.reason
        if outcome.transient and state.tries < self.meter.limits.attempts:
            self._charge(i, self._failures(state))
            self._record([i], "again")
        else:
            self._fail(i, outcome)

    def _answered(self, i: int, answer: Answer) -> None:
        """Charge an answer and keep it for whoever asks again.

        One that nobody was asked for (cached, or shared with an equal request in flight: no attempts) is charged what
        a cold cache would have cost, and nothing was paid for it.
        """
        state = self._open[i]
        calls = state.calls + answer.attempts
        charged = self.meter.cost_of(self.role, self.model, answer, max(1, calls))
        if answer.tokens_out > self.requests[i].max_tokens:
            charged = charged._replace(estimated=True)  # the server does not honour the limit we reserved by
        spent = charged if answer.attempts else self._failures(state)
        self._charge(i, charged, spent)
        key = self.keys[i]
        self.answers[key] = answer
        self.meter.answered += 1
        if self.meter.run:
            self.meter.record(self.first + i, Event(key, "done", charged.pack(), spent.plus(state.lost).pack()))
        self._close(i)

    def _fail(self, i: int, failure: Failure) -> None:
        state = self._open[i]
        charged = self._failures(state)
        self._charge(i, charged)
        self.failed[self.keys[i]] = replace(failure, attempts=state.tries)
        self.meter.last_failure = failure.reason
        paid = charged.plus(state.lost)
        self.meter.record(self.first + i, Event(self.keys[i], "failed", charged.pack(), paid.pack(), failure.reason))
        self._close(i)
        self.meter.stop_if_hopeless(self.role, len(self.failed), len(self.keys))

    def _failures(self, state: _Open) -> Cost:
        """Return the cost of the tries that failed: calls, of which no usage is known."""
        return Cost(calls=0 if self._local else state.calls)

    def _charge(self, i: int, charged: Cost, spent: Cost | None = None) -> None:
        """Charge what a request has cost by now, less what it was charged before."""
        state = self._open[i]
        spent = charged if spent is None else spent
        self.meter.charge(self.role, charged.minus(state.charged), spent.minus(state.charged))
        state.charged = charged

    def _close(self, i: int) -> None:
        del self._open[i]
        self.meter.tell(self.role, 1)

    def _record(self, offsets: Sequence[int], state: str) -> None:
        for i in offsets if self.meter.run else ():
            s = self._open[i]
            note = f"{s.tries} {s.reason}".rstrip() if s.tries else ""
            event = Event(self.keys[i], state, s.charged.pack(), s.charged.plus(s.lost).pack(), note)
            self.meter.record(self.first + i, event)


def believable(answer: Answer, request: Request) -> Answer:
    """Return an answer that can be kept and charged: no half characters, an estimate for tokens that no call has."""
    if not answer.text.isascii():
        text = answer.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        answer = answer if text == answer.text else replace(answer, text=text)
    if max(answer.tokens_in, answer.tokens_out) <= MOST_TOKENS:
        return answer
    read = sum(len(content.encode("utf-8", "surrogatepass")) for _, content in request.messages)
    wrote = len(answer.text.encode())
    return replace(answer, tokens_in=-(-read // 4), tokens_out=-(-wrote // 4), estimated=True)
