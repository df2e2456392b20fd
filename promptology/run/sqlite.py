"""The store in one SQLite file."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from promptology.errors import StoreError
from promptology.places import home
from promptology.run.locking import locked
from promptology.run.rows import (
    KEPT,
    SCHEMA,
    Event,
    Freed,
    RunRow,
    Size,
    going_on,
    no_place,
    other_layout,
    pack_text,
    run_row,
    unpack_text,
)

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers(key BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events(
  run TEXT, seq INTEGER, key BLOB NOT NULL, state TEXT NOT NULL, charged TEXT, paid TEXT, note TEXT,
  PRIMARY KEY(run, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs(
  id TEXT PRIMARY KEY, spec TEXT NOT NULL, status TEXT NOT NULL, created REAL, updated REAL, elapsed REAL,
  result TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS openings(task TEXT, run TEXT, at REAL, PRIMARY KEY(task, run)) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES('schema', '{SCHEMA}');
COMMIT;
"""
PATIENCE = 300
"""Seconds to wait for another process that writes: a commit takes moments, giving space back to the disk minutes."""
_ANSWER = "INSERT OR IGNORE INTO answers VALUES(?, ?)"
_EVENT = "INSERT OR REPLACE INTO events VALUES(?, ?, ?, ?, ?, ?, ?)"
_UNUSED = "key NOT IN (SELECT key FROM events)"
_HINTS = {
    "SQLITE_FULL": f"free some space; {KEPT}",
    "SQLITE_IOERR": f"look at the disk; {KEPT}",
    "SQLITE_BUSY": f"another process holds it; {KEPT}",
    "SQLITE_CORRUPT": "the file is damaged: put a copy in its place, or move it away and start anew",
    "SQLITE_NOTADB": "this is no store: set PROMPTOLOGY_HOME or PROMPTOLOGY_STORE to another place",
    "SQLITE_CANTOPEN": "set PROMPTOLOGY_HOME to a folder that can be written, or allow more open files (ulimit -n)",
    "SQLITE_READONLY": f"set PROMPTOLOGY_HOME to a folder that can be written; {KEPT}",
}


class SQLiteStore:
    """The store in one SQLite file (WAL, synchronous=NORMAL: a committed row survives SIGKILL).

    Rows are gathered in memory and written at `commit`, so that the file is locked for that moment only. Raises
    StoreError where the file cannot be used.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else home() / "store.sqlite"
        if self.path.is_dir():
            self.path = self.path / "store.sqlite"
        self.where = str(self.path)
        self._answers: dict[bytes, bytes] = {}
        self._events: dict[tuple[str, int], Event] = {}
        self._held: set[str] = set()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        except OSError as error:
            raise no_place(f"store {self.where}", error) from None
        except sqlite3.Error as error:
            raise self._error(error) from None
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        """Make the tables in a new file; refuse one of another layout, and a database of something else."""
        try:
            tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            if not tables:
                _patiently(lambda: self._db.execute("PRAGMA journal_mode=WAL"))
                self._db.executescript(_TABLES)
            self._db.execute("PRAGMA synchronous=NORMAL")
            known = not tables or "meta" in tables
            found = self._db.execute("SELECT value FROM meta WHERE name='schema'").fetchone() if known else None
        except sqlite3.Error as error:
            raise self._error(error) from None
        if found is None:
            raise StoreError(f"{self.where} is a database of something else; {_HINTS['SQLITE_NOTADB']}")
        if found[0] != str(SCHEMA):
            raise other_layout(self.where, found[0])

    def _error(self, error: sqlite3.Error) -> StoreError:
        """Return the line for a user: where, what, what to do."""
        name = getattr(error, "sqlite_errorname", "")
        hint = next((text for kind, text in _HINTS.items() if name.startswith(kind)), KEPT)
        return StoreError(f"store {self.where}: {error}; {hint}")

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._error(error) from None
            raise

    def answers(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bodies of those keys that are there."""
        wanted = list(dict.fromkeys(keys))
        found = {key: self._answers[key] for key in wanted if key in self._answers} if self._answers else {}
        for at in range(0, len(wanted), 500):
            some = wanted[at : at + 500]
            marks = ",".join("?" * len(some))
            found.update(self._read(f"SELECT key, body FROM answers WHERE key IN ({marks})", some))
        return found

    def put_answer(self, key: bytes, body: bytes) -> None:
        """Keep an answer; a key that is there stays as it is."""
        self._answers.setdefault(key, body)

    def events(self, run: str) -> dict[int, Event]:
        """Return all events of a run by position."""
        rows = self._read("SELECT seq, key, state, charged, paid, note FROM events WHERE run=?", (run,))
        found = {row[0]: Event._make((*row[1:5], _note(row[5]))) for row in rows}
        found.update((seq, event) for (owner, seq), event in self._events.items() if owner == run)
        return found

    def put_event(self, run: str, seq: int, event: Event) -> None:
        """Write or replace the event at a position."""
        self._events[run, seq] = event

    def commit(self, run: str = "", elapsed: float = 0.0) -> None:
        """Make everything written so far durable, with the run's seconds so far."""
        if not self._answers and not self._events:
            return
        events = [(*at, *event[:4], _column(event.note)) for at, event in self._events.items()]
        with self._transaction() as db:
            db.executemany(_ANSWER, self._answers.items())
            db.executemany(_EVENT, events)
            if run:
                db.execute("UPDATE runs SET updated=?, elapsed=? WHERE id=?", (time.time(), elapsed, run))
        self._answers.clear()
        self._events.clear()

    @contextmanager
    def alone(self, run: str) -> Iterator[None]:
        """Keep a second process off this run: a file lock beside the store, gone with the process however it ends."""
        if run in self._held:
            raise going_on(run)
        self._held.add(run)
        try:
            if self.where == ":memory:":
                yield
            else:
                name = run if run.isalnum() else hashlib.blake2b(pack_text(run), digest_size=16).hexdigest()
                with locked(Path(f"{self.where}.locks") / name, going_on(run)):
                    yield
        finally:
            self._held.discard(run)

    def create_run(self, id: str, spec: dict[str, Any]) -> RunRow:
        """Return the run's row, made now if it is new."""
        self.commit()
        now = time.time()
        with self._transaction() as db:
            # ASCII: JSON then holds any text, a lone surrogate of a file name included.
            db.execute(
                "INSERT OR IGNORE INTO runs VALUES(?, ?, 'running', ?, ?, 0, NULL)", (id, json.dumps(spec), now, now)
            )
        return run_row(self.where, self._read("SELECT * FROM runs WHERE id=?", (id,))[0])

    def set_status(self, id: str, status: str, result: dict[str, Any] | None = None) -> None:
        """Set a run's status and, at its end, its result document."""
        self.commit()
        body = None if result is None else json.dumps(result)
        with self._transaction() as db:
            db.execute(
                "UPDATE runs SET status=?, updated=?, result=COALESCE(?, result) WHERE id=?",
                (status, time.time(), body, id),
            )

    def run(self, id: str) -> RunRow | None:
        """Return a run by its id or a unique beginning of it."""
        rows = self._read("SELECT * FROM runs WHERE substr(id, 1, length(?1))=?1 AND ?1<>''", (id,))
        exact = [row for row in rows if row[0] == id] or rows
        return run_row(self.where, exact[0]) if len(exact) == 1 else None

    def runs(self) -> list[RunRow]:
        """Return all runs, newest first."""
        return [run_row(self.where, row) for row in self._read("SELECT * FROM runs ORDER BY created DESC, id")]

    def open_test(self, task: str, run: str) -> int:
        """Note that a run opens a task's test split; return how many runs have done so."""
        self.commit()
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO openings VALUES(?, ?, ?)", (task, run, time.time()))
        return int(self._read("SELECT COUNT(*) FROM openings WHERE task=?", (task,))[0][0])

    def delete_run(self, id: str, answers: bool = False) -> Freed:
        """Delete a run and its events, and with `answers` those answers that no other run used."""
        self.commit()
        with self._transaction() as db:
            runs = _delete(db, "runs", "length(spec) + length(COALESCE(result, ''))", "id=?", id)
            of_run = "key IN (SELECT key FROM events WHERE run=?1)"
            of_others = "key IN (SELECT key FROM events WHERE run<>?1)"
            bodies = _delete(db, "answers", _CONTENT, f"{of_run} AND NOT {of_others}", id) if answers else (0, 0)
            notes = "length(key) + length(state) + length(charged) + length(paid) + length(note)"
            events = _delete(db, "events", notes, "run=?", id)
        self._shrink()
        return Freed(runs[0], events[0], bodies[0], runs[1] + bodies[1] + events[1])

    def delete_unused(self) -> Freed:
        """Delete all answers that no run uses."""
        self.commit()
        with self._transaction() as db:
            count, size = _delete(db, "answers", _CONTENT, _UNUSED)
        self._shrink()
        return Freed(answers=count, bytes=size)

    def _shrink(self) -> None:
        """Give space back to the disk, unless someone else is at work: then it is used again later."""
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA busy_timeout=100")
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.execute(f"PRAGMA busy_timeout={PATIENCE * 1000}")

    def size(self) -> Size:
        """Return how large the store is."""
        ((runs, answers),) = self._read("SELECT (SELECT COUNT(*) FROM runs), (SELECT COUNT(*) FROM answers)")
        if self.where == ":memory:":
            ((taken,),) = self._read("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        else:
            files = (Path(self.where + end) for end in ("", "-wal"))
            taken = sum(path.stat().st_size for path in files if path.exists())
        return Size(taken, runs, answers)

    def close(self) -> None:
        """Commit and let go of the file."""
        try:
            self.commit()
        finally:
            self._db.close()


_CONTENT = "length(key) + length(body)"


def _delete(db: sqlite3.Connection, table: str, content: str, which: str, *values: Any) -> tuple[int, int]:
    """Delete rows; return how many, and how many bytes stood in them."""
    (size,) = db.execute(f"SELECT COALESCE(SUM({content}), 0) FROM {table} WHERE {which}", values).fetchone()
    return db.execute(f"DELETE FROM {table} WHERE {which}", values).rowcount, size


def _column(note: str) -> str | bytes:
    """Return a note as SQLite takes it: text with lone surrogates goes in as bytes."""
    try:
        note.encode()
    except UnicodeEncodeError:
        return pack_text(note)
    return note


def _note(column: str | bytes | None) -> str:
    return unpack_text(column) if isinstance(column, bytes) else column or ""


def _patiently(action: Any) -> None:
    """Try again and again: SQLite does not wait by itself when two processes turn a new file to WAL at once."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", "") != "SQLITE_BUSY" or time.monotonic() > end:
                raise
            time.sleep(0.01)
