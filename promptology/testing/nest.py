"""A process that has loaded torch and starts others by forking: a job in a process of its own, without its imports."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

LOADED = (
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.t5.modeling_t5",
    "promptology.models.local.answering",
    "promptology.models.http",
    "promptology.training.inside",
    "promptology.training.reinforcing",
)
"""What a job would import itself; no method among it, so that none is known in a job before it asks for it."""


class Fork:
    """A job under way in a fork of a nest."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        """End it, where it has not ended by itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Nest:
    """A process that does jobs in forks of itself; use as a context manager. Its forks may be killed, it stays."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        # In a group of its own, so that a job that hangs ends with it.
        # Without buffers: a line that was read ahead would not be seen by `select`.
        self._process = subprocess.Popen(
            command, bufsize=0, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def run(self, job: str, folder: Path, seconds: float, watch: Callable[[Any], None] | None = None) -> int | None:
        """Return the exit code of a job, negative for a signal; None where it did not end in time.

        `watch` gets the fork as soon as it runs.
        """
        streams = self._process
        assert streams.stdin is not None and streams.stdout is not None
        streams.stdin.write(f"{job}\t{folder}\n".encode())
        streams.stdin.flush()
        pid = streams.stdout.readline()
        if watch and pid.strip():
            watch(Fork(int(pid)))
        if not select.select([streams.stdout], [], [], seconds)[0]:
            return None
        line = streams.stdout.readline()
        return int(line) if line.strip() else -1

    def __enter__(self) -> Nest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        streams = self._process
        if streams.poll() is None:
            os.killpg(streams.pid, signal.SIGKILL)
        streams.wait()
        for stream in (streams.stdin, streams.stdout):
            if stream:
                stream.close()


def serve(work: Callable[[str, Path], Any]) -> None:
    """Load what jobs need, then do one job per line of standard input, and write its exit code."""
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        job, _, folder = line.rstrip("\n").partition("\t")
        pid = os.fork()
        if pid == 0:
            _do(work, job, Path(folder))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _do(work: Callable[[str, Path], Any], job: str, folder: Path) -> None:
    """Do a job in this process, which ends with it; what it says goes to a file."""
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ["PROMPTOLOGY_HOME"] = str(folder / "home")
    code = 1
    try:
        work(job, folder)
        code = 0
    except BaseException:  # the caller reads it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
