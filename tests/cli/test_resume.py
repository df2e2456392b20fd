"""SIGKILL at any moment, then resume: the same result, and nothing that was answered is asked again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from chatting import Chatting, messages_csv, stable
from rough_server import RoughServer

from promptology.methods.registry import catalogue
from promptology.models.simulated import SimulatedChat
from promptology.run.store import SQLiteStore

CHAT = SimulatedChat("features")
WORKERS = 4
LATENCY = 0.05
LOST = 2 * WORKERS
"""Answers that a kill may lose: one in flight at each worker, and one at each that came and was not durable yet."""
METHODS = {
    "spo": ("--label", "", "--method", "spo", "--set", "rounds=4", "--budget", "100calls"),
    "opro": ("--method", "opro", "--set", "steps=3", "--set", "samples=3", "--set", "items=4", "--budget", "100calls"),
}
METHODS = {name: options for name, options in METHODS.items() if name in catalogue()}
ROUGH = {"429": 0.15, "500": 0.05}


def command(path, url, method):
    model = ("--model", f"openai:m@{url}", "--workers", str(WORKERS))
    return ["fit", "--task", str(path), *model, *METHODS[method], "--prompt", "Write a reply.", "--json"]


class Killer:
    """Starts the command and kills it at a moment: so long after so many requests (0: after its start)."""

    def __init__(self, arguments, home):
        self.arguments = [sys.executable, "-m", "promptology", *arguments]
        self.env = {**os.environ, "PROMPTOLOGY_HOME": str(home)}

    def __call__(self, chatting, requests, pause):
        reached = threading.Event()
        before = chatting.requests

        def watch(n):
            if n - before >= requests:
                reached.set()

        chatting.watch = watch
        process = subprocess.Popen(self.arguments, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while requests and process.poll() is None and not reached.wait(0.005):
            pass
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        chatting.watch = None


def whole(cli, path, url, chatting, method, home):
    """Run without interruption; return the document and the number of requests."""
    done = cli(*command(path, url, method), env={"PROMPTOLOGY_HOME": str(home)})
    assert done.returncode == 0, done.stderr
    requests = chatting.requests
    chatting.attempts.clear()
    chatting.answered.clear()
    chatting.requests = 0
    return stable(json.loads(done.stdout)), requests


def moments(seed, total, count):
    """Return (requests, pause) over the whole run: before the first request, all through, after the last one."""
    rng = random.Random(seed)
    through = [(1 + int((n + rng.random()) / (count - 3) * total), rng.uniform(0, LATENCY)) for n in range(count - 3)]
    edges = [(0, rng.uniform(0, 0.5)), (1, 0.0), (total, rng.uniform(0.05, 0.3))]
    return edges + [(min(n, total), pause) for n, pause in through]


def resumed(cli, path, url, method, home):
    """Go on as a user does, and return the document."""
    env = {"PROMPTOLOGY_HOME": str(home)}
    database = home / "store.sqlite"
    runs = SQLiteStore(database).runs() if database.exists() else []
    again = ("resume", runs[0].id[:8], "--json") if runs else command(path, url, method)
    done = cli(*again, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def paid(document):
    return sum(entry["paid"]["calls"] for entry in document["arms"][0]["ledger"])


@pytest.mark.parametrize("chunk", range(2))
@pytest.mark.parametrize("method", METHODS)
def test_sigkill_then_resume(cli, tmp_path, method, chunk):
    labels = None if method == "spo" else ("late", "broken")
    path = messages_csv(tmp_path / "messages.csv", CHAT, labels)
    chatting = Chatting(CHAT, latency=LATENCY)
    with RoughServer(chatting) as server:
        expected, total = whole(cli, path, server.url, chatting, method, tmp_path / "whole")
        for trial, (requests, pause) in list(enumerate(moments(method, total, 20)))[chunk::2]:
            home = tmp_path / f"home{trial}"
            Killer(command(path, server.url, method), home)(chatting, requests, pause)
            document = resumed(cli, path, server.url, method, home)
            assert stable(document) == expected, (requests, pause)
            assert chatting.requests <= paid(document) <= chatting.requests + LOST
            assert chatting.again <= LOST
            assert chatting.requests <= total + LOST
            chatting.answered.clear()
            chatting.requests = 0


@pytest.mark.parametrize("method", METHODS)
def test_many_kills_of_one_run_while_retries_are_under_way(cli, tmp_path, method):
    labels = None if method == "spo" else ("late", "broken")
    path = messages_csv(tmp_path / "messages.csv", CHAT, labels)
    chatting = Chatting(CHAT, ROUGH, LATENCY)
    with RoughServer(chatting) as server:
        expected, total = whole(cli, path, server.url, chatting, method, tmp_path / "whole")
        assert chatting.faults["429"] and chatting.faults["500"]
        kill = Killer(command(path, server.url, method), tmp_path / "home")
        rng = random.Random(1)
        kills = 4
        for _ in range(kills):
            kill(chatting, rng.randint(1, total // kills), rng.uniform(0, LATENCY))
        document = resumed(cli, path, server.url, method, tmp_path / "home")
        assert chatting.again <= kills * LOST
        assert chatting.requests <= total + kills * LOST
    for part in ("prompt", "score", "difference", "history", "verdict"):
        assert document["arms"][0][part] == expected["arms"][0][part]


def test_a_finished_run_costs_nothing_to_see_again(cli, tmp_path):
    path = messages_csv(tmp_path / "messages.csv", CHAT)
    chatting = Chatting(CHAT)
    with RoughServer(chatting) as server:
        first = cli(*command(path, server.url, "spo"))
        calls = chatting.requests
        second = cli(*command(path, server.url, "spo"))
        assert stable(json.loads(first.stdout)) == stable(json.loads(second.stdout))
        assert chatting.requests == calls
        path.write_text(path.read_text().replace("kettle", "teapot"))
        run = json.loads(cli("runs", "--json").stdout)["runs"][0]["run"]
        refused = cli("resume", run)
    assert refused.returncode == 2
    assert "cannot be continued" in refused.stderr
    assert len([line for line in refused.stderr.splitlines() if not line.startswith("note:")]) == 1
