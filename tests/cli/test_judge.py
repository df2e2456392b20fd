"""A judge as metric over real HTTP: never beyond the budget, and after SIGKILL no grade is asked for twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from counting import counting

WORKERS = 4


class Chat:
    """Writes, rewords and grades, by what it is asked."""

    def reply(self, messages, seed=None, temperature=0.0):
        text = messages[-1][1]
        if "You grade one answer" in text:
            answer = text.rpartition("<answer>\n")[2].partition("\n</answer>")[0]
            return f"So. <grade>{5 if 'kind regards' in answer else 2}</grade>"
        if "Say the same thing in another way" in text:
            return "<prompt>Reply politely.</prompt>"
        return f"Re: {text.splitlines()[-1]}" + (", kind regards" if "politely" in text else "")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text("text\n" + "".join(f"message {n}\n" for n in range(40)))
    return path


def command(path, url, budget=120):
    options = ["--task", path, "--label", "", "--model", f"openai:m@{url}", "--judge", f"openai:j@{url}"]
    method = ["--method", "random-search", "--set", "candidates=2", "--set", "shots=0", "--set", "items=8"]
    rest = ["--metric", "judge", "--prompt", "Reply.", "--budget", f"{budget}calls", "--workers", WORKERS, "--json"]
    return ["fit", *map(str, (*options, *method, *rest))]


@pytest.mark.parametrize("budget", [30, 57])
def test_the_server_never_sees_more_than_the_budget(cli, path, budget):
    with counting(chat=Chat()) as server:
        done = cli(*command(path, server.url, budget))
        assert done.returncode == 0, done.stderr
        assert sum(server.by_model.values()) <= budget
        assert server.by_model["j"] > 0
    arm = json.loads(done.stdout)["arms"][0]
    assert arm["learning"]["calls"] + arm["evidence"]["calls"] == sum(server.by_model.values())


def test_sigkill_while_grading_then_resume(cli, path, tmp_path):
    with counting(chat=Chat()) as server:
        whole = cli(*command(path, server.url))
        expected, calls = json.loads(whole.stdout)["arms"][0], sum(server.by_model.values())
    assert expected["metrics"] == {"judge": 1.0}
    assert expected["verdict"] == "better"
    for trial, grades in enumerate((5, 30)):
        home = {"PROMPTOLOGY_HOME": str(tmp_path / f"home{trial}")}
        with counting(chat=Chat(), latency=0.02) as server:
            process = subprocess.Popen(
                [sys.executable, "-m", "promptology", *command(path, server.url)],
                env={**os.environ, **home},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            waited = time.monotonic()
            while server.by_model["j"] < grades and process.poll() is None and time.monotonic() - waited < 60:
                time.sleep(0.005)
            assert process.poll() is None, "the run ended before it could be killed"
            process.send_signal(signal.SIGKILL)
            process.wait()
            run = json.loads(cli("runs", "--json", env=home).stdout)["runs"][0]["run"]
            done = cli("resume", run[:8], "--json", env=home)
            assert done.returncode == 0, done.stderr
            resumed = json.loads(done.stdout)["arms"][0]
            for key in ("prompt", "score", "metrics", "verdict"):
                assert resumed[key] == expected[key]
            # Lost at the kill: what was under way, and answers of the last 20 ms that were not durable yet.
            assert sum(n - 1 for n in server.answered.values()) <= 2 * WORKERS
            assert sum(server.by_model.values()) <= calls + 2 * WORKERS
