"""A server that is restarted while the command runs."""

from __future__ import annotations

import subprocess
import sys
import time


def test_a_restart_is_waited_for_and_said_once(serve, tmp_path):
    command = [sys.executable, "-m", "promptology", "evaluate", "--task", "tickets", "--split", "validation"]
    with serve("--latency", "0.05") as server:
        port = server.url.split(":")[2].split("/")[0]
        model = ("--model", f"openai:m@{server.url}", "--workers", "4", "--cache", "off", "--json")
        running = subprocess.Popen(
            [*command, *model], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 30
        while server.stats()["requests"] < 8:
            assert time.monotonic() < until
            time.sleep(0.02)
    time.sleep(1.0)  # it is gone now
    with serve("--latency", "0", "--port", port):
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert err.count("note: http://127.0.0.1") == err.count("is gone (") == 1
    assert '"missing": 0' in out
