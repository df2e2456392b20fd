"""The command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; user errors are one line on standard error and exit code 2."""
    from promptology.cli.app import run

    sys.exit(run(sys.argv[1:]))
