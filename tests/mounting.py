"""Small, full and read-only places, for what can befall a disk."""

from __future__ import annotations

import contextlib
import subprocess

import pytest


@contextlib.contextmanager
def mounted(folder, *options):
    """Mount something on a folder, or skip where this machine does not allow it."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(options)} is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_disk(folder, size):
    """Mount an empty disk of this size on a folder."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "none")
