"""The process that a contract starts, kills and starts again: `python -m promptology.testing.child JOB FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from promptology.testing.running import do

if __name__ == "__main__":
    job, folder = sys.argv[1], Path(sys.argv[2])
    answer = json.dumps(do(job, folder), default=str)
    (folder / "answer.json").write_text(answer, encoding="utf-8")
