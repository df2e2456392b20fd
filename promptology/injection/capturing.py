"""Recording what passes a site: hidden states, and attention maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from promptology.errors import UsageError
from promptology.injection.arch import find, sites_of
from promptology.injection.attaching import watching
from promptology.injection.sites import Site


@contextmanager
def capture(model: Any, sites: Sequence[str], maps: bool = False) -> Iterator[dict[str, Tensor]]:
    """Record the hidden states at sites of the last forward pass inside the block, by the site's name.

    `layer[i]`: what enters block i; `attention[i]`, `mlp[i]`, `pooled`: what the part returns; `output`: what leaves
    the stack; `last_position[i]`: what leaves block i. `maps`: for `attention[i]` record the attention map, shape
    (rows, heads, queries, keys), float32, columns of what stands before the text first. Tensors keep their graph.
    """
    offered = sites_of(model)
    found: dict[str, Tensor] = {}
    with ExitStack() as undo:
        for name in sites:
            site = offered.resolve(name)
            stack = offered.stacks.get(site.stack)
            if stack is None or site.place in ("input", "key_value", "cross_key_value"):
                raise UsageError(f"nothing can be recorded at site {name!r}")
            module = find(model.base_model, stack.path)
            if maps and site.place == "attention":
                watch = undo.enter_context(watching(model, offered, site.stack))
                watch.maps = {}
                undo.callback(setattr, watch, "maps", None)
                part = find(find(module, stack.layers)[site.layer], stack.block.core)
                undo.callback(part.register_forward_hook(_map(found, name, watch, site.layer)).remove)
            else:
                _listen(module, stack, site, name, found, undo)
        yield found


def _map(found: dict[str, Tensor], name: str, watch: Any, layer: int) -> Any:
    def hook(*_: Any) -> None:
        if watch.maps is not None and layer in watch.maps:
            found[name] = watch.maps[layer]

    return hook


def _listen(module: Any, stack: Any, site: Site, name: str, found: dict[str, Tensor], undo: ExitStack) -> None:
    block: Any = find(module, stack.layers)[site.layer] if site.layer >= 0 else None
    if site.place == "layer":

        def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[name] = args[0] if args else kwargs["hidden_states"]

        undo.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
        return
    parts = {"attention": stack.block.attention, "mlp": stack.block.mlp, "last_position": ""}
    part = find(block, parts[site.place]) if block is not None else module
    part = find(module, stack.pooled) if site.place == "pooled" else part

    def leave(_: Any, args: Any, out: Any) -> None:
        tensor = out if isinstance(out, Tensor) else out[0]
        found[name] = tensor

    undo.callback(part.register_forward_hook(leave).remove)
