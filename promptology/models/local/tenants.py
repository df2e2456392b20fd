"""Learned parts of requests: many different prompts side by side in one batch, each seen by its own rows only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from promptology.injection import Filling, Prefix, attach, encode_prefix
from promptology.injection.fitting import fitted
from promptology.models.access import Injected
from promptology.models.local.body import Body
from promptology.models.local.decoding import Showing

T = TypeVar("T")

KEPT = 64
"""Learned prompts whose keys and values, or copies on the device, are kept."""


class Tenants:
    """What requests take into one model, prepared once per digest; the least used are forgotten."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._fillings: OrderedDict[str, tuple[Filling, ...]] = OrderedDict()
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()
        shared = body.kind == "causal" and len(body.sites.stacks) == 1
        self._can = shared and f"{next(iter(body.sites.stacks))}.key_value" not in body.sites.missing

    def fillings(self, injected: Injected | None) -> tuple[Filling, ...]:
        """Return fillings on the model's device; raises UsageError where they belong to another model."""
        if injected is None:
            return ()
        found = self._fillings.get(injected.digest)
        if found is None:
            found = fitted(self.body.model, injected.fillings)
        return _keep(self._fillings, injected.digest, found)

    def attached(self, injected: Injected | None) -> AbstractContextManager[Any]:
        """Attach all that one request takes into the model."""
        if injected is not None and self.mixes(injected):
            with self.body.quiet():
                prefix = self.prefix(injected)
            return attach(self.body.model, [], prefixes=[prefix])
        return nullcontext() if injected is None else attach(self.body.model, self.fillings(injected))

    def shares(self, injected: Injected | None, tokens: int) -> bool:
        """Whether rows of so many tokens may share a beginning under these parts, and give what whole rows would."""
        window = getattr(self.body.model.config, "sliding_window", None)
        if not self._can or (window and tokens > window):
            return False
        if injected is None or self._mixes(injected):
            return True
        # Modules along the stack may count the text's tokens; those in the place of weights cannot.
        return all(_place(f.site) in ("weight", "linear") for f in injected.fillings)

    def virtual(self, injected: Injected | None) -> int:
        """Return how many positions learned tokens take before the text."""
        if injected is None or self.body.kind == "seq2seq":
            return 0
        lengths = {"input": 0, "key_value": 0}
        for filling in injected.fillings:
            place = _place(filling.site)
            if place in lengths and isinstance(filling.filler, Tensor):
                size = filling.filler.shape[-2 if place == "input" else -3]
                lengths[place] = lengths["input"] + size if place == "input" else max(lengths[place], size)
        return sum(lengths.values())

    def group(self, injected: Injected | None) -> str:
        """Return a name that is equal for requests whose rows may stand in one batch."""
        if injected is None or self._mixes(injected):
            return "" if self.body.kind == "causal" else self._length(injected)
        return injected.digest

    def mixes(self, injected: Injected | None) -> bool:
        """Whether these parts are a prompt that others may stand beside, before the rows of a causal model."""
        return injected is not None and self.body.kind == "causal" and self._mixes(injected)

    def _length(self, injected: Injected | None) -> str:
        # Virtual tokens of an encoder are really there, so that rows of one batch have as many.
        return "" if injected is None else f"length {len(injected.fillings[0].filler)}"

    def _mixes(self, injected: Injected) -> bool:
        tensors = all(isinstance(f.filler, Tensor) for f in injected.fillings)
        places = {_place(f.site) for f in injected.fillings}
        flat = (
            tensors and len(injected.fillings) == 1 and places == {"input"} and injected.fillings[0].filler.dim() == 2
        )
        if self.body.kind == "seq2seq":
            return flat and injected.fillings[0].site == "encoder.input"
        many = tensors and places == {"key_value"} and all(f.filler.dim() == 4 for f in injected.fillings)
        return self._can and (flat or many)

    def showing(self, each: Sequence[Injected | None]) -> Showing:
        """Return what shows to the rows of a batch, each of which takes its own, what they are to see."""
        distinct = list({one.digest: one for one in each if one is not None}.values())
        if not distinct:
            return lambda rows: nullcontext()
        model = self.body.model
        if self.body.kind == "seq2seq":
            tensors = [self.fillings(one)[0].filler for one in each]

            def input_of(rows: Sequence[int]) -> AbstractContextManager[Any]:
                return attach(model, [Filling("encoder.input", torch.stack([tensors[r] for r in rows]))])

            return input_of
        if len(distinct) == 1 and None not in each:
            with self.body.quiet():
                alone = self.prefix(distinct[0])
            return lambda rows: attach(model, [], prefixes=[alone])
        together, which = self.side_by_side(each)
        return lambda rows: attach(model, [], prefixes=[together.take([which[r] for r in rows])])

    def side_by_side(self, each: Sequence[Injected | None]) -> tuple[Prefix, list[int]]:
        """Return a prefix with one row per distinct prompt, the last one empty, and which row each of these takes."""
        distinct = list({one.digest: one for one in each if one is not None}.values())
        with self.body.quiet():
            prefixes = [self.prefix(one) for one in distinct]
        number = {one.digest: n for n, one in enumerate(distinct)}
        return side_by_side(prefixes), [len(distinct) if one is None else number[one.digest] for one in each]

    def prefix(self, injected: Injected) -> Prefix:
        """Return the keys and values of a learned prompt, computed once."""
        found = self._prefixes.get(injected.digest)
        if found is None:
            fillings = self.fillings(injected)
            if _place(fillings[0].site) == "input":
                tokens = fillings[0].filler.to(self.body.dtype)
                found = encode_prefix(self.body.model, inputs_embeds=tokens[None]).detach()
            else:
                found = _of_layers(self.body, fillings)
        return _keep(self._prefixes, injected.digest, found)


@contextmanager
def both(first: AbstractContextManager[Any], second: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter two contexts."""
    with first, second:
        yield


def side_by_side(prefixes: Sequence[Prefix]) -> Prefix:
    """Return prefixes of one row each as rows of one, and behind them a row that holds nothing."""
    longest = max(prefix.length for prefix in prefixes)
    mask = torch.zeros((len(prefixes) + 1, longest), dtype=torch.bool, device=prefixes[0].layers[0][0].device)
    for row, prefix in zip(mask, prefixes, strict=False):
        row[: prefix.length] = True if prefix.mask is None else prefix.mask[0]

    def joined(tensors: list[Tensor]) -> Tensor:
        padded = [nn.functional.pad(t, (0, 0, 0, longest - t.shape[2])) for t in tensors]
        return torch.cat([*padded, torch.zeros_like(padded[0])])

    layers = [
        (joined([p.layers[i][0] for p in prefixes]), joined([p.layers[i][1] for p in prefixes]))
        for i in range(len(prefixes[0].layers))
    ]
    return Prefix(layers, mask, prefixes[0].stack)


def _of_layers(body: Body, fillings: Sequence[Filling]) -> Prefix:
    from promptology.injection.filling import key_values

    config = body.model.config
    heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    stack = next(iter(body.sites.stacks))
    placed = [(body.sites.resolve(f.site), f.filler.to(body.dtype)) for f in fillings]
    (prefix,) = key_values(placed, body.sites.layers[stack], (heads, int(size)), stack)
    return prefix


def _place(site: str) -> str:
    """Return the place of a site, without stack and layer."""
    return site.partition("[")[0].rpartition(".")[2] if ":" not in site else site.partition(":")[0]


def _keep(kept: OrderedDict[str, T], digest: str, value: T) -> T:
    kept[digest] = value
    kept.move_to_end(digest)
    while len(kept) > KEPT:
        kept.popitem(last=False)
    return value
