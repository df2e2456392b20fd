"""SIGKILL at random moments, then resume: the same prompt, and nothing answered is asked again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

from counting import counting

from promptology.models.simulated import SimulatedChat

CHAT = SimulatedChat("features")
WORKERS = 4


def command(path, url):
    options = ["--task", path, "--label", "", "--model", f"openai:m@{url}", "--method", "spo", "--budget", "150calls"]
    return ["fit", *map(str, options), "--prompt", "Write a reply.", "--workers", str(WORKERS), "--json"]


def prompt_of(text):
    arm = json.loads(text)["arms"][0]
    return arm["prompt"], arm["score"], arm["learning"]["calls"]


def test_sigkill_then_resume(cli, tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text("text\n" + "\n".join(f'"{m}"' for m in CHAT.world.inputs) + "\n", encoding="utf-8")
    with counting(chat=CHAT, latency=0.02) as server:
        began = time.monotonic()
        whole = cli(*command(path, server.url))
        took = time.monotonic() - began
        assert whole.returncode == 0, whole.stderr
        expected, calls = prompt_of(whole.stdout), server.by_model["m"]
    rng = random.Random(0)
    for trial in range(10):
        home = {"PROMPTOLOGY_HOME": str(tmp_path / f"home{trial}")}
        with counting(chat=CHAT, latency=0.02) as server:
            arguments = [sys.executable, "-m", "promptology", *command(path, server.url)]
            process = subprocess.Popen(
                arguments, env={**os.environ, **home}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(rng.uniform(0.3, 1.0) * took)
            process.send_signal(signal.SIGKILL)
            process.wait()
            listed = json.loads(cli("runs", "--json", env=home).stdout)["runs"]
            if listed:
                done = cli("resume", listed[0]["run"][:8], "--json", env=home)
            else:
                done = cli(*command(path, server.url), env=home)
            assert done.returncode == 0, done.stderr
            resumed = json.loads(done.stdout)["arms"][0]
            # The address is part of the identity, not of the result.
            assert (resumed["prompt"], resumed["learning"]["calls"]) == (expected[0], expected[2])
            assert resumed["score"] == expected[1]
            assert server.by_model["m"] <= calls + WORKERS
            again = sum(n - 1 for n in server.answered.values())
            assert again <= WORKERS


def test_a_finished_run_costs_nothing_to_see_again(cli, tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text("text\n" + "\n".join(CHAT.world.inputs) + "\n", encoding="utf-8")
    with counting(chat=CHAT) as server:
        first = cli(*command(path, server.url))
        calls = server.by_model["m"]
        second = cli(*command(path, server.url))
        assert prompt_of(first.stdout) == prompt_of(second.stdout)
        assert server.by_model["m"] == calls
        changed = path.read_text().replace("kettle", "teapot")
        path.write_text(changed)
        run = json.loads(cli("runs", "--json").stdout)["runs"][0]["run"]
        refused = cli("resume", run)
    assert refused.returncode == 2
    assert "cannot be continued" in refused.stderr
    assert len([line for line in refused.stderr.splitlines() if not line.startswith("note:")]) == 1
