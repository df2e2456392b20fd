"""Functions of the user's own, named "module:function" on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from promptology.errors import UsageError


def opened_views(source: str) -> Any:
    """Return what makes pictures of a picture from "module:function", or from the text of an installed kind."""
    from promptology.models.opening import VIEWS, in_role, is_kind, model

    return model(source) if is_kind(source) else in_role(function(source), VIEWS)


def function(source: str) -> Any:
    """Return the function that "module:function" names, looked for in the current folder first."""
    import importlib

    module_name, _, name = source.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        from promptology.models.opening import FORMS

        raise UsageError(f"unknown model {source!r}: {FORMS}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise UsageError(f"model {source!r}: cannot import {module_name}: {error}") from None
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise UsageError(f"model {source!r}: {module_name} has no function {name!r}")
    return found
