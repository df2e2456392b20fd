from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading

import pytest

from promptology.errors import StoreError, UsageError
from promptology.run.keys import decode
from promptology.run.store import Event, SQLiteStore, home, using_store


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


def test_a_full_store_keeps_what_it_could_not_write(tmp_path):
    with using_store(tmp_path / "s.sqlite") as store:
        store.create_run("r", {})
        store._db.execute("PRAGMA max_page_count=40")
        for n in range(100):
            store.put_answer(n.to_bytes(16, "big"), b"x" * 3000)
            store.put_event("r", n, Event(n.to_bytes(16, "big"), "done"))
            try:
                store.commit("r", 1.0)
            except StoreError as error:
                assert "full" in str(error) and "free some space" in str(error)
                break
        full = store.size().answers
        assert 0 < full == n
        with pytest.raises(StoreError, match="full"):
            store.commit("r", 1.0)
        store._db.execute("PRAGMA max_page_count=4000")
        store.commit("r", 1.0)
        assert store.size().answers == len(store.events("r")) == full + 1


def test_a_waiting_run_locks_nobody_out(tmp_path):
    with using_store(tmp_path / "s.sqlite") as waiting, using_store(tmp_path / "s.sqlite") as other:
        waiting.put_answer(b"a", b"not committed while a slow model is waited for")
        other._db.execute("PRAGMA busy_timeout=0")
        other.put_answer(b"b", b"1")
        other.commit()
        other.create_run("r", {})
        assert other.answers([b"a", b"b"]) == {b"b": b"1"}


def test_many_first_processes_at_once(tmp_path):
    code = """
        import sys
        from promptology.run.store import using_store
        sys.stdin.readline()
        with using_store(sys.argv[1]) as store, store.alone(sys.argv[2]):
            store.create_run(sys.argv[2], {})
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "new" / "s.sqlite"), f"r{n}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for n in range(6)
    ]
    for process in started:
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in started] == [b""] * 6
    with using_store(tmp_path / "new" / "s.sqlite") as store:
        assert len(store.runs()) == 6


def test_sigkill_frees_the_run(tmp_path):
    code = """
        import sys, time
        from promptology.run.store import open_store
        with open_store(sys.argv[1]).alone("r"):
            print("ready", flush=True)
            time.sleep(60)
    """
    path = str(tmp_path / "s.sqlite")
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    with using_store(path) as store:
        with pytest.raises(UsageError, match="another process"), store.alone("r"):
            pass
        process.kill()
        process.wait()
        process.stdout.close()
        with store.alone("r"):
            pass


def test_two_never_hold_the_lock_of_one_run(tmp_path):
    """Lock files come and go; two holders at once must be impossible all the same."""
    inside, most, failures = [], [], []

    def contend():
        with using_store(tmp_path / "s.sqlite") as store:
            for _ in range(150):
                try:
                    with store.alone("r"):
                        inside.append(1)
                        most.append(len(inside))
                        inside.pop()
                except UsageError:
                    pass
                except BaseException as error:
                    failures.append(error)

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert max(most) == 1


def test_a_damaged_row_of_a_run_is_told(tmp_path):
    with using_store(tmp_path / "s.sqlite") as store:
        store.create_run("r", {})
        store._db.execute("UPDATE runs SET spec='{'")
        with pytest.raises(StoreError, match="run 'r' is damaged"):
            store.runs()


def test_a_damaged_answer_is_told():
    for body in (b"\xff", b"{", b"[1]", b"null"):
        with pytest.raises(StoreError, match="answer in the store is damaged"):
            decode(body)
