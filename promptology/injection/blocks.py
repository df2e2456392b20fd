"""The blocks of a tower, run one by one: what stands before is seen without being run, rows that count go on alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from promptology.injection.arch import find
from promptology.injection.arch.table import Stack

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of a layer, each (rows, heads, tokens, width of a head)."""


class Layer(NamedTuple):
    """The modules of one block that is normalised before attention and before the network behind it."""

    norm: Any
    query: Any
    key: Any
    value: Any
    out: Any
    second_norm: Any
    mlp: Any
    heads: int


def layers_of(base: Any, stack: Stack) -> list[Layer]:
    """Return the blocks of a stack by its table."""
    module = find(base, stack.path)
    block, heads = stack.block, int(module.config.num_attention_heads)
    paths = (block.norms[0], block.query, block.key, block.value, block.out, block.norms[1], block.mlp)
    return [Layer._make([*(find(one, path) for path in paths), heads]) for one in find(module, stack.layers)]


def keys_values(layer: Layer, hidden: Tensor) -> KeysValues:
    """Return the keys and values that a block computes of states (rows, n, d)."""
    normed = layer.norm(hidden)
    return _split(layer.key(normed), layer.heads), _split(layer.value(normed), layer.heads)


def run(
    layer: Layer, hidden: Tensor, *, before: KeysValues | None = None, mask: Tensor | None = None, at: Any = None
) -> tuple[Tensor, KeysValues]:
    """Return what leaves a block of states (rows, n, d), and the keys and values of these states.

    `before`: keys and values in front of them, with one row for all or one for each. `mask`: what may be seen, bool
    (n or asked, before and n); None: all. `at`: picks of (rows, n, d) the states that go on, (rows, asked, d); None:
    all of them.
    """
    normed = layer.norm(hidden)
    own = key, value = _split(layer.key(normed), layer.heads), _split(layer.value(normed), layer.heads)
    if before is not None:
        key, value = (_joined(shown, tensor) for shown, tensor in zip(before, own, strict=True))
    pick = (lambda states: states) if at is None else at
    query = _split(layer.query(pick(normed)), layer.heads)
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    hidden = pick(hidden) + layer.out(mixed.transpose(1, 2).flatten(2))
    return hidden + layer.mlp(layer.second_norm(hidden)), own


def _split(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(shown: Tensor, own: Tensor) -> Tensor:
    """Put what stands before in front; each of its rows belongs to as many rows of `own` that stand together."""
    import torch

    times = len(own) // len(shown)
    rows = shown.unsqueeze(1).expand(-1, times, -1, -1, -1).flatten(0, 1)
    return torch.cat([rows, own], dim=2)
