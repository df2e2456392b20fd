"""Whether fillers fit the sites that they are meant for, asked before the model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from promptology.errors import UsageError
from promptology.injection.filling import Rows
from promptology.injection.sites import Site
from promptology.injection.watching import Prefix

At = Mapping[str, Sequence[tuple[Site, Any]]]
"""Fillings by the place of their site."""
OF_MODULES = ("attention", "mlp", "output", "pooled")


def check_modules(at: At, width: int) -> None:
    """Refuse what is neither a module nor, at layers and last positions, a tensor of the model's width."""
    for place in (*OF_MODULES, "layer", "last_position"):
        for site, filler in at.get(place, ()):
            tensor = isinstance(filler, Tensor) and place not in OF_MODULES
            if not (tensor or isinstance(filler, nn.Module)):
                due = "a module (hidden, spans, batch)"
                due = f"a state of shape ({width},) or a module" if place == "last_position" else due
                raise UsageError(f"site {site} takes {due}, not a {type(filler).__name__}")
            if tensor and place == "last_position" and (filler.dim() not in (1, 2) or filler.shape[-1] != width):
                raise UsageError(
                    f"site {site}: the state is {filler.shape[-1]} wide, the model's are {width}; "
                    "it belongs to a model of another size"
                )


def check_deep(at: At, prompts: Sequence[Rows], width: int) -> None:
    """Refuse deep virtual tokens that have none at input whose place they could take."""
    length = sum(tokens.shape[1] for tokens, _ in prompts)
    for site, filler in at.get("layer", ()):
        if not isinstance(filler, Tensor):
            continue
        if not prompts:
            raise UsageError(f"site {site}: it takes the place of virtual tokens, and there are none at input")
        if filler.dim() not in (2, 3) or tuple(filler.shape[-2:]) != (length, width):
            raise UsageError(
                f"site {site}: virtual tokens of shape {tuple(filler.shape)} cannot take the place of "
                f"{length} x {width}"
            )


def check_prefixes(prefixes: Sequence[Prefix], depth: int, heads: tuple[int, int]) -> None:
    """Refuse prefixes that were encoded by another model."""
    for prefix in prefixes:
        key = prefix.layers[0][0]
        found = len(prefix.layers), int(key.shape[1]), int(key.shape[3])
        if found != (depth, *heads):
            raise UsageError(
                f"a prefix of {found[0]} layers with {found[1]} heads of {found[2]} does not fit the model's {depth} "
                f"layers with {heads[0]} heads of {heads[1]}; encode it with this model"
            )
