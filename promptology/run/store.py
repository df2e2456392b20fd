"""The store: answers and events that survive a kill. SQLite or PostgreSQL; others can stand behind the same methods."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from promptology.errors import StoreError
from promptology.places import home, pin_places
from promptology.run.rows import SCHEMA, Event, Freed, RunRow, Size, no_place
from promptology.run.sqlite import SQLiteStore

__all__ = [
    "SCHEMA",
    "Event",
    "Freed",
    "Place",
    "RunRow",
    "SQLiteStore",
    "Size",
    "Store",
    "home",
    "memory_store",
    "no_place",
    "open_store",
    "pin_places",
    "using_store",
]


class Store(Protocol):
    """What a store does. Writes become durable, and visible to others, at `commit`; it sees its own at once.

    Every method raises StoreError, one clear line, where the store cannot be used.
    `promptology.testing.check_store` holds an implementation to all of this.
    """

    where: str
    """The place as a user may read it: a path, or an address without its password."""

    def answers(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bodies of those keys that are there."""
        ...

    def put_answer(self, key: bytes, body: bytes) -> None:
        """Keep an answer; a key that is there stays as it is."""
        ...

    def events(self, run: str) -> dict[int, Event]:
        """Return all events of a run by position."""
        ...

    def put_event(self, run: str, seq: int, event: Event) -> None:
        """Write or replace the event at a position."""
        ...

    def commit(self, run: str = "", elapsed: float = 0.0) -> None:
        """Make everything written so far durable, with the run's seconds so far: all of it or, where it fails, nothing.

        What could not be committed stays to be committed by the next call.
        """
        ...

    def alone(self, run: str) -> AbstractContextManager[None]:
        """Keep every other process off a run; the lock goes with the process, however it ends.

        Raises UsageError where the run is going on already.
        """
        ...

    def create_run(self, id: str, spec: dict[str, Any]) -> RunRow:
        """Return the run's row, made now if it is new."""
        ...

    def set_status(self, id: str, status: str, result: dict[str, Any] | None = None) -> None:
        """Set a run's status and, at its end, its result document."""
        ...

    def run(self, id: str) -> RunRow | None:
        """Return a run by its id or a unique beginning of it."""
        ...

    def runs(self) -> list[RunRow]:
        """Return all runs, newest first."""
        ...

    def open_test(self, task: str, run: str) -> int:
        """Note that a run opens a task's test split; return how many runs have done so."""
        ...

    def delete_run(self, id: str, answers: bool = False) -> Freed:
        """Delete a run and its events, and with `answers` those answers that no other run used.

        How often test splits were opened stays counted: a deleted run has seen them all the same.
        """
        ...

    def delete_unused(self) -> Freed:
        """Delete all answers that no run uses."""
        ...

    def size(self) -> Size:
        """Return how large the store is."""
        ...

    def close(self) -> None:
        """Commit and let go of the store."""
        ...


Place = Store | str | Path | None


def open_store(where: Place = None) -> Store:
    """Open a store: a SQLite file by its path, or PostgreSQL by "postgresql://USER@HOST/DATABASE".

    Nothing given: what PROMPTOLOGY_STORE names, else store.sqlite in PROMPTOLOGY_HOME. An open store is returned as it
    is. Raises StoreError where the place cannot be used.
    """
    if where is None:
        where = os.environ.get("PROMPTOLOGY_STORE") or None
    if where is None or isinstance(where, Path):
        return SQLiteStore(where)
    if not isinstance(where, str):
        return where
    scheme, is_url, _ = where.partition("://")
    if not is_url:
        return SQLiteStore(Path(where).expanduser())
    if scheme.lower() not in ("postgresql", "postgres"):
        raise StoreError(f"there is no store of kind {scheme}://; give a path or postgresql://USER@HOST/DATABASE")
    from promptology.run.postgres import PostgresStore

    return PostgresStore(where)


@contextmanager
def using_store(where: Place = None) -> Iterator[Store]:
    """Open a store and close it at the end; a store that is open already is lent and stays open."""
    store = open_store(where)
    try:
        yield store
    finally:
        if store is not where:
            store.close()


def memory_store() -> SQLiteStore:
    """Return a store that lives as long as the process, for predictions outside a run."""
    return SQLiteStore(":memory:")
