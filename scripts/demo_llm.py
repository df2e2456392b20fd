"""The main job with a chat model over real HTTP: starts the simulated model, improves a prompt with spo, stops it."""

from __future__ import annotations

import subprocess
import sys

PROMPT = "Sort this customer message."


def main() -> int:
    cli = [sys.executable, "-m", "promptology"]
    server = subprocess.Popen(
        [*cli, "simulate", "--port", "0", "--world", "tickets", "--latency", "0.02"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        url = next((word for word in line.split() if word.startswith("http://")), None)
        if url is None:
            print(line, file=sys.stderr)
            return 1
        fit = [
            *cli,
            "fit",
            "--task",
            "tickets",
            "--model",
            f"openai:simulated-tickets@{url}",
            "--method",
            "spo",
            "--set",
            "questions=10",
        ]
        fit += ["--prompt", PROMPT, "--budget", "1500calls", "--out", "demo-out/spo-prompt"]
        return subprocess.run(fit, check=False).returncode
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    sys.exit(main())
