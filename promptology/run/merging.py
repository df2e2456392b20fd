"""The rows of one run, carried from one store into another: what was answered elsewhere is answered here too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promptology.run.cost import Cost
from promptology.run.store import Event, SQLiteStore, Store


class Rows(NamedTuple):
    """All that a store knows of one run; `openings` are the tasks whose test split it opened."""

    run: str
    spec: dict[str, Any]
    status: str
    elapsed: float
    result: dict[str, Any] | None
    events: dict[int, Event]
    answers: dict[bytes, bytes]
    openings: tuple[str, ...] = ()


def rows_of(store: Store, run: str) -> Rows | None:
    """Return the rows of a run, None where the store does not know it."""
    row = store.run(run)
    if row is None or row.id != run:
        return None
    events = store.events(run)
    own = store.own_answers if isinstance(store, RunStore) else store.answers
    answers = own(dict.fromkeys(e.key for e in events.values()))
    openings = store.openings() if isinstance(store, RunStore) else ()
    return Rows(run, row.spec, row.status, row.elapsed, row.result, events, answers, openings)


def absorb(store: Store, rows: Rows) -> int:
    """Write what the store does not know yet; return how many runs opened the test split, 0 where this one did not.

    A position keeps the row that got further, so that rows may come late, twice or in any order: nothing that was
    answered becomes unanswered, and a finished run stays finished.
    """
    before = store.create_run(rows.run, rows.spec)
    there = store.events(rows.run)
    for key, body in rows.answers.items():
        store.put_answer(key, body)
    for seq, event in rows.events.items():
        if seq not in there or _progress(event) > _progress(there[seq]):
            store.put_event(rows.run, seq, event)
    store.commit(rows.run, max(before.elapsed, rows.elapsed))
    if before.status != "done" or rows.status == "done":
        store.set_status(rows.run, rows.status, rows.result)
    return max((store.open_test(task, rows.run) for task in rows.openings), default=0)


def _progress(event: Event) -> tuple[int, int]:
    """Return how far a position got, and what has been paid for it."""
    paid = Cost.unpack(event.paid).calls if event.paid else 0
    return {"sent": 0, "again": 1, "failed": 2}.get(event.state, 3), paid


class RunStore(SQLiteStore):
    """The store of one run in a file of its own, so that runs on several machines never wait for one file.

    Answers of `shared`, the store that all runs end up in, are seen where it can be reached, and never written.
    """

    def __init__(self, path: str | Path, shared: Store | None = None) -> None:
        super().__init__(path)
        self._shared = shared

    def own_answers(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return those bodies that are in this file."""
        return super().answers(keys)

    def answers(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bodies of those keys that are there, here or in the shared store."""
        wanted: Sequence[bytes] = list(keys)
        found = super().answers(wanted)
        if self._shared is not None and len(rest := [k for k in wanted if k not in found]):
            found.update(self._shared.answers(rest))
        return found

    def openings(self) -> tuple[str, ...]:
        """Return the tasks whose test split was opened."""
        return tuple(task for (task,) in self._db.execute("SELECT DISTINCT task FROM openings ORDER BY task"))

    def close(self) -> None:
        """Commit and let go of both stores."""
        super().close()
        if self._shared is not None:
            self._shared.close()
