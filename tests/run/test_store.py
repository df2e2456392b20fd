from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap

import pytest

from promptology.errors import StoreError
from promptology.run.store import Event, SQLiteStore, home


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore(tmp_path / "s.sqlite")
    yield store
    store.close()


def test_answers_and_events_round_trip(store):
    keys = [bytes([n]) * 16 for n in range(200)] * 6
    for n, key in enumerate(keys[:200]):
        store.put_answer(key, str(n).encode())
    store.put_answer(keys[0], b"never replaced")
    store.put_event("r", 3, Event(b"k", "done", "[1]", "[0]", "note"))
    store.commit()
    assert store.answers([*keys, b"absent"])[keys[0]] == b"0"
    assert len(store.answers(keys)) == 200
    assert store.events("r") == {3: Event(b"k", "done", "[1]", "[0]", "note")}
    assert store.events("other") == {}


def test_runs_by_beginning(store):
    store.create_run("abc1", {"x": 1})
    store.create_run("abd2", {})
    assert store.create_run("abc1", {"x": 2}).spec == {"x": 1}
    assert store.run("abc").id == "abc1"
    assert store.run("ab") is None
    assert store.run("%") is None
    store.set_status("abc1", "done", {"ok": True})
    assert store.run("abc1").result == {"ok": True}
    assert {r.id for r in store.runs()} == {"abc1", "abd2"}


def test_openings_count_runs_not_repeats(store):
    assert [store.open_test("t", r) for r in ("a", "b", "a", "c")] == [1, 2, 2, 3]
    assert store.open_test("other", "a") == 1


def test_committed_rows_survive_sigkill(tmp_path):
    code = """
        import os, signal, sys
        from promptology.run.store import SQLiteStore
        s = SQLiteStore(sys.argv[1])
        s.put_answer(b"a" * 16, b"kept")
        s.commit()
        s.put_answer(b"b" * 16, b"not committed")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "s.sqlite"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], check=False)
    assert done.returncode == -9
    store = SQLiteStore(path)
    assert store.answers([b"a" * 16, b"b" * 16]) == {b"a" * 16: b"kept"}
    store.close()


def test_a_store_of_another_layout_or_no_store_at_all(tmp_path):
    path = tmp_path / "s.sqlite"
    SQLiteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value='99'")
    with pytest.raises(StoreError, match="layout 99"):
        SQLiteStore(path)
    garbage = tmp_path / "g.sqlite"
    garbage.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="PROMPTOLOGY_HOME"):
        SQLiteStore(garbage)


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("PROMPTOLOGY_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "x"))
    assert home() == tmp_path / "x" / "promptology"
