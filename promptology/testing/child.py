"""The process that a contract starts, kills and starts again: `python -m promptology.testing.child JOB FOLDER`.

With `nest` alone it waits for jobs and does each in a fork of itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from promptology.testing.nest import serve
from promptology.testing.running import do


def work(job: str, folder: Path) -> None:
    """Do a job and write down what it gave."""
    answer = json.dumps(do(job, folder), default=str)
    (folder / "answer.json").write_text(answer, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["nest"]:
        serve(work)
    else:
        work(sys.argv[1], Path(sys.argv[2]))
