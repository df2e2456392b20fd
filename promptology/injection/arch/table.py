"""The form of a table, and the one that is guessed for an architecture without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any


@dataclass(frozen=True)
class Block:
    """Paths inside one transformer block. `core` is the module that calls the attention function.

    `query`, `key`, `value`, `out` are the projections; where one layer makes several of them their paths are equal.
    """

    attention: str = ""
    core: str = ""
    cross: str = ""
    mlp: str = ""
    norms: tuple[str, ...] = ()
    query: str = ""
    key: str = ""
    value: str = ""
    out: str = ""


@dataclass(frozen=True)
class Stack:
    """One stack of blocks: paths from the base model, and from the stack.

    `path`: the module whose forward takes the inputs. `positions`: how positions are told to it: "ids" (arange,
    shifted with what stands before), "padded" (they start behind the padding index), or "none" (relative).
    `without`: places that it lacks, with the reason. `keeps`: whether outputs at virtual tokens stay (an encoder whose
    decoder shall see them).
    """

    name: str
    path: str
    embeddings: str
    layers: str
    block: Block
    causal: bool = False
    positions: str = "ids"
    norm: str = ""
    pooled: str = ""
    keeps: bool = False
    without: Mapping[str, str] = field(default_factory=dict)


def generic(base: Any) -> tuple[Stack, ...]:
    """Return what can be said of an unknown architecture: its longest list of blocks, and its input embeddings."""
    import torch

    if getattr(base.config, "is_encoder_decoder", False):
        why = "no table describes this encoder-decoder"
        return (Stack("text", "", "", "", Block(), without=dict.fromkeys(("input", "output", "key_value"), why)),)
    lists = [(name, m) for name, m in base.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m)]
    layers = max(lists, key=lambda pair: len(pair[1]), default=("", ()))[0]
    try:
        table = base.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        table = None
    embeddings = next((name for name, m in base.named_modules() if m is table), "")
    path = layers.rpartition(".")[0]
    # Some heads call the module around the blocks themselves, past the base model.
    around = base.get_submodule(path)
    if not (path and embeddings.startswith(f"{path}.") and "inputs_embeds" in signature(around.forward).parameters):
        path = ""
    cut = len(path) + 1 if path else 0
    without = {"key_value": "no table describes its attention", "layer": "its blocks were not found"}
    if layers:
        del without["layer"]
    if not embeddings:
        without["input"] = "its input embeddings were not found"
    tables = [m for name, m in base.named_modules() if name.endswith("position_embeddings")]
    positions = "padded" if any(getattr(m, "padding_idx", None) is not None for m in tables) else "ids"
    return (Stack("text", path, embeddings[cut:], layers[cut:], Block(), positions=positions, without=without),)
