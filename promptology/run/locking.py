"""One process at a time: a lock file that is free again with the process, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptology.errors import PromptologyError
from promptology.run.rows import no_place


@contextmanager
def locked(path: Path, taken: PromptologyError) -> Iterator[None]:
    """Hold a lock file, and take it away at the end. Raises `taken` where another process holds it."""
    import fcntl

    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        except OSError as error:
            raise no_place(path.parent, error) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise taken from None
            # Whoever held it before may have taken the file away between our opening and our lock.
            if _inode(path) == os.fstat(file.fileno()).st_ino:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _inode(path: Path) -> int | None:
    """Return the number of the file that stands at a path now, None where none does."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
