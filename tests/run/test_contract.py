"""Both stores keep the contract, and the contract catches a store that does not."""

from __future__ import annotations

import contextlib

import pytest
from postgres_server import database, databases  # noqa: F401

from promptology.run.store import Freed, SQLiteStore, open_store
from promptology.testing import check_store


def test_sqlite(tmp_path):
    check_store(lambda: SQLiteStore(tmp_path / "store.sqlite"))


def test_postgres(database):  # noqa: F811
    check_store(lambda: open_store(database))


class LastAnswerWins(SQLiteStore):
    def put_answer(self, key, body):
        self._db.execute("INSERT OR REPLACE INTO answers VALUES(?, ?)", (key, body))


class WritesAtOnce(SQLiteStore):
    def put_event(self, run, seq, event):
        super().put_event(run, seq, event)
        self.commit()


class NeverCommits(SQLiteStore):
    def commit(self, run="", elapsed=0.0):
        pass


class ForgetsSeconds(SQLiteStore):
    def commit(self, run="", elapsed=0.0):
        super().commit()


class FirstEventStays(SQLiteStore):
    def put_event(self, run, seq, event):
        if seq not in self.events(run):
            super().put_event(run, seq, event)


class BlindToItself(SQLiteStore):
    def put_answer(self, key, body):
        self.later = [*getattr(self, "later", []), (key, body)]

    def commit(self, run="", elapsed=0.0):
        for key, body in getattr(self, "later", []):
            super().put_answer(key, body)
        self.later = []
        super().commit(run, elapsed)


class CutsKeys(SQLiteStore):
    def put_answer(self, key, body):
        super().put_answer(key[:16], body)

    def answers(self, keys):
        found = super().answers({key[:16] for key in keys})
        return {key: found[key[:16]] for key in keys if key[:16] in found}


class AnyBeginning(SQLiteStore):
    def run(self, id):
        return next((row for row in self.runs() if row.id.startswith(id)), None)


class LosesResults(SQLiteStore):
    def set_status(self, id, status, result=None):
        super().set_status(id, status, result or {})


class CountsRepeats(SQLiteStore):
    def open_test(self, task, run):
        return super().open_test(task, f"{run}{id(object())}{len(self.runs())}{self._tick()}")

    def _tick(self):
        self.ticks = getattr(self, "ticks", 0) + 1
        return self.ticks


class LocksNothing(SQLiteStore):
    @contextlib.contextmanager
    def alone(self, run):
        yield


class LocksItselfOnly(SQLiteStore):
    @contextlib.contextmanager
    def alone(self, run):
        if run in self._held:
            with super().alone(run):
                yield
        self._held.add(run)
        try:
            yield
        finally:
            self._held.discard(run)


class KeepsTheLock(SQLiteStore):
    @contextlib.contextmanager
    def alone(self, run):
        lock = super().alone(run)
        lock.__enter__()
        self.kept = [*getattr(self, "kept", []), lock]
        yield


class DeletesRowsOnly(SQLiteStore):
    def delete_run(self, id, answers=False):
        with self._transaction() as db:
            db.execute("DELETE FROM runs WHERE id=?", (id,))
        return Freed(1, 3, 0, 100)


class DeletesSharedAnswers(SQLiteStore):
    def delete_run(self, id, answers=False):
        if answers:
            with self._transaction() as db:
                db.execute("DELETE FROM answers WHERE key IN (SELECT key FROM events WHERE run=?)", (id,))
        freed = super().delete_run(id)
        return freed._replace(answers=2 if answers and freed.events else 0)


class SizeOfNothing(SQLiteStore):
    def size(self):
        return super().size()._replace(bytes=1)


BROKEN = [
    (LastAnswerWins, "the first answer must win"),
    (WritesAtOnce, "an answer must be invisible"),
    (NeverCommits, "the first answer must win over later commits|visible"),
    (ForgetsSeconds, "commit must store the seconds"),
    (FirstEventStays, "the last event of a position must win"),
    (BlindToItself, "see its own answers"),
    (CutsKeys, "byte for byte"),
    (AnyBeginning, "unique beginning"),
    (LosesResults, "leave the result"),
    (CountsRepeats, "not repeats"),
    (LocksNothing, "second connection"),
    (LocksItselfOnly, "second connection"),
    (KeepsTheLock, "end with its block"),
    (DeletesRowsOnly, "events of a deleted run"),
    (DeletesSharedAnswers, "and no others"),
    (SizeOfNothing, "bytes taken"),
]


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=[b.__name__ for b, _ in BROKEN])
def test_a_broken_store_is_caught(tmp_path, broken, promise):
    with pytest.raises(AssertionError, match=promise):
        check_store(lambda: broken(tmp_path / "store.sqlite"))
