"""Runs that cannot end well: a key that becomes invalid, steps that all fail, Ctrl-C, a server that goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from chatting import Chatting, messages_csv, stable
from rough_server import RoughServer, completion, error, reply

from promptology.methods.registry import catalogue
from promptology.models.simulated import SimulatedChat

CHAT = SimulatedChat("features")
WORKERS = 4
SETTINGS = {
    "spo": ("--label", "", "--set", "rounds=5"),
    "random-search": ("--set", "candidates=5", "--set", "shots=0"),
    "opro": ("--set", "steps=2", "--set", "samples=4", "--set", "items=4", "--set", "patience=8"),
}
SETTINGS = {name: options for name, options in SETTINGS.items() if name in catalogue()}


def task(tmp_path, method):
    if method == "spo":
        return messages_csv(tmp_path / "messages.csv", CHAT)
    return messages_csv(tmp_path / "labelled.csv", CHAT, ("late", "broken"))


def fit(tmp_path, server, method, *more):
    model = ("--model", f"openai:m@{server.url}", "--workers", WORKERS)
    arguments = ("fit", "--task", task(tmp_path, method), "--method", method, *SETTINGS[method], *model)
    return (*arguments, "--prompt", "Write a reply.", "--budget", "400calls,40mtok", *more)


def one_line(done, code=2):
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("promptology: ")]
    assert lines == done.stderr.splitlines()[-1:], done.stderr
    return lines[0]


def only_run(cli):
    (run,) = json.loads(cli("runs", "--json").stdout)["runs"]
    return run


# A key that becomes invalid


class Keyed(Chatting):
    """Takes the key "old" for so many requests, and from then on "new"."""

    def __init__(self, after, **options):
        super().__init__(CHAT, **options)
        self.after, self.taken = after, 0

    async def __call__(self, server, request, doc):
        if request.headers.get("Authorization") == "Bearer old":
            self.taken += 1
            if self.taken > self.after:
                return await error(401, "this key was withdrawn")(server, request, doc)
        return await super().__call__(server, request, doc)


@pytest.mark.parametrize("method", SETTINGS)
def test_a_key_that_becomes_invalid_stops_at_once_and_the_right_one_goes_on(cli, tmp_path, method):
    keyed = Keyed(after=0, latency=0.01)
    arguments = ("--key-env", "KEY", "--json")
    with RoughServer(keyed) as server:
        command = fit(tmp_path, server, method, *arguments)
        whole = cli(*command, env={"KEY": "new", "PROMPTOLOGY_HOME": str(tmp_path / "other")})
        assert whole.returncode == 0, whole.stderr
        total, keyed.after = keyed.requests, 17
        keyed.requests, keyed.taken = 0, 0
        keyed.answered.clear()
        stopped = one_line(cli(*command, env={"KEY": "old"}))
        assert "KEY" in stopped and "401" in stopped
        assert keyed.taken <= keyed.after + WORKERS
        run = only_run(cli)
        assert run["status"] == "failed"
        done = cli("resume", run["run"], "--json", env={"KEY": "new"})
    assert done.returncode == 0, done.stderr
    assert stable(json.loads(done.stdout)) == stable(json.loads(whole.stdout))
    assert keyed.again <= WORKERS - 1  # those in flight when the first refusal came
    assert keyed.requests <= total + WORKERS - 1


# Every step fails


def roles(**handlers):
    """Answer by the name of the model: `opt`, `judge`, else as the simulated model."""
    others = Chatting(CHAT)

    async def handler(server, request, doc):
        return await handlers.get(doc["model"], others)(server, request, doc)

    return handler


SILENT = reply(200, completion("<prompt></prompt>"))
DOWN = error(503, "overloaded")


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize(("optimizer", "words"), [(SILENT, "unusable"), (DOWN, "503")], ids=["empty", "down"])
def test_an_optimizer_without_a_prompt_is_a_failed_run(cli, tmp_path, method, optimizer, words):
    with RoughServer(roles(opt=optimizer)) as server:
        stopped = one_line(cli(*fit(tmp_path, server, method, "--optimizer", f"openai:opt@{server.url}")))
        asked = Counter(json.loads(body)["model"] for body in server.bodies)
    assert words in stopped and "optimizer" in stopped
    assert asked["opt"] >= 3
    run = only_run(cli)
    assert run["status"] == "failed"
    assert run["result"] in stopped and words in run["result"]
    assert "failed" in cli("runs").stdout
    assert not list((tmp_path / "home").rglob("prompt.json"))


def test_an_optimizer_that_repeats_the_start_is_a_failed_run(cli, tmp_path):
    for method in SETTINGS:
        with RoughServer(roles(opt=reply(200, completion("<prompt>Write a reply.</prompt>")))) as server:
            stopped = one_line(cli(*fit(tmp_path, server, method, "--optimizer", f"openai:opt@{server.url}")))
        assert "unusable" in stopped, method


@pytest.mark.parametrize("says", ["Both are fine.", "<analysis>A is", ""])
def test_a_judge_that_never_votes_is_a_failed_run(cli, tmp_path, says):
    with RoughServer(roles(judge=reply(200, completion(says)))) as server:
        stopped = one_line(cli(*fit(tmp_path, server, "spo", "--judge", f"openai:judge@{server.url}")))
    assert "every one of 16 votes" in stopped and "judge" in stopped
    assert only_run(cli)["status"] == "failed"


def test_a_judge_that_votes_in_the_search_only_leaves_the_evidence_unmeasured(cli, tmp_path):
    votes = Counter()

    async def judge(server, request, doc):
        votes[""] += 1
        second = "Hello" in doc["messages"][-1]["content"].split("outputs_b>")[1]
        choice = f"<choice>{'B' if second else 'A'}</choice>" if votes[""] <= 4 else "I can not tell."
        return await reply(200, completion(choice))(server, request, doc)

    better = reply(200, completion("<prompt>Write a reply. Open with a friendly greeting.</prompt>"))
    with RoughServer(roles(judge=judge, opt=better)) as server:
        helpers = ("--judge", f"openai:judge@{server.url}", "--optimizer", f"openai:opt@{server.url}")
        done = cli(*fit(tmp_path, server, "spo", *helpers, "--json"))
    assert done.returncode == 0, done.stderr
    (arm,) = json.loads(done.stdout)["arms"]
    assert arm["changed"]
    assert arm["verdict"] == "not measured: no vote of the judge could be read"


# Ctrl-C


def interrupted(arguments, tmp_path, server, chatting, presses):
    """Start a command, press Ctrl-C in its middle, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "promptology", *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    until = time.monotonic() + 30
    while chatting.answered.total() < 5:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def commands(tmp_path, server):
    from promptology.data.items import Field, Signature
    from promptology.prompts import Learned, Readout, Text, save

    path = task(tmp_path, "random-search")
    save(Learned((Text("Write a reply."), Readout("answer")), Signature((Field("text"),))), tmp_path / "saved")
    model = ("--model", f"openai:m@{server.url}", "--json")
    yield "fit", fit(tmp_path, server, "spo", "--json")
    yield "compare", ("compare", "--task", path, "--method", "manual,random-search", *model)
    yield "evaluate", ("evaluate", "--task", path, "--split", "train", *model)
    yield "apply", ("apply", "saved", "--input", path, *model)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_is_one_line_that_says_how_to_go_on(cli, tmp_path, presses):
    chatting = Chatting(CHAT, latency=0.1)
    with RoughServer(chatting) as server:
        for name, arguments in commands(tmp_path, server):
            chatting.requests, chatting.latency = 0, 0.1
            chatting.answered.clear()
            stopped = one_line(interrupted(arguments, tmp_path, server, chatting, presses), 130)
            assert "interrupted; what was answered is kept" in stopped
            answered = chatting.answered.total()
            chatting.latency = 0
            go_on = arguments
            if name in ("fit", "compare"):
                go_on = ("resume", stopped.partition("promptology resume ")[2].rstrip("`"), "--json")
            else:
                assert "the same command goes on" in stopped
            done = cli(*go_on)
            assert done.returncode == 0, (name, done.stderr)
            assert answered > 0
            assert chatting.again <= 2 * 16, name


# A server that goes away for a while


def test_a_server_that_restarts_leaves_every_item_answered_or_reported_missing(serve, tmp_path):
    command = [sys.executable, "-m", "promptology", "evaluate", "--task", "tickets", "--cache", "off", "--json"]
    with serve("--latency", "0.1") as server:
        port = server.url.split(":")[2].split("/")[0]
        running = subprocess.Popen(
            [*command, "--model", f"openai:m@{server.url}", "--workers", "8", "--missing", "1"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 30
        while (before := server.stats()["requests"]) < 20:
            assert time.monotonic() < until
            time.sleep(0.02)
    time.sleep(5.0)
    with serve("--latency", "0", "--port", port) as server:
        out, err = running.communicate(timeout=60)
        after = server.stats()
    assert running.returncode == 0, err
    assert "Traceback" not in err
    score = json.loads(out)["start"]["score"]
    assert score["n"] + score["missing"] == 448
    assert score["n"] <= before + 16 + after["requests"]
    assert set(after["repeats"]) == {"1"}
