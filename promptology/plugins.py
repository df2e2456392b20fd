"""Plug-ins: what other packages add by an entry point, without a change here.

A method is a class decorated with `promptology.method` under the group `promptology.methods`; a kind of model is a
callable `(rest, **options) -> model` under the group `promptology.models`, and `pt.model("NAME:REST")` calls it:

    [project.entry-points."promptology.methods"]
    my-method = "my_package.methods"

    [project.entry-points."promptology.models"]
    mykind = "my_package.models:open"
"""

from __future__ import annotations

import inspect
import warnings
from importlib import metadata
from typing import Any

from promptology.errors import PromptologyError, UsageError

METHODS = "promptology.methods"
MODELS = "promptology.models"


class PluginWarning(UserWarning):
    """A plug-in could not be loaded; everything else works."""


def points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name; of two with one name the first package on the path counts."""
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, point)
    return dict(sorted(found.items()))


def package_of(point: metadata.EntryPoint) -> str:
    """Return the name of the package that an entry point belongs to."""
    return point.dist.name if point.dist else "unknown"


def load_methods() -> None:
    """Import what packages add as methods; one that fails costs a warning that names it, and nothing else."""
    for name, point in points(METHODS).items():
        try:
            point.load()
        except Exception as error:  # whatever a third party's import raises must not take the catalogue down
            warnings.warn(f"method {name!r} is left out: {_fault(point, error)}", PluginWarning, stacklevel=2)


def open_model(name: str, rest: str, options: dict[str, Any]) -> Any:
    """Return the model that a package's kind makes of the text after NAME: and of the options.

    Raises UsageError that names the package where it cannot.
    """
    point = points(MODELS)[name]
    try:
        opener = point.load()
    except Exception as error:  # as above, but the user asked for this one
        raise UsageError(f"model kind {name!r} cannot be used: {_fault(point, error)}") from None
    try:
        inspect.signature(opener).bind(rest, **options)
    except TypeError:
        given = ", ".join(options) or "no options"
        raise UsageError(
            f"model kind {name!r} of package {package_of(point)} does not take {given} with {rest!r}"
        ) from None
    except ValueError:  # a callable without a signature to look at
        pass
    try:
        return opener(rest, **options)
    except PromptologyError:
        raise
    except Exception as error:  # a third party's fault, told in one line
        raise UsageError(f"model {name}:{rest} cannot be opened: {_fault(point, error)}") from None


def _fault(point: metadata.EntryPoint, error: Exception) -> str:
    words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return f"package {package_of(point)} ({point.value}) failed with {words}"
