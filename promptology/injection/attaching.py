"""Attaching learned parts to a torch model, and taking them off without a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from promptology.errors import ModelError, UsageError
from promptology.injection.arch import Sites, find, sites_of
from promptology.injection.keeping import attached, epoch
from promptology.injection.modules import Adapter
from promptology.injection.prompting import Wiring
from promptology.injection.replaying import replayable
from promptology.injection.sites import Filling, Site
from promptology.injection.watching import WATCHED, Layers, Prefix, Watch, implementation


@contextmanager
def attach(model: Any, fillings: Sequence[Filling], prefixes: Sequence[Prefix] = ()) -> Iterator[Any]:
    """Attach learned parts to a transformers model: its `forward` and `generate` work with them inside the block.

    Attachments nest (an inner prompt stands nearer to the text) and repeat. Afterwards the model is as it was:
    parameters, buffers, hooks and mode. Gradients flow to fillers that require them, under gradient checkpointing too
    if backward is called inside the block. Without gradients the keys and values of a causal stack's prompt are
    computed once, and anew when a filler, a weight or what is attached changes; changes of modules and weights through
    `.data` are not seen. Under a sliding window what is attached stays in sight of every token.

    Raises UsageError, one line, for a site that the model lacks or a filler that does not fit it.
    """
    sites = sites_of(model)
    plan: dict[str, list[tuple[Site, Any]]] = {}
    for filling in fillings:
        site = sites.resolve(filling.site)
        plan.setdefault(site.stack, []).append((site, filling.filler))
    main = next(reversed(sites.stacks))
    shown: dict[str, list[Prefix]] = {}
    for prefix in prefixes:
        shown.setdefault(prefix.stack or main, []).append(prefix)
    with ExitStack() as undo:
        undo.enter_context(attached(model, [*(f.filler for f in fillings), *(p.layers for p in prefixes)]))
        weights = plan.pop("", [])
        places = _places(model) if any(site.place == "weight" for site, _ in weights) else {}
        for site, filler in weights:
            if site.place == "weight":
                _swap(model, site.name, filler, places, undo)
            else:
                _behind(model, site.name, filler, undo)
        wired: dict[str, Wiring] = {}
        for stack in dict.fromkeys((*plan, *shown)):
            watch = undo.enter_context(watching(model, sites, stack))
            own = plan.get(stack, [])
            wired[stack] = Wiring(model, sites.stacks[stack], watch, own, shown.get(stack, ()))
        for stack, wiring in wired.items():
            wiring.connect(undo)
            if sites.stacks[stack].keeps and "decoder" in sites.stacks:
                wiring.tell_decoder(find(model.base_model, sites.stacks["decoder"].path), undo)
        replayable(model, undo)
        yield model


def encode_prefix(
    model: Any,
    input_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Prefix:
    """Run tokens that stand before others through a causal stack once, and return their keys and values.

    `input_ids`: (rows, l), or `inputs_embeds`: (rows, l, d); `attention_mask`: (rows, l), padding on the right. Under
    attachments the tokens see what these put before them, and the prefix holds the tokens alone. Gradients flow where
    they are enabled. Raises UsageError for a model without one causal stack, whose tokens would see what follows.
    """
    sites = sites_of(model)
    name, stack = next(iter(sites.stacks.items()))
    if not sites.known:
        raise UsageError(f"no prefix can be encoded: no table describes the attention of {model.config.model_type!r}")
    if len(sites.stacks) > 1 or not stack.causal:
        raise UsageError(f"a {sites.kind} model reads its input in both directions, so no prefix of it can be shared")
    given = {"input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask}
    with watching(model, sites, name) as watch:
        module = find(model.base_model, stack.path)
        layers = record(module, watch, **{k: v for k, v in given.items() if v is not None})
    mask = None if attention_mask is None or bool(attention_mask.all()) else attention_mask.bool()
    return Prefix(layers, mask, name)


def record(module: Any, watch: Watch, **inputs: Any) -> Layers:
    """Run a stack and return the keys and values of its own tokens, layer by layer."""
    outer, watch.record = watch.record, {}
    try:
        module(**inputs, use_cache=False)
        found = watch.record
    finally:
        watch.record = outer
    if len(found) < watch.depth:
        raise ModelError(
            f"attention was seen in {len(found)} of {watch.depth} layers: this model computes it past transformers' "
            "interface, or its table names other modules, so nothing can be shown to it"
        )
    return [found[i] for i in range(watch.depth)]


_OPEN: dict[int, tuple[Watch, int]] = {}
_SWAPPED: dict[int, tuple[Any, str, int]] = {}
_LOCK = threading.Lock()


@contextmanager
def watching(model: Any, sites: Sites, stack: str) -> Iterator[Watch]:
    """Watch the attention of a stack for as long as the block lasts; nested blocks share one watch."""
    # By the stack itself: a model and the base model inside it share it.
    key = id(find(model.base_model, sites.stacks[stack].path))
    with _LOCK:
        watch, users = _OPEN.get(key, (None, 0))
        watch = watch or _watch(model, sites, stack)
        configs = list({id(m.config): m.config for m in watch.modules if hasattr(m, "config")}.values())
        names = [_SWAPPED.get(id(c), (c, c._attn_implementation, 0)) for c in configs]
        watched = [implementation(original) for _, original, _ in names]
        _OPEN[key] = watch, users + 1
        for (config, original, count), name in zip(names, watched, strict=True):
            config._attn_implementation_internal = name
            _SWAPPED[id(config)] = config, original, count + 1
        WATCHED.update((id(m), watch) for m in watch.modules)
    try:
        yield watch
    finally:
        with _LOCK:
            _close(key, watch, configs)


def _close(key: int, watch: Watch, configs: Sequence[Any]) -> None:
    for config in configs:
        _, original, count = _SWAPPED.pop(id(config))
        if count > 1:
            _SWAPPED[id(config)] = config, original, count - 1
        else:
            config._attn_implementation_internal = original
    _, users = _OPEN.pop(key)
    if users > 1:
        _OPEN[key] = watch, users - 1
    else:
        for m in watch.modules:
            WATCHED.pop(id(m), None)


def _watch(model: Any, sites: Sites, name: str) -> Watch:
    stack = sites.stacks[name]
    blocks = find(model.base_model, ".".join(p for p in (stack.path, stack.layers) if p)) if stack.layers else ()
    cores = [find(block, stack.block.core) for block in blocks or ()] if stack.block.core else []
    cores = [core for core in cores if core is not None]
    crosses = [find(block, stack.block.cross) for block in blocks or ()] if stack.block.cross else []
    first = cores[0] if cores else None
    bias = _bias_of(first) if stack.positions == "none" and first is not None else None
    return Watch(cores, bias, [c for c in crosses if c is not None])


def _bias_of(first: Any) -> Callable[[int, int, int], Tensor] | None:
    """Return the function for relative positions, which the first block of a T5 stack has for all."""
    compute = getattr(first, "compute_bias", None)
    if compute is None:
        return None
    device = next(first.parameters()).device
    return lambda queries, keys, past: compute(queries, keys, device=device, past_seen_tokens=past)


def _places(model: Any) -> dict[int, list[tuple[Any, str]]]:
    """Return where a model holds each of its parameters: by id, modules with the parameter's name in them."""
    found: dict[int, list[tuple[Any, str]]] = {}
    for m in model.modules():
        for key, parameter in m._parameters.items():
            found.setdefault(id(parameter), []).append((m, key))
    return found


def _swap(
    model: Any, name: str, value: Tensor, places: Mapping[int, Sequence[tuple[Any, str]]], undo: ExitStack
) -> None:
    """Let a tensor stand in the place of a parameter, wherever the model holds that parameter."""
    if not isinstance(value, Tensor):
        raise UsageError(f"site weight:{name} takes a tensor, not a {type(value).__name__}")
    path, _, leaf = name.rpartition(".")
    owner = find(model, path)
    old = owner._parameters.get(leaf) if owner is not None else None
    if old is None:
        raise UsageError(f"site weight:{name}: this model has no such weight")
    if old.shape != value.shape:
        raise UsageError(
            f"site weight:{name}: the weight has shape {tuple(old.shape)}, what was learned {tuple(value.shape)}; "
            "it belongs to a model of another size"
        )
    # Weights are kept in float32 while they are trained, whatever the model computes in.
    placed = value.to(device=old.device, dtype=old.dtype)
    for m, key in places.get(id(old), ()):
        m._parameters[key] = placed
        undo.callback(m._parameters.__setitem__, key, old)
        if value.dtype != old.dtype:
            undo.callback(m.register_forward_pre_hook(_recast(key, value, old.dtype)).remove)


def _recast(key: str, value: Tensor, dtype: torch.dtype) -> Callable[..., None]:
    """Return a hook that casts a tensor anew at every call, as an optimiser may have changed it."""

    def hook(module: Any, args: tuple[Any, ...]) -> None:
        module._parameters[key] = value.to(dtype)

    return hook


def _behind(model: Any, path: str, filler: Any, undo: ExitStack) -> None:
    """Put a module behind a linear layer."""
    layer = find(model, path)
    if layer is None:
        raise UsageError(f"site linear:{path}: this model has no such layer")
    if not (hasattr(layer, "in_features") or type(layer).__name__ == "Conv1D"):
        raise UsageError(f"site linear:{path}: it is a {type(layer).__name__}, not a linear layer")
    if not isinstance(filler, nn.Module):
        raise UsageError(f"site linear:{path} takes a module, not a {type(filler).__name__}")
    _check_lora(layer, path, filler)

    def hook(_: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
        changed: Tensor = filler(args[0], out)
        return changed

    undo.callback(layer.register_forward_hook(hook).remove)


def _check_lora(layer: Any, path: str, filler: Any) -> None:
    A, B = getattr(filler, "A", None), getattr(filler, "B", None)
    weight = getattr(layer, "weight", None)
    if A is None or B is None or weight is None or weight.dim() != 2 or not weight.is_floating_point():
        return
    conv1d = type(layer).__name__ == "Conv1D"  # GPT-2 keeps its weights transposed
    size = tuple(weight.shape) if conv1d else tuple(weight.shape)[::-1]
    if isinstance(filler, Adapter):
        size = (size[1], size[1])
    if (A.shape[1], B.shape[0]) != size:
        raise UsageError(
            f"site linear:{path}: the layer maps {size[0]} to {size[1]}, what was learned {A.shape[1]} to "
            f"{B.shape[0]}; it belongs to a model of another size"
        )


def counts_tokens(model: Any) -> bool:
    """Whether modules are attached along a stack of a model, which may count the tokens of its text."""
    stacks = (id(find(model.base_model, stack.path)) for stack in sites_of(model).stacks.values())
    return any(slot.counts for key in stacks if key in _OPEN for slot in _OPEN[key][0].slots)


def detached(model: Any) -> bool:
    """Whether nothing is attached to a model."""
    return epoch(model) == 0


@contextmanager
def frozen_mode(model: Any) -> Iterator[None]:
    """Keep a model in eval mode for as long as the block lasts; the mode of every module is restored."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
