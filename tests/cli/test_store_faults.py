"""What can befall a store, on the real command: one clear line, nothing answered is lost, the same command goes on."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from counting import Gate, counting
from mounting import mounted, small_disk

WORKERS = 4
ROWS = 500


class Coin:
    """Answers a or b by the length of what is asked, so that a score depends on every answer."""

    def reply(self, messages, seed=None, temperature=0.0):
        return "ab"[sum(map(ord, messages[-1][1])) // 2 % 2]


counting = functools.partial(counting, chat=Coin())


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("text,label\n" + "".join(f"word number {n},{'ab'[n % 2]}\n" for n in range(ROWS)), encoding="utf-8")
    return path


def command(path, url, budget="500calls"):
    options = ["--task", path, "--model", f"openai:m@{url}", "--method", "manual", "--budget", budget]
    return ["fit", *map(str, options), "--workers", str(WORKERS), "--evidence-share", "0.9", "--json"]


def started(path, url, *more, before=None, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "promptology", *command(path, url), *more],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,
        text=True,
    )


def one_line(done, *words):
    """Assert that a command ended with one line of what is wrong."""
    out, error = (done.stdout, done.stderr) if isinstance(done.stdout, str) else done.communicate(timeout=60)
    lines = [line for line in error.splitlines() if not line.startswith(("note:", "run "))]
    assert done.returncode == 2, error
    assert out == "" and len(lines) == 1 and lines[0].startswith("promptology: "), error
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def goes_on(cli, words, server, again, expected, *more, **env):
    """Assert that the same command ends as an undisturbed one, and that no more than this was asked twice."""
    done = cli(*command(words, server.url), *more, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arms"][0]["score"] == expected
    assert sum(n - 1 for n in server.answered.values()) <= again
    return done


def durable(home):
    """Return how many answers are in the store."""
    with contextlib.closing(sqlite3.connect(home / "store.sqlite")) as db:
        return db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


def lost(server, home):
    """Return how many answers came in since the last commit; what was in flight is lost besides."""
    kept = durable(home)
    assert kept > 0
    return sum(server.answered.values()) - kept


def kill(process, gate, home):
    """Kill a run that waits in its middle."""
    gate.wait()
    end = time.monotonic() + 60
    while durable(home) < gate.after:
        assert time.monotonic() < end, "what came before a wait must be durable"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    gate.free.set()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The score of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "words.csv"
    path.write_text("text,label\n" + "".join(f"word number {n},{'ab'[n % 2]}\n" for n in range(ROWS)), encoding="utf-8")
    with counting() as server:
        process = started(path, server.url, PROMPTOLOGY_HOME=str(folder / "home"))
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return json.loads(out)["arms"][0]["score"]


class Failing(Coin):
    """Lets the store fail when it has answered so often; from then on it is slow, so that the run is still going on."""

    after = 100

    def reply(self, messages, seed=None, temperature=0.0):
        self.after -= 1
        if self.after == 0:
            self.fail()
        elif self.after < 0:
            time.sleep(0.05)
        return super().reply(messages, seed, temperature)


class Filling(Failing):
    """Fills a folder's disk to the last byte."""

    def __init__(self, folder):
        self.folder = folder

    def fail(self):
        with contextlib.suppress(OSError), (self.folder / "rest").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))


def test_disk_full(cli, words, tmp_path, expected):
    with (
        small_disk(tmp_path / "small", "4m") as folder,
        counting(chat=Filling(folder)) as server,
    ):
        home = str(folder / "home")
        process = started(words, server.url, PROMPTOLOGY_HOME=home)
        line = one_line(process, "full", "free some space", "kept")
        assert "store.sqlite" in line
        asked = server.by_model["m"]
        assert 0 < asked < ROWS * 0.4, "the disk must fill in the middle of the run"
        one_line(cli(*command(words, server.url), env={"PROMPTOLOGY_HOME": home}), "full")
        subprocess.run(["mount", "-o", "remount,size=50m", str(folder)], check=True)
        goes_on(cli, words, server, lost(server, folder / "home") + WORKERS, expected, PROMPTOLOGY_HOME=home)


class Limiting(Failing):
    """Lets no file of a process grow any more."""

    pid = 0

    def fail(self):
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (1, 1))


def test_a_file_that_may_not_grow(cli, words, home, expected):
    """The same through the limit of a file's size, which needs no rights."""
    limiting = Limiting()
    with counting(chat=limiting) as server:
        process = started(words, server.url)
        limiting.pid = process.pid
        one_line(process, "store.sqlite", "kept")
        assert 0 < server.by_model["m"] < ROWS * 0.4
        goes_on(cli, words, server, lost(server, home) + WORKERS, expected)


def test_a_folder_that_may_not_be_written(cli, words, home, expected):
    gate = Gate(Coin(), 40)
    with counting(chat=gate) as server:
        process = started(words, server.url)
        kill(process, gate, home)
        with read_only(home):
            one_line(cli(*command(words, server.url)), "PROMPTOLOGY_HOME")
            one_line(cli("runs"), "PROMPTOLOGY_HOME")
        goes_on(cli, words, server, WORKERS, expected)


@contextlib.contextmanager
def read_only(folder):
    """Make a folder read-only for whoever runs the tests; for root that takes a mount."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


def test_a_new_home_in_a_folder_that_may_not_be_written(cli, words, tmp_path):
    (tmp_path / "shut").mkdir()
    with counting() as server, read_only(tmp_path / "shut"):
        done = cli(*command(words, server.url), env={"PROMPTOLOGY_HOME": str(tmp_path / "shut" / "home")})
        one_line(done, "PROMPTOLOGY_HOME")
        # A store elsewhere does not help a run whose report and prompt could not be written at its end.
        env = {"PROMPTOLOGY_HOME": str(tmp_path / "shut"), "PROMPTOLOGY_STORE": str(tmp_path / "store.sqlite")}
        one_line(cli(*command(words, server.url), env=env), "PROMPTOLOGY_HOME")
        assert server.by_model["m"] == 0


def test_two_processes_on_one_run(cli, words, expected):
    gate = Gate(Coin(), 20)
    with counting(chat=gate) as server:
        process = started(words, server.url)
        gate.wait()
        one_line(cli(*command(words, server.url)), "another process")
        (run,) = json.loads(cli("runs", "--json").stdout)["runs"]
        assert run["status"] == "running"
        one_line(cli("runs", "--delete", run["run"]), "another process")
        gate.free.set()
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert json.loads(out)["arms"][0]["score"] == expected
        assert set(server.answered.values()) == {1}


def test_two_processes_on_two_runs_of_one_store(cli, words, expected, home):
    with counting(latency=0.005) as server:
        processes = [started(words, server.url) for _ in range(1)]
        other = [*command(words, server.url, "400calls"), "--cache", "off"]
        done = cli(*other)
        assert done.returncode == 0, done.stderr
        out, error = processes[0].communicate(timeout=60)
        assert processes[0].returncode == 0, error
        assert json.loads(out)["arms"][0]["score"] == json.loads(done.stdout)["arms"][0]["score"] == expected
        assert set(server.answered.values()) == {2}


def test_a_store_of_another_version(cli, words, home, expected):
    with counting() as server:
        assert cli(*command(words, server.url)).returncode == 0
        change(home / "store.sqlite", "UPDATE meta SET value='7' WHERE name='schema'")
        one_line(cli(*command(words, server.url)), "layout 7", "PROMPTOLOGY_STORE")
        one_line(cli("runs"), "layout 7")
        change(home / "store.sqlite", "UPDATE meta SET value='1' WHERE name='schema'")
        goes_on(cli, words, server, 0, expected)


def test_a_database_of_something_else(cli, tmp_path):
    change(tmp_path / "other.sqlite", "CREATE TABLE accounts(name)")
    one_line(cli("runs", env={"PROMPTOLOGY_STORE": str(tmp_path / "other.sqlite")}), "something else")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.sqlite")) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("accounts",)]


def change(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


# The wall clock goes back by four months; the steady one starts at nothing, as after a start of the machine.
SHIFTED = """
import time
wall, steady = time.time, time.monotonic
began = steady()
time.time = lambda: wall() - 1e7
time.monotonic = lambda: steady() - began
"""


def test_the_clock_set_back_between_two_processes(cli, words, home, tmp_path, expected):
    (tmp_path / "shift").mkdir()
    (tmp_path / "shift" / "sitecustomize.py").write_text(SHIFTED)
    path = os.pathsep.join([str(tmp_path / "shift"), os.environ.get("PYTHONPATH", "")])
    gate = Gate(Coin(), 60)
    with counting(chat=gate) as server:
        process = started(words, server.url)
        kill(process, gate, home)
        done = goes_on(cli, words, server, WORKERS, expected, PYTHONPATH=path)
        (run,) = json.loads(cli("runs", "--json", env={"PYTHONPATH": path}).stdout)["runs"]
    assert run["status"] == "done"
    assert 0 <= run["seconds"] < 60
    assert json.loads(done.stdout)["arms"][0]["learning"]["seconds"] >= 0


def test_a_store_file_damaged_in_the_middle(cli, words, home):
    with counting() as server:
        assert cli(*command(words, server.url)).returncode == 0
    path = home / "store.sqlite"
    size = path.stat().st_size
    assert size > 8 * 4096
    (copy := home / "copy").write_bytes(path.read_bytes())
    with path.open("r+b") as file:
        for at in range(4096, size, 4096):
            file.seek(at + 100 if at == 4096 else at)
            file.write(b"\xa5" * 2000)
    one_line(cli("runs"), "store.sqlite", "damaged")
    one_line(cli(*command(words, server.url)), "store.sqlite", "damaged")
    shutil.copy(copy, path)
    with counting() as server:
        assert cli("runs").returncode == 0


@pytest.mark.parametrize("handles", [6, 8, 12, 24])
def test_out_of_file_handles(cli, words, expected, handles):
    """For the store, the event loop, a library to be imported, or connections: it depends on how few there are."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))

    with counting() as server:
        process = started(words, server.url, "--workers", "32", "--budget", "9000calls", before=limit)
        assert "many open files" in one_line(process)
        # Connections that could not be made are failures on record, which are asked again where that is wanted.
        more = ["--workers", "32", "--budget", "9000calls", "--retry-failed"]
        goes_on(cli, words, server, 0, expected, *more)
        assert set(server.answered.values()) == {1}
