"""Arrays of learned parts: checked, fixed, told apart by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptology.errors import ArtifactError

Array = NDArray[Any]
Tensors = dict[str, Array]


def fixed(values: Any, what: str) -> Array:
    """Return an array of floats that nobody can change; raises ArtifactError for anything else, NaN and infinities.

    float16 and float32 stay as they are; float64 becomes float32.
    """
    array = np.asarray(values)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype not in (np.float16, np.float32):
        raise ArtifactError(f"{what} holds {array.dtype}; it must hold floats of 16 or 32 bits")
    if 0 in array.shape:
        raise ArtifactError(f"{what} is empty: its shape is {shape_text(array)}")
    if not np.isfinite(array).all():
        raise ArtifactError(f"{what} holds NaN or infinity")
    if array.flags.writeable or not array.flags.c_contiguous:
        array = np.array(array, order="C")
        array.flags.writeable = False
    return array


def fixed_all(arrays: Mapping[str, Any], what: str) -> Tensors:
    """Return a copy of named arrays that nobody can change, checked as `fixed` does."""
    return {str(name): fixed(values, f"{what} {name!r}") for name, values in arrays.items()}


def shape_text(array: Array) -> str:
    """Return a shape as a person reads it: 20 x 384."""
    return " x ".join(map(str, array.shape)) or "a single number"


def fingerprint(arrays: Mapping[str, Array]) -> str:
    """Return a hash of named arrays, 32 hexadecimal digits: equal where names, types, shapes and bytes are."""
    found = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


class Hashed(Protocol):
    """A part with tensors."""

    @property
    def digest(self) -> str:
        """Hash of the tensors."""
        ...


H = TypeVar("H", bound=Hashed)


def unaltered(part: H, doc: Mapping[str, Any]) -> H:
    """Return a part that was read; raises ArtifactError where its tensors are not the ones that were saved."""
    if part.digest != doc.get("digest", part.digest):
        raise ArtifactError("tensors are missing or not the ones that were saved (their hash differs)")
    return part
