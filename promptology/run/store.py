"""The store: answers and events that survive a kill. One SQLite file; others can stand behind the same methods."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from promptology.errors import StoreError

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers(key BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(
  run TEXT, seq INTEGER, key BLOB NOT NULL, state TEXT NOT NULL, charged TEXT, paid TEXT, note TEXT,
  PRIMARY KEY(run, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs(
  id TEXT PRIMARY KEY, spec TEXT NOT NULL, status TEXT NOT NULL, created REAL, updated REAL, elapsed REAL,
  result TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS openings(task TEXT, run TEXT, at REAL, PRIMARY KEY(task, run)) WITHOUT ROWID;
"""


class Event(NamedTuple):
    """One row of a run: which request stood at this position, how it ended, what it cost.

    `state` is sent (in flight when the process ended), done, failed or stop (the budget ended here).
    """

    key: bytes
    state: str
    charged: str = ""
    paid: str = ""
    note: str = ""


class RunRow(NamedTuple):
    """A run as the store knows it; times in seconds since the epoch."""

    id: str
    spec: dict[str, Any]
    status: str
    created: float
    updated: float
    elapsed: float
    result: dict[str, Any] | None


class Store(Protocol):
    """What a store does. Writes become durable at `commit`."""

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
        """Make everything written so far durable, with the run's seconds so far."""
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

    def close(self) -> None:
        """Commit and let go of the file."""
        ...


def home() -> Path:
    """Folder of the store and of run folders: PROMPTOLOGY_HOME, else the user's data folder."""
    if given := os.environ.get("PROMPTOLOGY_HOME"):
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "promptology"


class SQLiteStore:
    """The store in one SQLite file (WAL, synchronous=NORMAL: a committed row survives SIGKILL).

    Raises StoreError where the file cannot be used.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else home() / "store.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES('schema', ?)", (str(SCHEMA),))
            (version,) = self._db.execute("SELECT value FROM meta WHERE name='schema'").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"store {self.path}: {error}; set PROMPTOLOGY_HOME to a folder that can be written"
            ) from None
        if int(version) != SCHEMA:
            raise StoreError(f"store {self.path} has layout {version}, this version reads {SCHEMA}; use another folder")
        self._open = False

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        try:
            if not self._open:
                self._db.execute("BEGIN IMMEDIATE")
                self._open = True
            self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise StoreError(f"store {self.path}: {error}; what was answered before is kept") from None

    def answers(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bodies of those keys that are there."""
        found: dict[bytes, bytes] = {}
        wanted = list(dict.fromkeys(keys))
        for at in range(0, len(wanted), 500):
            some = wanted[at : at + 500]
            marks = ",".join("?" * len(some))
            found.update(self._db.execute(f"SELECT key, body FROM answers WHERE key IN ({marks})", some))
        return found

    def put_answer(self, key: bytes, body: bytes) -> None:
        """Keep an answer; a key that is there stays as it is."""
        self._write("INSERT OR IGNORE INTO answers VALUES(?, ?)", (key, body))

    def events(self, run: str) -> dict[int, Event]:
        """Return all events of a run by position."""
        rows = self._db.execute("SELECT seq, key, state, charged, paid, note FROM events WHERE run=?", (run,))
        return {seq: Event(*rest) for seq, *rest in rows}

    def put_event(self, run: str, seq: int, event: Event) -> None:
        """Write or replace the event at a position."""
        self._write("INSERT OR REPLACE INTO events VALUES(?, ?, ?, ?, ?, ?, ?)", (run, seq, *event))

    def commit(self, run: str = "", elapsed: float = 0.0) -> None:
        """Make everything written so far durable, with the run's seconds so far."""
        if not self._open:
            return
        if run:
            self._write("UPDATE runs SET updated=?, elapsed=? WHERE id=?", (time.time(), elapsed, run))
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"store {self.path}: {error}; what was answered before is kept") from None
        self._open = False

    def create_run(self, id: str, spec: dict[str, Any]) -> RunRow:
        """Return the run's row, made now if it is new."""
        now = time.time()
        self._write(
            "INSERT OR IGNORE INTO runs VALUES(?, ?, 'running', ?, ?, 0, NULL)",
            (id, json.dumps(spec, ensure_ascii=False), now, now),
        )
        self.commit()
        row = self.run(id)
        assert row is not None
        return row

    def set_status(self, id: str, status: str, result: dict[str, Any] | None = None) -> None:
        """Set a run's status and, at its end, its result document."""
        body = None if result is None else json.dumps(result, ensure_ascii=False)
        self._write(
            "UPDATE runs SET status=?, updated=?, result=COALESCE(?, result) WHERE id=?",
            (status, time.time(), body, id),
        )
        self.commit()

    def run(self, id: str) -> RunRow | None:
        """Return a run by its id or a unique beginning of it."""
        pattern = id.replace("%", "").replace("_", "") + "%"
        rows = self._db.execute("SELECT * FROM runs WHERE id=? OR id LIKE ?", (id, pattern)).fetchall()
        exact = [row for row in rows if row[0] == id] or rows
        return _run_row(exact[0]) if len(exact) == 1 else None

    def runs(self) -> list[RunRow]:
        """Return all runs, newest first."""
        return [_run_row(row) for row in self._db.execute("SELECT * FROM runs ORDER BY created DESC, id")]

    def open_test(self, task: str, run: str) -> int:
        """Note that a run opens a task's test split; return how many runs have done so."""
        self._write("INSERT OR IGNORE INTO openings VALUES(?, ?, ?)", (task, run, time.time()))
        self.commit()
        (count,) = self._db.execute("SELECT COUNT(*) FROM openings WHERE task=?", (task,)).fetchone()
        return int(count)

    def close(self) -> None:
        """Commit and let go of the file."""
        self.commit()
        self._db.close()


def _run_row(row: tuple[Any, ...]) -> RunRow:
    id, spec, status, created, updated, elapsed, result = row
    return RunRow(id, json.loads(spec), status, created, updated, elapsed, json.loads(result) if result else None)


def memory_store() -> SQLiteStore:
    """Return a store that lives as long as the process, for predictions outside a run."""
    return SQLiteStore(":memory:")
