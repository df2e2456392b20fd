"""Packages of an extra: imported where they are used, and named in one line where they are not installed."""

from __future__ import annotations

import importlib
from typing import Any

from promptology.errors import UsageError


def require(module: str, extra: str, what: str) -> Any:
    """Return a module of an extra; raises UsageError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        lacking = (error.name or module).partition(".")[0]
        raise UsageError(f'{what} needs {lacking}: pip install "promptology[{extra}]"') from None
