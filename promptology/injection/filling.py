"""Fillers in the shapes that the rest works with: rows of virtual tokens, and prefixes of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from promptology.errors import UsageError
from promptology.injection.sites import Site
from promptology.injection.watching import Prefix

Rows = tuple[Tensor, Tensor | None]
"""Virtual tokens, shape (rows, l, d), padded on the right, and which of them are there, shape (rows, l); None: all."""


def rows_of(filler: Any, width: int, name: str) -> Rows:
    """Return virtual tokens as rows: of a tensor (l, d) or (rows, l, d), or a list of tensors (l_r, d), one per row."""
    tensors = list(filler) if isinstance(filler, list | tuple) else [filler]
    for one in tensors:
        if not isinstance(one, Tensor) or one.dim() not in (2, 3) or not one.is_floating_point():
            raise UsageError(f"site {name} takes virtual tokens of shape (length, {width}), or a module")
        if one.shape[-1] != width:
            raise UsageError(
                f"site {name}: the prompt is {one.shape[-1]} wide, the model's embeddings are {width}; "
                "it belongs to a model of another size"
            )
    if not any(one.shape[-2] for one in tensors):
        raise UsageError(f"site {name}: a prompt has no virtual token at all")
    if not isinstance(filler, list | tuple):
        return (filler if filler.dim() == 3 else filler[None]), None
    if any(one.dim() == 3 for one in tensors):
        raise UsageError(f"site {name}: in a list of prompts each has the shape (length, {width})")
    length = max(len(one) for one in tensors)
    mask = torch.zeros((len(tensors), length), dtype=torch.bool, device=tensors[0].device)
    for row, one in zip(mask, tensors, strict=True):
        row[: len(one)] = True
    rows = [torch.nn.functional.pad(one, (0, 0, 0, length - len(one))) for one in tensors]
    return torch.stack(rows), None if bool(mask.all()) else mask


def padded(prompts: Sequence[Rows], left: bool) -> Rows:
    """Return several prompts as one, the first in front, padded on the right or on the left."""
    rows = max(tokens.shape[0] for tokens, _ in prompts)
    tokens = torch.cat([t.expand(rows, -1, -1) for t, _ in prompts], dim=1)
    if all(mask is None for _, mask in prompts):
        return tokens, None
    masks = [torch.ones(t.shape[:2], dtype=torch.bool, device=t.device) if m is None else m for t, m in prompts]
    mask = torch.cat([m.expand(rows, -1) for m in masks], dim=1)
    # A stable sort by presence moves padding to one side and keeps the order of tokens.
    order = torch.argsort(mask.int(), dim=1, descending=not left, stable=True)
    return tokens.gather(1, order[:, :, None].expand_as(tokens)), mask.gather(1, order)


def key_values(fillings: Sequence[tuple[Site, Any]], depth: int, heads: tuple[int, int], stack: str) -> list[Prefix]:
    """Return the prefix of keys and values that fillings at key_value[i] make; empty where there are none.

    Raises UsageError where layers are missing or shapes differ from the model's.
    """
    if not fillings:
        return []
    by_layer: dict[int, list[Any]] = {}
    for site, filler in fillings:
        by_layer.setdefault(site.layer, []).append(filler)
    place = fillings[0][0].place
    if len(by_layer) < depth:
        lacking = next(i for i in range(depth) if i not in by_layer)
        raise UsageError(
            f"keys and values for {len(by_layer)} of {depth} layers were learned, {place}[{lacking}] is missing; "
            "they belong to a model of another size"
        )
    layers, mask = [], None
    for i in range(depth):
        rows, mask = _rows(by_layer[i], heads, f"{place}[{i}]")
        layers.append((rows[:, 0].transpose(1, 2), rows[:, 1].transpose(1, 2)))
        if rows.shape[2] != layers[0][0].shape[2]:
            raise UsageError(
                f"keys and values have {layers[0][0].shape[2]} positions in layer 0 and {rows.shape[2]} in layer {i}; "
                "one number is due"
            )
    return [Prefix(layers, mask, stack)]


def _rows(fillers: Sequence[Any], heads: tuple[int, int], name: str) -> tuple[Tensor, Tensor | None]:
    """Return keys and values of one layer, shape (rows, 2, l, heads, d_head)."""
    many = [list(f) if isinstance(f, list | tuple) else [f] for f in fillers]
    for one in (tensor for some in many for tensor in some):
        if not isinstance(one, Tensor) or one.dim() not in (4, 5) or one.shape[-4] != 2:
            raise UsageError(f"site {name} takes keys and values of shape (2, length, {heads[0]}, {heads[1]})")
        if tuple(one.shape[-2:]) != heads:
            raise UsageError(
                f"site {name}: {one.shape[-2]} heads of {one.shape[-1]} were learned, the model has {heads[0]} of "
                f"{heads[1]}; they belong to a model of another size"
            )
    if len(many) > 1:
        raise UsageError(f"site {name} is filled twice; join the two along their length")
    tensors = many[0]
    if not any(one.shape[-3] for one in tensors):
        raise UsageError(f"site {name}: there is no position at all in its keys and values")
    if not isinstance(fillers[0], list | tuple):
        return (tensors[0] if tensors[0].dim() == 5 else tensors[0][None]), None
    length = max(one.shape[1] for one in tensors)
    lengths = torch.tensor([one.shape[1] for one in tensors], device=tensors[0].device)
    padded = [torch.nn.functional.pad(one, (0, 0, 0, 0, 0, length - one.shape[1])) for one in tensors]
    mask = torch.arange(length, device=lengths.device)[None] < lengths[:, None]
    return torch.stack(padded), None if bool(mask.all()) else mask
