"""Where things lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Folder of the store, of run folders and of models built here: PROMPTOLOGY_HOME, else the user's data folder."""
    if given := os.environ.get("PROMPTOLOGY_HOME"):
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "promptology"


def pin_places() -> None:
    """Make the places that the environment names absolute, before the working folder changes."""
    for name in ("PROMPTOLOGY_HOME", "PROMPTOLOGY_STORE"):
        given = os.environ.get(name)
        if given and "://" not in given:
            os.environ[name] = str(Path(given).expanduser().absolute())
