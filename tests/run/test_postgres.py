"""PostgreSQL as a store: several processes, a server that goes away, addresses that hold a password."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
import traceback

import pytest

import promptology as pt
from promptology.errors import StoreError, UsageError
from promptology.run.store import Event, SQLiteStore, open_store, using_store

SECRET = "s3cr%t@pa/ss"


def said(where):
    with pytest.raises(StoreError) as caught:
        open_store(where)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    shown = "".join(traceback.format_exception(caught.value))
    assert "psycopg" not in shown, "the driver's own text must not show"
    return text


def python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *arguments], **options)


def test_the_place_comes_from_the_environment(database, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMPTOLOGY_STORE", database)
    with using_store() as store:
        assert store.where.startswith("postgresql://postgres@")
        with using_store(store) as lent:
            assert lent is store
        assert store.runs() == []
    monkeypatch.setenv("PROMPTOLOGY_STORE", str(tmp_path / "mine.sqlite"))
    with using_store() as store:
        assert (tmp_path / "mine.sqlite").is_file() and isinstance(store, SQLiteStore)
    with using_store(tmp_path) as store:
        assert store.where == str(tmp_path / "store.sqlite")
    assert "mysql://" in said("mysql://somewhere/x")


def test_the_python_calls_take_a_place(database, colours):
    def model(prompt):
        return "red" if "rose" in prompt else "blue"

    on_file = pt.fit(colours, model, "manual")
    result = pt.fit(colours, model, "manual", store=database)
    assert (result.run, result.evidence) == (on_file.run, on_file.evidence)
    asked = []
    pt.evaluate(colours, lambda prompt: asked.append(prompt) or "red", store=database)
    again = len(asked)
    pt.evaluate(colours, lambda prompt: asked.append(prompt) or "red", store=database)
    pt.apply(result.learned, model, ["rose number 1"], store=database)
    assert len(asked) == again > 0
    with using_store(database) as store:
        assert [row.id for row in store.runs()] == [result.run]


def test_rows_of_one_commit_are_one_transaction(databases, database):
    with using_store(database) as store:
        for n in range(3000):
            store.put_answer(n.to_bytes(16, "big"), b"x" * 100)
            store.put_event("r", n, Event(n.to_bytes(16, "big"), "done"))
        store.commit()
    rows = "(SELECT xmin FROM promptology.answers UNION ALL SELECT xmin FROM promptology.events) all_rows"
    found = databases.execute(f"SELECT count(*), count(DISTINCT xmin::text) FROM {rows}", database)
    assert found == [(6000, 1)]


def test_many_first_processes_at_once(database):
    code = """
        import random, sys
        from promptology.run.store import Event, using_store
        me = sys.argv[2]
        keys = [n.to_bytes(16, "big") for n in range(300)]
        random.Random(me).shuffle(keys)
        sys.stdin.readline()
        with using_store(sys.argv[1]) as store, store.alone(me):
            store.create_run(me, {})
            for at in range(0, 300, 50):
                for n, key in enumerate(keys[at:at + 50], at):
                    store.put_answer(key, key)
                    store.put_event(me, n, Event(key, "done"))
                store.commit(me, 1.0)
    """
    workers = [python(code, database, f"w{n}", stdin=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(4)]
    for worker in workers:
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    for worker in workers:
        assert worker.communicate(timeout=60)[1] == b""
        assert worker.returncode == 0
    with using_store(database) as store:
        assert store.size()[1:] == (4, 300)
        for n in range(4):
            assert len(store.events(f"w{n}")) == 300


def test_sigkill_keeps_what_was_committed_and_frees_the_run(database):
    code = """
        import sys, time
        from promptology.run.store import open_store
        store = open_store(sys.argv[1])
        with store.alone("r"):
            store.put_answer(b"a" * 16, b"kept")
            store.commit()
            store.put_answer(b"b" * 16, b"not committed")
            print("ready", flush=True)
            time.sleep(60)
    """
    worker = python(code, database, stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"ready\n"
    with using_store(database) as store:
        with pytest.raises(UsageError, match="another process"), store.alone("r"):
            pass
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        assert store.answers([b"a" * 16, b"b" * 16]) == {b"a" * 16: b"kept"}
        end = time.monotonic() + 10
        while True:  # the server sees the closed connection a moment later
            try:
                with store.alone("r"):
                    break
            except UsageError:
                assert time.monotonic() < end
                time.sleep(0.05)


def test_a_server_that_goes_away(databases, database):
    store = open_store(database)
    store.create_run("r", {})
    store.put_answer(b"1", b"committed")
    store.commit()
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'promptology'"
    with pytest.raises(StoreError, match="kept") as caught, store.alone("r"):
        databases.execute(ends)
        store.put_answer(b"2", b"lost")
        store.commit()
    assert len(str(caught.value).splitlines()) == 1
    for use in (store.runs, lambda: store.answers([b"1"]), lambda: store.set_status("r", "done"), store.size):
        with pytest.raises(StoreError):
            use()
    with pytest.raises(StoreError):
        store.close()
    with using_store(database) as again:
        assert again.answers([b"1", b"2"]) == {b"1": b"committed"}


def test_a_password_is_never_shown(databases, database, monkeypatch):
    databases.guard("guarded", SECRET.replace("'", ""))
    name = database.partition("@/")[2].partition("?")[0]
    databases.execute(f"GRANT CREATE ON DATABASE {name} TO guarded")
    with using_store(databases.address(name, "guarded", SECRET)) as store:
        assert store.where == f"postgresql://guarded@{databases.socket}/{name}"
        assert SECRET not in repr(vars(store)["where"]) + repr(store)
    wrong = said(databases.address(name, "guarded", "wr0ng"))
    assert "guarded" in wrong and "PROMPTOLOGY_STORE" in wrong and "wr0ng" not in wrong
    gone = said("postgresql://me:s3cret@127.0.0.1:9/db")
    assert "postgresql://me@127.0.0.1:9/db" in gone and "s3cret" not in gone


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:s3c@ret@127.0.0.1:9/db",
        "postgresql://me:s3c/ret@127.0.0.1:9/db",
        "postgresql://me:77/ret@127.0.0.1:9/db",
        "postgresql://me:s3c#ret@127.0.0.1:9/db",
        "postgresql://me:s3c?ret@127.0.0.1:9/db",
        "postgresql://me:s3c%ret@127.0.0.1:9/db",
        "postgresql://me:s3c:ret@127.0.0.1:port/db",
        "postgresql://me:s3c ret@127.0.0.1:9/db",
        "postgresql://127.0.0.1:9/db?user=me&password=s3cret&connect_timeout=3",
    ],
)
def test_a_password_with_special_characters_is_not_shown_in_pieces(address):
    text = said(address)
    assert not any(piece in text for piece in ("s3c", "ret", "77/")), text


def test_another_layout(databases, database):
    open_store(database).close()
    databases.execute("UPDATE promptology.meta SET value = '99'", database)
    assert "layout 99" in said(database)
    databases.execute("DELETE FROM promptology.meta", database)
    assert "layout none" in said(database)


def test_a_user_who_may_not_create_the_tables(databases, database):
    databases.execute("CREATE ROLE reader LOGIN")
    name = database.partition("@/")[2].partition("?")[0]
    text = said(databases.address(name, "reader"))
    assert "permission denied" in text and "right to create a schema" in text


def test_without_the_extra(tmp_path):
    code = """
        import sys
        sys.modules["psycopg"] = None
        from promptology.cli.app import run
        sys.exit(run(["runs"]))
    """
    worker = python(
        code, env={"PROMPTOLOGY_STORE": "postgresql://x/y", "PYTHONPATH": ":".join(sys.path)}, stderr=subprocess.PIPE
    )
    error = worker.communicate()[1].decode()
    assert worker.returncode == 2
    assert error == "promptology: a store in PostgreSQL needs psycopg: pip install 'promptology[postgres]'\n"
