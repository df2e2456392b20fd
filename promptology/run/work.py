"""What this process does itself, as rows of a run: stretches of training, computed arrays, commitments."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptology.errors import BudgetEnded, ReplayError, StoreError, UsageError
from promptology.run.cost import ZERO, Cost
from promptology.run.meter import Meter
from promptology.run.store import Event

Arrays = dict[str, NDArray[Any]]


class Span:
    """A stretch of work that is one row of a run: taken up at its start, charged as it goes, written down at its end.

    `parts` is what tells this stretch from others, JSON-like. `note` is what an earlier process wrote into the row,
    None where there was none. What that process had paid is paid again where the stretch is done again, and charged
    once. Raises BudgetEnded where nothing is left, the clock included, and ReplayError where the stored row differs.
    """

    def __init__(self, meter: Meter, role: str, parts: list[Any]) -> None:
        self.meter, self.role = meter, role
        meter._check_budget(meter._seq, ZERO, meter._seq in meter._events)
        self.key = meter._keys.hash(["span", role, *parts])
        self.first, rows = meter._enter([self.key])
        row = rows.get(0)
        self.note: str | None = row.note if row else None
        self.charged = ZERO
        self.lost = Cost.unpack(row.paid) if row and row.paid else ZERO
        if self.lost != ZERO:
            meter.charge(role, ZERO, self.lost)

    def check(self, cost: Cost) -> None:
        """Raise BudgetEnded where the budget does not cover this much more."""
        if not self.meter.covers(cost):
            self.meter.stopped = True
            raise BudgetEnded

    def charge(self, cost: Cost) -> None:
        """Enter what was just done into the ledger."""
        self.charged = self.charged.plus(cost)
        self.meter.charge(self.role, cost, cost)
        self.meter.tell(self.role, cost.passes)

    def end(self, note: str = "") -> None:
        """Write the row; it is durable with the next commit."""
        paid = self.charged.plus(self.lost)
        self.meter.record(self.first, Event(self.key, "done", self.charged.pack(), paid.pack(), note))
        self.meter.commit_when_due()

    def to_json(self) -> dict[str, Any]:
        """Return where an open stretch stands."""
        return {
            "first": self.first,
            "key": self.key.hex(),
            "charged": self.charged.pack(),
            "lost": self.lost.pack(),
            "note": self.note,
        }

    @classmethod
    def from_json(cls, meter: Meter, role: str, doc: Mapping[str, Any]) -> Span:
        """Go on with an open stretch; call this before the meter is moved past the stretch's row."""
        span = cls.__new__(cls)
        span.meter, span.role, span.note = meter, role, doc["note"]
        span.first, span.key = int(doc["first"]), bytes.fromhex(doc["key"])
        span.charged, span.lost = Cost.unpack(doc["charged"]), Cost.unpack(doc["lost"])
        row = meter._events.get(span.first)
        if row and row.state == "done":
            # The process that wrote the state came further and finished this stretch: what it did is lost, and paid.
            more = Cost.unpack(row.paid).minus(span.charged.plus(span.lost))
            span.lost, span.note = span.lost.plus(more), row.note
            meter.charge(role, ZERO, more)
        return span


def compute(
    meter: Meter, role: str, identity: str, parts: list[Any], passes: int, work: Callable[[], Mapping[str, Any]]
) -> Arrays:
    """Return the named arrays that `work()` gives, kept as one durable answer; the same `parts` again cost nothing.

    `parts`, JSON-like, must say everything that the arrays depend on but the role's model. Charged `passes`, also where
    another run had the answer. Raises BudgetEnded before the work where the budget does not cover it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    key = meter._keys.hash(["compute", role, identity, *parts])
    known = key in meter._asked
    if not known:
        meter._check_budget(meter._seq, Cost(passes=passes), meter._seq in meter._events)
    first, rows = (0, {}) if known else meter._enter([key])
    event, body = rows.get(0), meter.store.answers([key]).get(key)
    if body is None:
        began = time.monotonic()
        body = save({name: np.ascontiguousarray(array) for name, array in work().items()})
        cost = paid = Cost(passes=passes, seconds=time.monotonic() - began)
        meter.store.put_answer(key, body)
    elif event and event.state == "done":
        cost, paid = Cost.unpack(event.charged), Cost.unpack(event.paid)
    else:
        cost, paid = Cost(passes=passes), ZERO
    if not known:
        meter._asked.add(key)
        meter.record(first, Event(key, "done", cost.pack(), paid.pack()))
        meter.flush()
        meter.charge(role, cost, paid)
        meter.tell(role, passes)
    try:
        arrays: Arrays = load(body)
    except SafetensorError:
        raise StoreError(
            "arrays in the store are damaged: put a copy of the store in its place, or move it away and start anew"
        ) from None
    return arrays


def commit(meter: Meter, what: str, value: Any) -> None:
    """Write a JSON-like value as a row of the run, durable when this returns: what was said cannot be unsaid.

    Raises UsageError outside a run, whose rows nobody keeps; StoreError where the row cannot be made durable;
    ReplayError where a continued run says something else at this place. Only one that asks again what had failed may:
    it says more.
    """
    if not meter.run:
        raise UsageError(f"{what} can only be committed in a run: outside of one nothing is kept")
    body = json.dumps(value, separators=(",", ":"), default=str)
    key = meter._keys.hash(["commit", what])
    first, rows = meter._enter([key])
    row = rows.get(0)
    if row and row.note != body and not meter.retry_failed:
        raise ReplayError(
            f"run {meter.run}: {what} differs from what was committed (code, data or model changed); start a new run "
            "with another --seed or --cache off"
        )
    if row is None or row.note != body:
        meter.record(first, Event(key, "done", "", "", body))
    meter.flush()
