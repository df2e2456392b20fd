"""Real data for benchmarks, which lie outside the project: where they are, and that a benchmark is skipped without."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.environments import ROOT


class Skipped(Exception):
    """Why a benchmark cannot be run here, in one line; nothing is recorded, and the exit code is 0."""


def real_data(part: str) -> Path:
    """Return a folder of the real data, such as `image/fashion_mnist`; raises Skipped where it is absent.

    The data lie in PROMPTORIUM_DATA or, where that is not set, beside the project in shared/data.
    """
    folder = Path(os.environ.get("PROMPTORIUM_DATA") or ROOT.parent / "shared" / "data") / part
    if not folder.is_dir():
        raise Skipped(f"there is no {folder}; set PROMPTORIUM_DATA to the folder of the real data")
    return folder
