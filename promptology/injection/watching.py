"""The attention function that shows rows what stands before them.

Every architecture of transformers computes attention through one registered function, which gets the keys and values of
a layer after positions were applied and before grouped heads are repeated. In its place, while something is attached,
stands one that puts keys and values of virtual or shared tokens in front and passes on. Caches, masks and beams of the
model stay as they are: they never learn of these tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptology.errors import UsageError
from promptology.injection.modules import Spans

PREFIX = "promptology_"
Layers = list[tuple[Tensor, Tensor]]


class Prefix(NamedTuple):
    """Keys and values of tokens that stand before every row: per layer two tensors of shape (rows, heads, l, d_head).

    `mask`: True where a row has a token, shape (rows, l), None where all do. With one row it is shared by all rows of a
    batch. `stack` names the stack it belongs to.
    """

    layers: Layers
    mask: Tensor | None = None
    stack: str = ""

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return int(self.layers[0][0].shape[2])

    @property
    def rows(self) -> int:
        """Rows it was made of."""
        return int(self.layers[0][0].shape[0])

    @property
    def lengths(self) -> int | Tensor:
        """Tokens of each row, shape (rows,), or one number where all have as many."""
        return self.length if self.mask is None else self.mask.sum(dim=1)

    def take(self, rows: Sequence[int] | Tensor) -> Prefix:
        """Return a prefix whose rows are these rows of this one, in this order; padding that none needs is cut."""
        index = torch.as_tensor(rows, device=self.layers[0][0].device)
        mask = None if self.mask is None else self.mask[index]
        used = self.length
        if mask is not None:
            used = max(1, int(mask.any(0).nonzero().max()) + 1 if bool(mask.any()) else 1)
            mask = mask[:, :used]
        layers = [(k[index][:, :, :used], v[index][:, :, :used]) for k, v in self.layers]
        return Prefix(layers, mask, self.stack)

    def detach(self) -> Prefix:
        """Return a prefix without its graph."""
        return Prefix([(k.detach(), v.detach()) for k, v in self.layers], self.mask, self.stack)


@dataclass
class Pass:
    """One forward pass of a stack as one attachment sees it: virtual tokens that are really there, and the text.

    `front`: its own virtual tokens; `before`: those of attachments around it, `behind`: of those inside it;
    `ragged`: whether its own differ in number over the rows.
    """

    front: int
    spans: Spans
    before: int = 0
    behind: int = 0
    ragged: bool = False

    @property
    def text(self) -> int:
        """Where the text starts."""
        return self.before + self.front + self.behind


class Slot:
    """What one attachment shows to the attention modules of a stack, as a pile: a forward inside another adds to it.

    `cross`: what it shows to attention over an encoder's output, the same for every forward. `passes`: forwards under
    way; `busy`: whether its own virtual tokens are run alone. `lasting`: virtual tokens that the last output of an
    encoder holds, and which of them are there. `counts`: whether it holds modules, which may count the text's tokens.
    """

    def __init__(self, counts: bool = False) -> None:
        self.counts = counts
        self.pile: list[Prefix | None] = []
        self.cross: Prefix | None = None
        self.passes: list[Pass] = []
        self.busy = False
        self.lasting: tuple[int, Tensor | None] = (0, None)

    @property
    def prefix(self) -> Prefix | None:
        """What is shown now."""
        return self.pile[-1] if self.pile else None


class Watch:
    """One stack whose attention is watched: its modules by layer, the slots before its rows, and what is recorded.

    `limit`: while virtual tokens of one attachment are run, the place of its slot; those of attachments inside it stand
    behind these tokens, which must not see them.
    """

    def __init__(
        self,
        modules: Sequence[Any],
        bias_of: Callable[[int, int, int], Tensor] | None = None,
        crosses: Sequence[Any] = (),
    ) -> None:
        self.layer = {id(m): i for some in (modules, crosses) for i, m in enumerate(some)}
        self.modules = [*modules, *crosses]
        self.depth = len(modules)
        self.crosses = {id(m) for m in crosses}
        self.slots: list[Slot] = []
        self.limit: int | None = None
        self.record: dict[int, tuple[Tensor, Tensor]] | None = None
        self.maps: dict[int, Tensor] | None = None
        self.bias_of = bias_of


WATCHED: dict[int, Watch] = {}
"""By the id of an attention module, for as long as something is attached to its model."""


def attend(original: Callable[..., Any], eager: bool) -> Callable[..., Any]:
    """Return an attention function that shows prefixes and then calls the original one."""

    def shown(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *args: Any, **kwargs: Any
    ) -> Any:
        watch = WATCHED.get(id(module))
        inner = _eager_of(module) if eager else original
        if watch is None:
            return inner(module, query, key, value, attention_mask, *args, **kwargs)
        layer, cross = watch.layer[id(module)], id(module) in watch.crosses
        if watch.record is not None and not cross:
            watch.record[layer] = key, value
        # Without a mask sdpa asks this flag; eager attention then lets every token see all.
        flag = kwargs.get("is_causal")
        causal = not eager and bool(getattr(module, "is_causal", True) if flag is None else flag)
        slots = watch.slots if watch.limit is None else watch.slots[: watch.limit + 1]
        before_rows = [slot.cross if cross else slot.prefix for slot in slots]
        prefixes = [prefix for prefix in before_rows if prefix is not None]
        if prefixes:
            own = key.shape[2]
            key, value, seen = _before(prefixes, layer, key, value)
            before = key.shape[2] - own
            biased = kwargs.get("position_bias") is not None
            if biased and seen is not None:
                key, value, seen = _adjoining(key, value, seen)
            attention_mask = _widened(attention_mask, before, seen, query, own, causal, eager)
            if biased:
                past = next((slot.passes[-1].spans.past for slot in slots if slot.passes), 0)
                kwargs["position_bias"] = _bias(None if cross else watch, kwargs["position_bias"], before, own, past)
        out = inner(module, query, key, value, attention_mask, *args, **kwargs)
        if watch.maps is not None and not cross:
            watch.maps[layer] = _map(query, key, attention_mask, kwargs, causal)
        return out

    return shown


def _eager_of(module: Any) -> Callable[..., Any]:
    import sys

    for cls in type(module).__mro__:
        found = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    raise UsageError(f"{type(module).__name__} has no eager attention; load the model with attn_implementation='sdpa'")


def _before(prefixes: Sequence[Prefix], layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Put prefixes in front; return keys, values, and which columns of the prefixes each row may see (None: all)."""
    rows = key.shape[0]
    keys, values, seen = [], [], []
    for prefix in prefixes:
        k, v = prefix.layers[layer]
        keys.append(spread(k, rows).to(key))
        values.append(spread(v, rows).to(value))
        seen.append(None if prefix.mask is None else spread(prefix.mask, rows).to(key.device))
    columns = None
    if any(mask is not None for mask in seen):
        filled = [
            torch.ones((rows, p.length), dtype=torch.bool, device=key.device) if mask is None else mask
            for p, mask in zip(prefixes, seen, strict=True)
        ]
        columns = torch.cat(filled, dim=1)
    return torch.cat([*keys, key], dim=2), torch.cat([*values, value], dim=2), columns


def spread(tensor: Tensor, rows: int) -> Tensor:
    """Return a tensor with as many rows as the batch: one row is shared, fewer are repeated as beams are."""
    have = tensor.shape[0]
    if have == rows:
        return tensor
    if have == 1:
        return tensor.expand(rows, *tensor.shape[1:])
    if rows % have:
        raise UsageError(f"{have} prompts were attached, one per row, and the batch has {rows} rows")
    return tensor.repeat_interleave(rows // have, dim=0)


def _widened(
    mask: Tensor | None, before: int, seen: Tensor | None, query: Tensor, own: int, causal: bool, eager: bool
) -> Tensor | None:
    """Return the mask with columns for what stands in front."""
    rows, length = query.shape[0], query.shape[2]
    if mask is None:
        if seen is None and (length == 1 or not causal):
            return None
        allowed = torch.ones((length, own), dtype=torch.bool, device=query.device)
        mask = (allowed.tril(own - length) if causal and length > 1 else allowed)[None, None]
        if eager:
            mask = _as_bias(mask, query.dtype)
    if seen is None:
        front = torch.ones((1, 1, 1, before), dtype=torch.bool, device=mask.device)
    else:
        front = seen[:, None, None, :]
        mask = mask.expand(rows, -1, -1, -1)
    front = front.expand(mask.shape[0], mask.shape[1], mask.shape[2], before)
    if mask.dtype != torch.bool:
        front = _as_bias(front, mask.dtype)
    return torch.cat([front, mask], dim=3)


def _as_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return zeros.masked_fill(~allowed, torch.finfo(dtype).min)


def _adjoining(key: Tensor, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move what rows do not have to the far end, so that relative positions of what they have are true."""
    order = torch.argsort(seen.int(), dim=1, stable=True)
    before = seen.shape[1]
    index = order[:, None, :, None].expand(-1, key.shape[1], -1, key.shape[3])
    key = torch.cat([key[:, :, :before].gather(2, index), key[:, :, before:]], dim=2)
    value = torch.cat([value[:, :, :before].gather(2, index), value[:, :, before:]], dim=2)
    return key, value, seen.gather(1, order)


def _bias(watch: Watch | None, bias: Tensor, before: int, own: int, past: int) -> Tensor:
    """Return a bias of relative positions with columns for what stands in front, at its true distance."""
    if watch is None or watch.bias_of is None:
        return torch.nn.functional.pad(bias, (before, 0))
    return watch.bias_of(bias.shape[2], before + own, before + past).to(bias.dtype)


def _map(query: Tensor, key: Tensor, mask: Tensor | None, kwargs: dict[str, Any], causal: bool) -> Tensor:
    """Return the attention map, shape (rows, heads, queries, keys), float32."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = kwargs.get("scaling")
    scores = query.float() @ key.float().transpose(2, 3) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if kwargs.get("position_bias") is not None:
        scores = scores + kwargs["position_bias"]
    if mask is None and causal and query.shape[2] > 1:
        shape = (query.shape[2], key.shape[2])
        mask = torch.ones(shape, dtype=torch.bool, device=key.device).tril(shape[1] - shape[0])[None, None]
    if mask is not None:
        mask = mask[..., : key.shape[2]]
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return torch.softmax(scores, dim=-1)


def implementation(original: str) -> str:
    """Register the watching form of an attention implementation; return its name.

    In place of flash and flex attention stands torch's own (sdpa) while something is attached: they take no mask of
    their own for each row, and cut what stands in front off by a sliding window.
    """
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    form = "sdpa" if original.startswith(("flash_attention", "flex_attention")) else original
    if form not in ("eager", "sdpa"):
        raise UsageError(
            f"attention implementation {original!r} cannot be watched; load the model with "
            "attn_implementation='sdpa' or 'eager'"
        )
    name = PREFIX + form
    if name not in AttentionInterface._global_mapping:
        eager = form == "eager"
        AttentionInterface.register(
            name, attend(_eager_of if eager else AttentionInterface._global_mapping[form], eager)
        )
        AttentionMaskInterface.register(name, AttentionMaskInterface._global_mapping[form])
    return name
