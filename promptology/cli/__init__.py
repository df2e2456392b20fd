"""The command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
PATIENCE = 3
"""Ctrl-C so often ends the process without letting it tidy up; what was answered is durable all the same."""


def main() -> None:
    """Run the command line; user errors are one line on standard error and exit code 2."""
    _interrupt_once()
    from promptology.cli.app import run

    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Python ends with the default handler, which would change the code
    sys.exit(code)


def _interrupt_once() -> None:
    """Let the first Ctrl-C stop the command and the second one not disturb it while it closes what is open."""
    pressed = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == 1:
            raise KeyboardInterrupt
        if pressed >= PATIENCE:
            os._exit(INTERRUPTED)

    # A process that was started with interrupts ignored (nohup, a job in the background) goes on ignoring them.
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
