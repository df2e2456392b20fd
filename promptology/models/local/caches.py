"""Caches of keys and values over the versions of transformers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from promptology.injection.watching import Layers


def takes(module: Any, name: str) -> bool:
    """Whether a module's forward has a parameter."""
    return name in _parameters(type(module).forward)


@functools.lru_cache(maxsize=256)
def _parameters(forward: Callable[..., Any]) -> Mapping[str, Any]:
    return inspect.signature(forward).parameters


def cache_name(module: Any) -> str:
    """Return what a stack calls its cache."""
    return "cache" if takes(module, "cache") else "past_key_values"


def cache_of(out: Any) -> Any:
    """Return the cache that a stack gives back."""
    found = getattr(out, "cache", None)
    return getattr(out, "past_key_values", None) if found is None else found


def layers_of(cache: Any) -> Layers:
    """Return keys and values by layer, each of shape (rows, heads, n, d_head)."""
    return [(layer.keys, layer.values) for layer in cache.layers]
