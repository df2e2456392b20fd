"""Which sites a model has: one small table per `config.model_type`, and generic hooks for models without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from promptology.errors import UsageError
from promptology.injection.arch import bert, clip, gpt2, llama, t5
from promptology.injection.arch.table import Block, Stack, generic
from promptology.injection.sites import Site

TABLES: dict[str, tuple[Stack, ...]] = {**gpt2.TABLES, **llama.TABLES, **bert.TABLES, **t5.TABLES, **clip.TABLES}

__all__ = ["TABLES", "Block", "Sites", "Stack", "find", "sites_of"]


@dataclass(frozen=True)
class Sites:
    """What a model offers: stacks with their layers, the sites that exist, and those that are missing with the reason.

    `kind`: causal, masked, seq2seq, encoder or two-tower. `known`: whether a table describes the architecture.
    """

    kind: str
    stacks: dict[str, Stack]
    layers: dict[str, int]
    available: tuple[str, ...]
    missing: dict[str, str] = field(default_factory=dict)
    known: bool = True

    def resolve(self, text: str) -> Site:
        """Return a site with its stack; raises UsageError, one line, where the model lacks it."""
        site = Site.parse(text)
        if site.name:
            return site
        stack = site.stack or self._default(text)
        if stack not in self.stacks:
            raise UsageError(f"site {text!r}: this model has no stack {stack!r}; it has {', '.join(self.stacks)}")
        why = self.missing.get(f"{stack}.{site.place}")
        if site.place == "cross_key_value" and not self.stacks[stack].block.cross:
            why = "it has no cross-attention"
        if why:
            raise UsageError(f"site {text!r} is missing in this model: {why}")
        count = self.layers[stack]
        if site.place == "context":
            raise UsageError(
                f"site {text!r} cannot be attached to: it is filled by two towers that are asked for features"
            )
        if site.layer >= count:
            raise UsageError(f"site {text!r}: stack {stack!r} has {count} layers, 0 to {count - 1}")
        return site._replace(stack=stack)

    def _default(self, text: str) -> str:
        if len(self.stacks) > 1:
            raise UsageError(f"site {text!r} leaves open which stack is meant; write one of {', '.join(self.stacks)}")
        return next(iter(self.stacks))


def sites_of(model: Any) -> Sites:
    """Return the sites of a transformers model. An unknown architecture offers what generic hooks can give."""
    if not hasattr(model, "config") or not hasattr(model, "base_model"):
        raise UsageError(f"attach takes a transformers model, not a {type(model).__name__}")
    kind = str(getattr(model.config, "model_type", ""))
    base = model.base_model
    table = TABLES.get(kind) or generic(base)
    stacks = {s.name: s for s in table if find(base, s.path) is not None}
    layers = {name: len(_blocks(base, s)) for name, s in stacks.items()}
    missing = {f"{name}.{place}": why for name, s in stacks.items() for place, why in _missing(base, s).items()}
    places = {name: [p for p in _places(s) if f"{name}.{p}" not in missing] for name, s in stacks.items()}
    available = tuple(
        f"{name}.{p}[{i}]" if p in _NUMBERED else f"{name}.{p}"
        for name in stacks
        for p in places[name]
        for i in range(layers[name] if p in _NUMBERED else 1)
    )
    return Sites(_kind(model, table), stacks, layers, available, missing, kind in TABLES)


_NUMBERED = ("layer", "key_value", "cross_key_value", "attention", "mlp", "last_position")


def _places(stack: Stack) -> tuple[str, ...]:
    cross = ("cross_key_value",) if stack.block.cross else ()
    return ("input", "layer", "key_value", *cross, "attention", "mlp", "last_position", "output", "pooled")


def _missing(base: Any, stack: Stack) -> dict[str, str]:
    """Return which places of a stack do not exist, and why."""
    found: dict[str, str] = dict(stack.without)
    blocks = _blocks(base, stack)
    first = blocks[0] if len(blocks) else None
    block = stack.block
    for place, path in (("attention", block.attention), ("mlp", block.mlp), ("key_value", block.core)):
        if first is None or not path or find(first, path) is None:
            found.setdefault(place, "no table says where its blocks have it")
    if find(base, _join(stack.path, stack.embeddings)) is None:
        found.setdefault("input", "its input embeddings were not found")
    if first is None:
        found.update(dict.fromkeys(("layer", "last_position"), "its blocks were not found"))
    if not stack.pooled or find(base, _join(stack.path, stack.pooled)) is None:
        found.setdefault("pooled", "it has no pooler")
    return found


def _blocks(base: Any, stack: Stack) -> Any:
    return (find(base, _join(stack.path, stack.layers)) if stack.layers else None) or ()


def _kind(model: Any, table: tuple[Stack, ...]) -> str:
    if {s.name for s in table} >= {"text", "vision"}:
        return "two-tower"
    if getattr(model.config, "is_encoder_decoder", False):
        return "seq2seq"
    name = type(model).__name__
    if name.endswith("MaskedLM"):
        return "masked"
    return "causal" if table[0].causal or name.endswith(("ForCausalLM", "LMHeadModel")) else "encoder"


def find(module: Any, path: str) -> Any:
    """Return the submodule at a dotted path, the module itself for an empty one, None where it is not there."""
    for name in path.split(".") if path else ():
        if name.isdigit() and hasattr(module, "__len__"):
            module = module[int(name)] if int(name) < len(module) else None
        else:
            module = getattr(module, name, None)
        if module is None:
            return None
    return module


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)
