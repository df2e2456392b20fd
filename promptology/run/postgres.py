"""The store in a PostgreSQL database: for several machines, or where one is kept and backed up anyway."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from promptology.errors import StoreError
from promptology.run.rows import (
    KEPT,
    SCHEMA,
    Event,
    Freed,
    RunRow,
    Size,
    going_on,
    other_layout,
    pack_text,
    run_row,
    unpack_text,
)

# Identifiers compare byte by byte ("C"), and notes are bytes because PostgreSQL's text refuses NUL and surrogates.
_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS promptology;
CREATE TABLE IF NOT EXISTS promptology.meta(name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS promptology.answers(key bytea PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE IF NOT EXISTS promptology.events(
  run text COLLATE "C", seq bigint, key bytea NOT NULL, state text NOT NULL, charged text NOT NULL, paid text NOT NULL,
  note bytea NOT NULL, PRIMARY KEY(run, seq));
CREATE TABLE IF NOT EXISTS promptology.runs(
  id text COLLATE "C" PRIMARY KEY, spec text NOT NULL, status text NOT NULL, created double precision NOT NULL,
  updated double precision NOT NULL, elapsed double precision NOT NULL, result text);
CREATE TABLE IF NOT EXISTS promptology.openings(
  task text COLLATE "C", run text COLLATE "C", at double precision NOT NULL, PRIMARY KEY(task, run));
INSERT INTO promptology.meta VALUES('schema', '{SCHEMA}') ON CONFLICT DO NOTHING;
"""
# One statement is one transaction and one round trip, however many rows it carries.
_COMMIT = """
WITH new_answers AS (
  INSERT INTO promptology.answers SELECT * FROM unnest(%(keys)b::bytea[], %(bodies)b::bytea[]) ON CONFLICT DO NOTHING
), new_events AS (
  INSERT INTO promptology.events SELECT * FROM unnest(
    %(run)b::text[], %(seq)b::bigint[], %(key)b::bytea[], %(state)b::text[], %(charged)b::text[], %(paid)b::text[],
    %(note)b::bytea[])
  ON CONFLICT (run, seq) DO UPDATE SET key = excluded.key, state = excluded.state, charged = excluded.charged,
    paid = excluded.paid, note = excluded.note
)
UPDATE promptology.runs SET updated = %(now)s, elapsed = %(elapsed)s WHERE id = %(owner)s
"""
_RUN = "id, spec, status, created, updated, elapsed, result"
_EVENT = "length(key) + length(state) + length(charged) + length(paid) + length(note)"
_CREATING = 0x70726F6D7074
"""The advisory lock under which tables are made: two first processes at once must not make them twice."""
_DEFAULTS = {"connect_timeout": "10", "tcp_user_timeout": "60000", "application_name": "promptology"}


class PostgresStore:
    """The store in the schema `promptology` of a PostgreSQL database.

    Rows are gathered in memory and written at `commit` by one statement. It needs a connection of its own to the
    server: through a pooler that shares connections between transactions the lock of a run would not hold. Raises
    StoreError where the database cannot be used; no message ever holds the password.
    """

    def __init__(self, url: str) -> None:
        psycopg = _psycopg()
        parts = _parts(url)
        self.where = _label(parts)
        self._secrets = [parts[name] for name in ("password", "sslpassword") if parts.get(name)]
        self._answers: dict[bytes, bytes] = {}
        self._events: dict[tuple[str, int], Event] = {}
        self._held: set[str] = set()
        self._errors = psycopg.Error
        try:
            self._db = psycopg.connect(**{**_DEFAULTS, **parts}, client_encoding="utf8", autocommit=True)
        except psycopg.Error as error:
            raise self._error(error, "check PROMPTOLOGY_STORE and that the server is up") from None
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        """Make the tables in a new database; refuse those of another layout."""
        if self._read("SELECT to_regclass('promptology.meta')") == [(None,)]:
            try:
                with self._db.transaction():
                    self._db.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATING,))
                    self._db.execute(_TABLES)
            except self._errors as error:
                raise self._error(error, "the user needs the right to create a schema once") from None
        ((version,),) = self._read("SELECT value FROM promptology.meta WHERE name = 'schema'") or [("none",)]
        if version != str(SCHEMA):
            raise other_layout(self.where, version)

    def _error(self, error: Exception, hint: str = KEPT) -> StoreError:
        """Return the line for a user: where, what, what to do; never a password."""
        text = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return StoreError(f"store {self.where}: {text}; {hint}")

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return list(self._db.execute(sql, values or None, binary=True).fetchall())
        except self._errors as error:
            raise self._error(error) from None

    def _write(self, sql: str, values: Any) -> int:
        try:
            return int(self._db.execute(sql, values).rowcount)
        except self._errors as error:
            raise self._error(error) from None

    def answers(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the bodies of those keys that are there."""
        wanted = list(dict.fromkeys(keys))
        found = {key: self._answers[key] for key in wanted if key in self._answers} if self._answers else {}
        if wanted:
            found.update(self._read("SELECT key, body FROM promptology.answers WHERE key = ANY(%b)", (wanted,)))
        return found

    def put_answer(self, key: bytes, body: bytes) -> None:
        """Keep an answer; a key that is there stays as it is."""
        self._answers.setdefault(key, body)

    def events(self, run: str) -> dict[int, Event]:
        """Return all events of a run by position."""
        rows = self._read("SELECT seq, key, state, charged, paid, note FROM promptology.events WHERE run = %s", (run,))
        found = {row[0]: Event._make((*row[1:5], unpack_text(row[5]))) for row in rows}
        found.update((seq, event) for (owner, seq), event in self._events.items() if owner == run)
        return found

    def put_event(self, run: str, seq: int, event: Event) -> None:
        """Write or replace the event at a position."""
        self._events[run, seq] = event

    def commit(self, run: str = "", elapsed: float = 0.0) -> None:
        """Make everything written so far durable, with the run's seconds so far."""
        if not self._answers and not self._events:
            return
        # In the order of keys, so that two processes that store the same answers wait for each other, never in a ring.
        keys = sorted(self._answers)
        at, events = list(self._events), list(self._events.values())
        values = {
            "keys": keys,
            "bodies": [self._answers[key] for key in keys],
            "run": [owner for owner, _ in at],
            "seq": [seq for _, seq in at],
            "key": [event.key for event in events],
            "state": [event.state for event in events],
            "charged": [event.charged for event in events],
            "paid": [event.paid for event in events],
            "note": [pack_text(event.note) for event in events],
            "now": time.time(),
            "elapsed": elapsed,
            "owner": run,
        }
        self._write(_COMMIT, values)
        self._answers.clear()
        self._events.clear()

    @contextmanager
    def alone(self, run: str) -> Iterator[None]:
        """Keep every other process off this run, on any machine; the lock goes with the connection."""
        digest = hashlib.blake2b(pack_text(f"promptology\0{run}"), digest_size=8).digest()
        lock = (int.from_bytes(digest, "big", signed=True),)
        # A connection gets its own lock again and again, so this process is asked first.
        if run in self._held or self._read("SELECT pg_try_advisory_lock(%s)", lock) != [(True,)]:
            raise going_on(run)
        self._held.add(run)
        try:
            yield
        finally:
            self._held.discard(run)
            with suppress(self._errors):  # where the connection is gone, so is the lock
                self._db.execute("SELECT pg_advisory_unlock(%s)", lock)

    def create_run(self, id: str, spec: dict[str, Any]) -> RunRow:
        """Return the run's row, made now if it is new."""
        self.commit()
        now = time.time()
        self._write(
            "INSERT INTO promptology.runs VALUES(%s, %s, 'running', %s, %s, 0, NULL) ON CONFLICT DO NOTHING",
            (id, json.dumps(spec), now, now),
        )
        return run_row(self.where, self._read(f"SELECT {_RUN} FROM promptology.runs WHERE id = %s", (id,))[0])

    def set_status(self, id: str, status: str, result: dict[str, Any] | None = None) -> None:
        """Set a run's status and, at its end, its result document."""
        self.commit()
        self._write(
            "UPDATE promptology.runs SET status = %s, updated = %s, result = COALESCE(%s, result) WHERE id = %s",
            (status, time.time(), None if result is None else json.dumps(result), id),
        )

    def run(self, id: str) -> RunRow | None:
        """Return a run by its id or a unique beginning of it."""
        rows = self._read(f"SELECT {_RUN} FROM promptology.runs WHERE starts_with(id, %s)", (id,)) if id else []
        exact = [row for row in rows if row[0] == id] or rows
        return run_row(self.where, exact[0]) if len(exact) == 1 else None

    def runs(self) -> list[RunRow]:
        """Return all runs, newest first."""
        rows = self._read(f"SELECT {_RUN} FROM promptology.runs ORDER BY created DESC, id")
        return [run_row(self.where, row) for row in rows]

    def open_test(self, task: str, run: str) -> int:
        """Note that a run opens a task's test split; return how many runs have done so."""
        self.commit()
        self._write(
            "INSERT INTO promptology.openings VALUES(%s, %s, %s) ON CONFLICT DO NOTHING", (task, run, time.time())
        )
        return int(self._read("SELECT count(*) FROM promptology.openings WHERE task = %s", (task,))[0][0])

    def delete_run(self, id: str, answers: bool = False) -> Freed:
        """Delete a run and its events, and with `answers` those answers that no other run used."""
        self.commit()
        of_run = "EXISTS (SELECT FROM promptology.events e WHERE e.key = answers.key AND e.run = %s)"
        of_others = "EXISTS (SELECT FROM promptology.events e WHERE e.key = answers.key AND e.run <> %s)"
        try:
            with self._db.transaction():
                runs = self._delete("runs", "length(spec) + length(COALESCE(result, ''))", "id = %s", id)
                own = f"{of_run} AND NOT {of_others}"
                bodies = self._delete("answers", _CONTENT, own, id, id) if answers else (0, 0)
                events = self._delete("events", _EVENT, "run = %s", id)
        except self._errors as error:
            raise self._error(error) from None
        return Freed(runs[0], events[0], bodies[0], runs[1] + bodies[1] + events[1])

    def delete_unused(self) -> Freed:
        """Delete all answers that no run uses."""
        self.commit()
        unused = "NOT EXISTS (SELECT FROM promptology.events e WHERE e.key = answers.key)"
        try:
            count, size = self._delete("answers", _CONTENT, unused)
        except self._errors as error:
            raise self._error(error) from None
        return Freed(answers=count, bytes=size)

    def _delete(self, table: str, content: str, which: str, *values: Any) -> tuple[int, int]:
        """Delete rows; return how many, and how many bytes stood in them."""
        sql = f"DELETE FROM promptology.{table} WHERE {which} RETURNING {content} AS size"
        sql = f"WITH gone AS ({sql}) SELECT count(*), COALESCE(sum(size), 0)::bigint FROM gone"
        ((count, size),) = self._db.execute(sql, values or None).fetchall()
        return count, size

    def size(self) -> Size:
        """Return how large the store is."""
        ((taken, runs, answers),) = self._read(
            "SELECT (SELECT COALESCE(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
            " WHERE relnamespace = 'promptology'::regnamespace AND relkind = 'r'),"
            " (SELECT count(*) FROM promptology.runs), (SELECT count(*) FROM promptology.answers)"
        )
        return Size(taken, runs, answers)

    def close(self) -> None:
        """Commit and let go of the connection."""
        try:
            self.commit()
        finally:
            self._db.close()


_CONTENT = "length(key) + length(body)"


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise StoreError("a store in PostgreSQL needs psycopg: pip install 'promptology[postgres]'") from None
    return psycopg


def _parts(url: str) -> dict[str, str]:
    """Return a URL's parts by name.

    A password with an unescaped @, / or # ends up in another part, and so in messages: such a URL is refused unshown.
    """
    conninfo = _psycopg().conninfo
    place = url.partition("://")[2].partition("?")[0]
    authority = place.partition("/")[0]
    try:
        parts = {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
        misread = place.count("@") > authority.count("@") or place.count("@") > 1 or "#" in place
        misread = misread or not re.fullmatch(r"[0-9,]*", parts.get("port", ""))
    except _psycopg().Error:
        misread = True
    if misread:
        raise StoreError(
            "the store's address cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with @ / # ? : in the password as %40 %2F %23 %3F %3A"
        ) from None
    return parts


def _label(parts: dict[str, str]) -> str:
    """Return the address as it may be read, without password and options."""
    user = f"{parts['user']}@" if "user" in parts else ""
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"
