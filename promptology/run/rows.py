"""What every store holds, and how it says that something went wrong."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any, NamedTuple

from promptology.errors import StoreError, UsageError

SCHEMA = 1
KEPT = "what was answered before is kept, the same command continues"


class Event(NamedTuple):
    """One row of a run: which request stood at this position, how it ended, what it cost.

    `state` is sent (in flight when the process ended), again (failed, to be tried once more), done, failed or stop (the
    budget ended here).
    """

    key: bytes
    state: str
    charged: str = ""
    paid: str = ""
    note: str = ""


class RunRow(NamedTuple):
    """A run as the store knows it; times in seconds since the epoch."""

    id: str
    spec: dict[str, Any]
    status: str
    created: float
    updated: float
    elapsed: float
    result: dict[str, Any] | None


class Size(NamedTuple):
    """How large a store is: bytes that it takes where it lies, and rows."""

    bytes: int
    runs: int
    answers: int


class Freed(NamedTuple):
    """What a deletion took away: rows, and the bytes that stood in them."""

    runs: int = 0
    events: int = 0
    answers: int = 0
    bytes: int = 0

    def plus(self, other: Freed) -> Freed:
        """Return the sum of two deletions."""
        return Freed(*(a + b for a, b in zip(self, other, strict=True)))


def run_row(where: str, row: tuple[Any, ...]) -> RunRow:
    """Return a run from its columns; raises StoreError where they were damaged."""
    id, spec, status, created, updated, elapsed, result = row
    try:
        return RunRow(id, json.loads(spec), status, created, updated, elapsed, json.loads(result) if result else None)
    except (ValueError, TypeError):
        raise StoreError(f"store {where}: the row of run {id!r} is damaged; restore a copy of the store") from None


def no_place(path: Path | str, error: OSError) -> StoreError:
    """Return the error of a folder or file that the system refuses."""
    hints = {
        errno.EMFILE: "allow more open files (ulimit -n)",
        errno.ENFILE: "close other programs: the whole system is out of file handles",
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
    }
    hint = hints.get(error.errno or 0, "set PROMPTOLOGY_HOME to a folder that can be written")
    return StoreError(f"{path}: {error.strerror}; {hint}")


def going_on(run: str) -> UsageError:
    """Return the error of a second process on one run."""
    return UsageError(f"run {run} is going on in another process; wait for it or stop it")


def other_layout(where: str, version: object) -> StoreError:
    """Return the error of a store that another version wrote."""
    return StoreError(
        f"store {where} has layout {version}, this version reads {SCHEMA}; "
        "use the version that wrote it, or another place (PROMPTOLOGY_STORE)"
    )


def pack_text(text: str) -> bytes:
    """Return text as bytes; lone surrogates and NUL, which some databases refuse in text, survive."""
    return text.encode("utf-8", "surrogatepass")


def unpack_text(data: bytes) -> str:
    """Read back what `pack_text` wrote."""
    return data.decode("utf-8", "surrogatepass")
