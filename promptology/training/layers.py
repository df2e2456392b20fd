"""Which layers of a frozen model a method changes: paths of its linear layers, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from promptology.errors import UsageError
from promptology.injection.arch import find, sites_of

PROJECTIONS = ("query", "key", "value", "out")


class Linear(NamedTuple):
    """A linear layer: its path in the model, inputs and outputs, and whether its weight is kept transposed (GPT-2)."""

    path: str
    inputs: int
    outputs: int
    transposed: bool


def linears(body: Any, targets: Sequence[str]) -> list[Linear]:
    """Return the linear layers of all blocks that `targets` name, in the model's order, each once.

    `targets`: query, key, value, out (where one layer makes several of them, it is that one), "all" for every linear
    layer of every block, or ends of paths such as "mlp.c_fc". Raises UsageError where a block has none of a target.
    """
    model, base = body.model, body.model.base_model
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, Linear] = {}
    for stack in body.sites.stacks.values():
        blocks = find(base, ".".join(part for part in (stack.path, stack.layers) if part))
        if blocks is None or not len(blocks):
            raise UsageError(f"{body.name}: the blocks of its stack {stack.name!r} were not found")
        for block in blocks:
            inside = [(name, module) for name, module in block.named_modules() if _is_linear(module)]
            for target in targets:
                chosen = _chosen(stack.block, inside, target)
                if not chosen:
                    there = ", ".join(name for name, _ in inside) or "none"
                    raise UsageError(f"{body.name}: a block has no linear layer {target!r}; there are {there}, or all")
                for module in chosen:
                    found[names[id(module)]] = _sized(names[id(module)], module)
    order = {name: n for n, name in enumerate(names.values())}
    return sorted(found.values(), key=lambda layer: order[layer.path])


def block_outputs(model: Any) -> list[Linear]:
    """Return the layers that end each block's attention and each block's feed-forward part, in the model's order.

    They are where adapters stand (Houlsby et al., arXiv:1902.00751). Raises UsageError for an architecture that no
    table describes.
    """
    sites, names = sites_of(model), {id(module): name for name, module in model.named_modules()}
    found: list[Linear] = []
    for stack in sites.stacks.values() if sites.known else ():
        blocks = find(model.base_model, ".".join(part for part in (stack.path, stack.layers) if part)) or ()
        for block in blocks:
            attention = find(block, stack.block.out) if stack.block.out else None
            part = find(block, stack.block.mlp) if stack.block.mlp else None
            linear = [m for m in part.modules() if _is_linear(m)] if part is not None else []
            if attention is None or not linear:
                break
            found += [_sized(names[id(m)], m) for m in (attention, linear[-1])]
    if not found:
        kind = getattr(model.config, "model_type", "?")
        raise UsageError(f"no table says which layers end the blocks of {kind!r} models, so nothing can stand there")
    return found


def head_weights(model: Any) -> dict[str, Any]:
    """Return the parameters of a language-model head by name, without the rows of the vocabulary (its decoder)."""
    own = {id(p) for p in model.base_model.parameters()}
    size = len(model.get_input_embeddings().weight)
    return {
        name: p
        for name, p in model.named_parameters()
        if id(p) not in own and not (p.dim() > 1 and len(p) == size) and p.is_floating_point()
    }


def _chosen(table: Any, inside: Sequence[tuple[str, Any]], target: str) -> list[Any]:
    if target == "all":
        return [module for _, module in inside]
    ends = [target]
    if target in PROJECTIONS and getattr(table, target):
        own = getattr(table, target)
        # A decoder's attention to its encoder has the same projections under another name.
        ends = [own, *([table.cross + own.removeprefix(table.core)] if table.cross else [])]
    return [module for name, module in inside if any(f".{name}".endswith(f".{end}") for end in ends)]


def _is_linear(module: Any) -> bool:
    return (hasattr(module, "in_features") and hasattr(module, "out_features")) or type(module).__name__ == "Conv1D"


def _sized(path: str, module: Any) -> Linear:
    if type(module).__name__ == "Conv1D":
        return Linear(path, int(module.nx), int(module.nf), True)
    return Linear(path, int(module.in_features), int(module.out_features), False)
