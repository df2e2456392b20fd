"""The real command on a real PostgreSQL server: a killed run, a server that goes away, no password anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from counting import Gate, counting
from postgres_server import starting

from promptology.models.simulated import SimulatedChat

CHAT = SimulatedChat("features")
WORKERS = 4


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "messages.csv"
    path.write_text("text\n" + "\n".join(f'"{m}"' for m in CHAT.world.inputs) + "\n", encoding="utf-8")
    return path


def command(path, url):
    options = ["--task", path, "--label", "", "--model", f"openai:m@{url}", "--method", "spo", "--budget", "150calls"]
    return ["fit", *map(str, options), "--prompt", "Write a reply.", "--workers", str(WORKERS), "--json"]


def started(path, url, **env):
    arguments = [sys.executable, "-m", "promptology", *command(path, url)]
    return subprocess.Popen(arguments, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def result(text):
    arm = json.loads(text)["arms"][0]
    return arm["prompt"], arm["score"], arm["learning"]["calls"]


@pytest.fixture(scope="module")
def whole(messages, tmp_path_factory):
    """The result of an undisturbed run on SQLite, and how often it asked."""
    with counting(chat=CHAT) as server:
        process = started(messages, server.url, PROMPTOLOGY_HOME=str(tmp_path_factory.mktemp("home")))
        out, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
        return result(out), sum(server.answered.values())


def test_killed_and_resumed_equals_the_run_on_sqlite(cli, tmp_path, messages, whole, databases, database):
    databases.guard("runner", "p4ssw0rd")
    name = database.partition("@/")[2].partition("?")[0]
    databases.execute(f"GRANT CREATE ON DATABASE {name} TO runner")
    env = {
        "PROMPTOLOGY_STORE": databases.address(name, "runner", "p4ssw0rd"),
        "PROMPTOLOGY_HOME": str(tmp_path / "other"),
    }
    expected, calls = whole
    gate = Gate(CHAT, calls // 2)
    with counting(chat=gate) as server:
        process = started(messages, server.url, **env)
        gate.wait()
        listed = json.loads(cli("runs", "--json", env=env).stdout)
        assert [run["status"] for run in listed["runs"]] == ["running"]
        refused = cli(*command(messages, server.url), env=env)
        assert (refused.returncode, refused.stdout) == (2, "") and "another process" in refused.stderr
        # The commands above took their time: what came before the wait is durable by now.
        process.send_signal(signal.SIGKILL)
        process.communicate()
        gate.free.set()
        listed = json.loads(cli("runs", "--json", env=env).stdout)
        assert [run["status"] for run in listed["runs"]] == ["interrupted"]
        assert listed["store"]["where"] == f"postgresql://runner@{databases.socket}/{name}"
        done = cli("resume", listed["runs"][0]["run"][:8], "--json", env=env)
        assert done.returncode == 0, done.stderr
        assert result(done.stdout) == expected
        assert server.by_model["m"] <= calls + 2 * WORKERS
        assert sum(server.answered.values()) <= calls + 2 * WORKERS
    text = cli("runs", env=env)
    for shown in (text.stdout, text.stderr, done.stdout, done.stderr, json.dumps(listed)):
        assert "p4ssw0rd" not in shown
    for path in (tmp_path / "other").rglob("*"):
        assert not path.is_file() or b"p4ssw0rd" not in path.read_bytes(), path
    rows = databases.execute("SELECT spec, result FROM promptology.runs", database)
    assert "p4ssw0rd" not in str(rows)
    assert not (tmp_path / "other" / "store.sqlite").exists()


def test_a_server_that_stops_in_the_middle(cli, messages, whole):
    gate = Gate(CHAT, 60)
    with starting() as databases, counting(chat=gate) as server:
        env = {"PROMPTOLOGY_STORE": databases.new()}
        process = started(messages, server.url, **env)
        gate.wait()
        databases.crash()
        gate.free.set()
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (2, b""), error
        lines = [line for line in error.decode().splitlines() if line.startswith("promptology:")]
        assert len(lines) == 1 and "kept" in lines[0] and b"Traceback" not in error, error
        refused = cli("runs", env=env)
        assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
        assert "PROMPTOLOGY_STORE" in refused.stderr
        databases.server.start()
        ((durable,),) = databases.execute("SELECT count(*) FROM promptology.answers", env["PROMPTOLOGY_STORE"])
        lost = max(0, sum(server.answered.values()) - durable)
        assert durable > 30
        done = cli(*command(messages, server.url), env=env)
        assert done.returncode == 0, done.stderr
        # Lost are what came in since the last commit and what was in flight; nothing that was committed is.
        assert sum(server.answered.values()) <= whole[1] + lost + 2 * WORKERS
        assert result(done.stdout) == whole[0]
