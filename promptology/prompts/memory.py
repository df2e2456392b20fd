"""Kind `memory`: what was learned case by case, each case with its context, where it came from, and its vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from promptology.errors import ArtifactError
from promptology.prompts.arrays import Tensors, fingerprint, fixed, unaltered
from promptology.prompts.learned import kind

SHOWN = 12
"""Preferences that are listed where a memory is shown as text."""


@dataclass(frozen=True)
class Note:
    """One case: in a context a draft became a final text, and what the person seems to prefer, as one phrase.

    `id`: of the round it comes from; `cost`: word edits from draft to final. An empty preference is nothing to go by.
    """

    id: str
    context: str
    preference: str
    draft: str = ""
    final: str = ""
    cost: int = 0

    @classmethod
    def from_json(cls, doc: Mapping[str, Any]) -> Note:
        """Rebuild a case."""
        texts = {name: str(doc[name]) for name in ("id", "context", "preference", "draft", "final")}
        return cls(**texts, cost=int(doc["cost"]))


@kind("memory")
@dataclass(frozen=True, eq=False)
class Memory:
    """Cases in the order in which they came, and preferences that hold in every context (`pinned`).

    `vectors`: unit vectors of the contexts by the encoder `vectors_of`, float32, shape (cases, dimension); None where
    there is no case. Raises ArtifactError where cases and vectors are not of one number.
    """

    kind: ClassVar[str]
    notes: tuple[Note, ...] = ()
    vectors: NDArray[np.float32] | None = None
    vectors_of: str = ""
    pinned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = 0
        if self.vectors is not None:
            object.__setattr__(self, "vectors", fixed(self.vectors, "memory: vectors"))
            rows = len(self.vectors) if self.vectors.ndim == 2 else -1
        if rows != len(self.notes):
            shape = "none" if self.vectors is None else " x ".join(map(str, self.vectors.shape))
            raise ArtifactError(
                f"memory: {len(self.notes)} cases and vectors of shape {shape}; one row per case is due"
            )

    @cached_property
    def digest(self) -> str:
        """Hash of the vectors."""
        return fingerprint(self.tensors())

    def to_json(self) -> dict[str, Any]:
        """Return cases and pinned preferences."""
        return {
            "notes": [asdict(note) for note in self.notes],
            "pinned": list(self.pinned),
            "vectors_of": self.vectors_of,
            "digest": self.digest,
        }

    def tensors(self) -> Tensors:
        """Return the contexts' vectors."""
        return {} if self.vectors is None else {"vectors": self.vectors}

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Memory:
        """Rebuild the part; raises ArtifactError where its vectors are not those that were saved."""
        notes = tuple(Note.from_json(note) for note in doc["notes"])
        pinned = tuple(str(text) for text in doc.get("pinned", ()))
        return unaltered(cls(notes, tensors.get("vectors"), str(doc.get("vectors_of", "")), pinned), doc)

    def lines(self) -> list[str]:
        """Return what is remembered as a person reads it: each preference once, with the number of its cases."""
        counted: dict[str, int] = {}
        for note in self.notes:
            if note.preference:
                counted[note.preference] = counted.get(note.preference, 0) + 1
        shown = sorted(counted.items(), key=lambda pair: -pair[1])
        lines = [f"[always] {text}" for text in self.pinned]
        lines += [f"[preference, {n} {'case' if n == 1 else 'cases'}] {text}" for text, n in shown[:SHOWN]]
        rest = len(shown) - SHOWN
        return [*lines, f"[and {rest} more preferences]"] if rest > 0 else lines


def unpinned(preference: str, pinned: Sequence[str]) -> str:
    """Return a preference without the parts (parted by semicolons) that hold in every context anyway.

    A prompt names what is pinned before what was learned; learning it back from there would repeat it for ever.
    """
    known = {part for text in pinned for part in _parts(text)}
    some = _parts(preference)
    rest = [part for part in some if part not in known]
    return preference if len(rest) == len(some) else "; ".join(rest)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";")]
