"""Procedures that adapt a prompt to one unlabelled image before its class is read: the registry, and their binding."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from promptology.data.items import digest
from promptology.errors import AccessError, ArtifactError, UsageError
from promptology.models.access import Adapting, Injected, Vectors, verb
from promptology.prompts.learned import Learned
from promptology.prompts.procedures import Procedure
from promptology.run.handles import Handle


class Adapts(Protocol):
    """A procedure: a frozen dataclass whose fields are its options, of plain JSON, checked when it is made."""

    @property
    def idle(self) -> bool:
        """Whether it leaves every prompt as it is."""
        ...

    @property
    def roles(self) -> Sequence[str]:
        """Roles beside the model that it asks."""
        ...

    def passes(self, texts: int) -> int:
        """Return the forward passes of one image beside so many texts; with gradients one counts as three."""
        ...

    def run(
        self, model: Any, helpers: Mapping[str, Any], images: Sequence[Any], texts: Sequence[str], injected: Any
    ) -> Vectors:
        """Return cosines, float32 (images, texts); what is found for an image depends on nothing but it."""
        ...


PROCEDURES: dict[str, type[Any]] = {}
T = TypeVar("T", bound=type)


def procedure(name: str) -> Callable[[T], T]:
    """Register the code of a type of procedures."""

    def register(cls: T) -> T:
        PROCEDURES[name] = cls
        return cls

    return register


def procedure_of(part: Procedure) -> Any:
    """Return the code of a part with its settings; raises ArtifactError for an unknown type or setting."""
    if part.type not in PROCEDURES:
        raise ArtifactError(f"unknown procedure {part.type!r}; this version knows {', '.join(sorted(PROCEDURES))}")
    cls = PROCEDURES[part.type]
    unknown = {*part.options} - {f.name for f in dataclasses.fields(cls)}
    if unknown:
        raise ArtifactError(f"procedure {part.type} has no setting {', '.join(sorted(unknown))}")
    try:
        return cls(**part.options)
    except (TypeError, UsageError) as error:
        raise ArtifactError(f"procedure {part.type}: {error}") from None


def adapting_of(learned: Learned, handles: Mapping[str, Handle]) -> Adapting | None:
    """Return what the procedure of a prompt does for an image, None where there is none or it does nothing."""
    part = learned.part(Procedure)
    if part is None:
        return None
    found: Adapts = procedure_of(part)
    if found.idle:
        return None
    if lacking := [role for role in found.roles if role not in handles]:
        raise AccessError(f"this prompt needs a model in the role {lacking[0]!r} that {verb('varies')}")
    helpers = {role: handles[role].varies() for role in found.roles}

    def run(model: Any, images: Sequence[Any], texts: Sequence[str], injected: Injected | None) -> Vectors:
        return found.run(model, helpers, images, texts, injected)

    identities = {role: handles[role].identity for role in found.roles}
    return Adapting(digest([part.to_json(), identities]), found.passes, run)


def whole(name: str, value: Any, least: int) -> None:
    """Raise UsageError where a setting is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} is {json.dumps(value, default=str)}; a whole number from {least} is due")


def between(name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Raise UsageError where a setting is no number from `low` to `high`."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        upto = f"to {high:g}" if math.isfinite(high) else "on"
        raise UsageError(f"{name} is {json.dumps(value, default=str)}; a number from {low:g} {upto} is due")
