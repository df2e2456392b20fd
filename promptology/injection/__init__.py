"""Learned parts at named sites of a frozen torch model; torch is imported at the first use of a name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptology.injection.arch import Sites, sites_of
    from promptology.injection.attaching import attach, encode_prefix
    from promptology.injection.capturing import capture
    from promptology.injection.sites import Filling, Site
    from promptology.injection.watching import Prefix

_WHERE = {
    "Filling": "sites",
    "Prefix": "watching",
    "Site": "sites",
    "Sites": "arch",
    "attach": "attaching",
    "capture": "capturing",
    "encode_prefix": "attaching",
    "sites_of": "arch",
}

__all__ = ["Filling", "Prefix", "Site", "Sites", "attach", "capture", "encode_prefix", "sites_of"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'promptology.injection' has no attribute {name!r}")
    return getattr(importlib.import_module(f"promptology.injection.{_WHERE[name]}"), name)
