"""What one attachment does to one stack: prompts before the text, offsets in it, modules along it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from promptology.errors import UsageError
from promptology.injection.arch import find
from promptology.injection.arch.table import Stack
from promptology.injection.checking import check_deep, check_modules, check_prefixes
from promptology.injection.filling import Rows, key_values, padded, rows_of
from promptology.injection.inputs import Inputs, names_of
from promptology.injection.keeping import Versions, epoch
from promptology.injection.modules import Spans
from promptology.injection.sites import Site
from promptology.injection.watching import Pass, Prefix, Slot, Watch, spread

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Kept(NamedTuple):
    """Keys and values of a prompt, with what they were computed of."""

    epoch: int
    versions: tuple[int, ...] | None
    prompt: Tensor
    prefix: Prefix


class Wiring:
    """Hooks of one attachment on one stack."""

    def __init__(
        self,
        model: Any,
        stack: Stack,
        watch: Watch,
        fillings: Sequence[tuple[Site, Any]],
        prefixes: Sequence[Prefix],
    ) -> None:
        self.model, self.stack, self.watch, self.prefixes = model, stack, watch, prefixes
        self.module = find(model.base_model, stack.path)
        self.config = self.module.config
        self.blocks = find(self.module, stack.layers) if stack.layers else ()
        self.names = names_of(type(self.module).forward)
        self.at: dict[str, list[tuple[Site, Any]]] = {}
        for site, filler in fillings:
            self.at.setdefault(site.place, []).append((site, filler))
        self.changes = [f for _, f in self.at.get("input", ()) if isinstance(f, nn.Module)]
        self.heads = heads_of(self.config)
        self.slot = Slot(any(isinstance(filler, nn.Module) for _, filler in fillings))
        cross = key_values(self.at.get("cross_key_value", ()), len(self.blocks), self.heads, stack.name)
        self.slot.cross = cross[0] if cross else None
        self.versions = Versions(model)
        self.kept: Kept | None = None
        self.prompts = self._prompts()
        self.shown = self._shown()
        hidden = int(getattr(self.config, "hidden_size", self.width))
        check_modules(self.at, hidden)
        check_deep(self.at, self.prompts, hidden)
        check_prefixes(prefixes, len(self.blocks), self.heads)

    def _prompts(self) -> list[Rows]:
        """Return the virtual tokens as they are now; an optimiser may have changed them."""
        found = [(site, f) for site, f in self.at.get("input", ()) if not isinstance(f, nn.Module)]
        return [rows_of(filler, self.width, str(site)) for site, filler in found]

    def _shown(self) -> list[Prefix]:
        own = key_values(self.at.get("key_value", ()), len(self.blocks), self.heads, self.stack.name)
        return [*self.prefixes, *own]

    @property
    def index(self) -> int:
        """Place of this attachment among those of its stack, the outermost first."""
        return self.watch.slots.index(self.slot)

    @property
    def idle(self) -> bool:
        """Whether the forward that goes on is the virtual tokens' own, of this attachment or one around it."""
        return self.slot.busy or (self.watch.limit is not None and self.index > self.watch.limit)

    @property
    def on_text(self) -> Pass | None:
        """The forward that goes on, None where it is one of virtual tokens alone, which modules leave as they are."""
        return self.slot.passes[-1] if self.slot.passes and self.watch.limit is None else None

    @property
    def width(self) -> int:
        """Width of the input embeddings."""
        table = find(self.module, self.stack.embeddings)
        return int(table.weight.shape[1]) if hasattr(table, "weight") else int(self.config.hidden_size)

    def connect(self, undo: ExitStack) -> None:
        """Register all hooks; `undo` takes them off."""
        self.watch.slots.append(self.slot)
        undo.callback(self.watch.slots.remove, self.slot)

        def add(handle: Any) -> None:
            undo.callback(handle.remove)

        add(self.module.register_forward_pre_hook(self._enter, with_kwargs=True, prepend=True))
        add(self.module.register_forward_hook(self._leave, with_kwargs=True, always_call=True))
        if self.prompts and not self.stack.causal and self.stack.pooled:
            pooler = find(self.module, self.stack.pooled)
            if pooler is not None:
                add(pooler.register_forward_pre_hook(self._before_pooler))
        for site, filler in self.at.get("layer", ()):
            hook = self._into_block(filler)
            add(self.blocks[site.layer].register_forward_pre_hook(hook, with_kwargs=True))
        for site, filler in self.at.get("last_position", ()):
            add(self.blocks[site.layer].register_forward_hook(self._last(filler)))
        for place, path in (("attention", self.stack.block.attention), ("mlp", self.stack.block.mlp)):
            for site, filler in self.at.get(place, ()):
                part = find(self.blocks[site.layer], path)
                add(part.register_forward_hook(self._part(filler, str(site)), with_kwargs=True))
        for site, filler in self.at.get("pooled", ()):
            pooler = find(self.module, self.stack.pooled)
            add(pooler.register_forward_hook(self._part(filler, str(site)), with_kwargs=True))

    # Before and behind the stack

    def _enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if self.idle:
            return args, kwargs
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        inputs = Inputs(self.module, self.stack, self.config, given)
        inner = self._inner()
        spans = inner[0].spans if inner else inputs.spans
        behind = sum(one.front for one in inner)
        for change in self.changes if self.watch.limit is None else ():
            inputs.embed(_behind(behind, partial(_changed_by, change, spans, given)))
        self.prompts, self.shown = self._prompts(), self._shown()
        prefix, front = self._prefix(inputs.past), 0
        if self.prompts and not self.stack.causal:
            self._check_inner(inner)
            front = inputs.prepend(self.prompts)
            if inputs.past == 0:
                self.slot.lasting = front, inputs.prompt_mask
        before = [p for p in (*self.shown, *((prefix,) if prefix else ()))]
        for one in before:
            inputs.shift(one.lengths)
        for other in inner:
            other.before += front
        self.slot.pile.append(_joined(before))
        self.slot.passes.append(Pass(front, spans, behind=behind, ragged=inputs.prompt_mask is not None))
        return (), inputs.given

    def _inner(self) -> list[Pass]:
        """Return this forward as attachments inside this one see it, which enter it first."""
        stop = None if self.watch.limit is None else self.watch.limit + 1
        slots = self.watch.slots[self.index + 1 : stop]
        return [slot.passes[-1] for slot in slots if slot.passes and not slot.busy]

    def _check_inner(self, inner: Sequence[Pass]) -> None:
        """Refuse a gap between this prompt and the one inside it, where distances between columns count."""
        if self.stack.positions == "none" and any(one.ragged for one in inner):
            raise UsageError(
                f"a prompt around prompts of different lengths, in stack {self.stack.name!r} with relative positions: "
                "join the two along their length"
            )

    def _leave(self, module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        if self.idle or not self.slot.passes:
            return out
        this = self.slot.passes.pop()
        self.slot.pile.pop()
        if out is None:
            return out
        if this.front and not self.stack.keeps:
            out = _changed(out, lambda hidden: hidden[:, this.front :], every=True)
        for _, filler in self.at.get("output", ()) if self.watch.limit is None else ():
            front = this.text if self.stack.keeps else this.behind
            out = _changed(out, self._on_text(filler, front, this.spans, {}))
        return out

    def _prefix(self, past: int) -> Prefix | None:
        """Return keys and values of the prompt of a causal stack; without gradients they are computed once.

        While tokens are generated those of the first step stand; a new text looks at all that they depend on.
        """
        if not self.prompts or not self.stack.causal:
            return None
        prompt, mask = padded(self.prompts, left=False)
        if torch.is_grad_enabled():
            self.kept = None
            return self._run(prompt, mask)
        kept, now = self.kept, epoch(self.model)
        if kept is not None and past and kept.epoch == now:
            return kept.prefix
        versions = self.versions.now()
        if kept is None or versions is None or versions != kept.versions or not torch.equal(prompt, kept.prompt):
            kept = self.kept = Kept(now, versions, prompt, self._run(prompt, mask))
        return kept.prefix

    def _run(self, prompt: Tensor, mask: Tensor | None) -> Prefix:
        from promptology.injection.attaching import record

        inputs: dict[str, Any] = {"inputs_embeds": prompt.to(self._dtype())}
        if mask is not None:
            inputs["attention_mask"] = mask.long()
        outer, self.watch.limit, self.slot.busy = self.watch.limit, self.index, True
        try:
            layers = record(self._around, self.watch, **inputs)
        finally:
            self.watch.limit, self.slot.busy = outer, False
        return Prefix(layers, mask, self.stack.name)

    def _around(self, **inputs: Any) -> Any:
        """Run the stack on virtual tokens alone, which see what this attachment shows of itself."""
        own = Inputs(self.module, self.stack, self.config, inputs)
        for lengths in [one.lengths for one in self.shown] or [0]:
            own.shift(lengths)
        self.slot.pile.append(_joined(self.shown))
        try:
            return self.module(**own.given)
        finally:
            self.slot.pile.pop()

    def _dtype(self) -> torch.dtype:
        table = find(self.module, self.stack.embeddings)
        return table.weight.dtype if hasattr(table, "weight") else torch.get_default_dtype()

    def _before_pooler(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        front = self.slot.passes[-1].front if self.slot.passes else 0
        return (args[0][:, front:], *args[1:]) if front else args

    def tell_decoder(self, decoder: Any, undo: ExitStack) -> None:
        """Let a decoder see the virtual tokens that its encoder kept."""
        names = names_of(type(decoder).forward)

        def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            hidden, mask = given.get("encoder_hidden_states"), given.get("encoder_attention_mask")
            front, seen = self.slot.lasting
            if not front or hidden is None:
                return args, kwargs
            if mask is None and any(slot.lasting[1] is not None for slot in self.watch.slots):
                every = sum(slot.lasting[0] for slot in self.watch.slots)
                mask = torch.ones((hidden.shape[0], hidden.shape[1] - every), dtype=torch.long, device=hidden.device)
            if mask is not None and mask.dim() == 2 and hidden.shape[1] >= mask.shape[1] + front:
                rows = mask.shape[0]
                seen = mask.new_ones((rows, front)) if seen is None else spread(seen, rows).to(mask.dtype)
                given["encoder_attention_mask"] = torch.cat([seen, mask], dim=1)
            return (), given

        undo.callback(decoder.register_forward_pre_hook(enter, with_kwargs=True, prepend=True).remove)

    # Along the stack

    def _into_block(self, filler: Any) -> Callable[..., Any]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
            hidden = args[0] if args else kwargs["hidden_states"]
            if isinstance(filler, Tensor):
                hidden = self._deep(hidden, filler)
            elif (this := self.on_text) is not None:
                hidden = self._on_text(filler, this.text, this.spans, {})(hidden)
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        return hook

    def _deep(self, hidden: Tensor, filler: Tensor) -> Tensor:
        """Put deep virtual tokens in the place of those that come from the block below."""
        deep = spread(filler if filler.dim() == 3 else filler[None], hidden.shape[0]).to(hidden.dtype)
        if self.stack.causal:
            return deep if self.slot.busy and self.watch.limit == self.index else hidden
        this = self.slot.passes[-1] if self.slot.passes else None
        if this is None or not this.front:
            return hidden
        return torch.cat([hidden[:, : this.before], deep, hidden[:, this.before + this.front :]], dim=1)

    def _part(self, filler: Any, name: str) -> Callable[..., Any]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
            this = self.on_text
            if this is None:
                return out
            entered: Any = args[0] if args else kwargs.get("hidden_states")
            front = 0 if name.endswith("pooled") else this.text
            batch = {"input": entered[:, front:] if front else entered}
            return _changed(out, self._on_text(filler, front, this.spans, batch))

        return hook

    def _last(self, filler: Any) -> Callable[..., Any]:
        def hook(module: Any, args: tuple[Any, ...], out: Any) -> Any:
            this = self.on_text
            if this is None:
                return out

            def change(hidden: Tensor) -> Tensor:
                rows = torch.arange(hidden.shape[0], device=hidden.device)
                last = this.text + spread(this.spans.positions, hidden.shape[0]).argmax(dim=1).to(hidden.device)
                state = hidden[rows, last][:, None]
                if isinstance(filler, Tensor):
                    new = state + spread(filler if filler.dim() == 2 else filler[None], hidden.shape[0])[:, None]
                else:
                    new = filler(state, this.spans, {})
                mask = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
                mask[rows, last] = True
                return torch.where(mask[:, :, None], new.to(hidden.dtype), hidden)

            return _changed(out, change)

        return hook

    def _on_text(self, filler: Any, front: int, spans: Spans, batch: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
        def change(hidden: Tensor) -> Tensor:
            text: Tensor = filler(hidden[:, front:] if front else hidden, spans, batch).to(hidden.dtype)
            return torch.cat([hidden[:, :front], text], dim=1) if front else text

        return change


def heads_of(config: Any) -> tuple[int, int]:
    """Return heads of keys and values, and the size of one."""
    queries = int(getattr(config, "num_attention_heads", 0) or 1)
    heads = int(getattr(config, "num_key_value_heads", None) or queries)
    hidden = int(getattr(config, "hidden_size", 0) or 0)
    size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or hidden // queries
    return heads, int(size)


def _joined(prefixes: Sequence[Prefix]) -> Prefix | None:
    """Return several prefixes as one, the first in front."""
    if len(prefixes) <= 1:
        return prefixes[0] if prefixes else None
    rows = max(p.rows for p in prefixes)
    layers = [
        (torch.cat([spread(k, rows) for k, _ in pairs], dim=2), torch.cat([spread(v, rows) for _, v in pairs], dim=2))
        for pairs in zip(*(p.layers for p in prefixes), strict=True)
    ]
    if all(p.mask is None for p in prefixes):
        return Prefix(layers, None, prefixes[0].stack)
    device = layers[0][0].device
    masks = [
        torch.ones((rows, p.length), dtype=torch.bool, device=device) if p.mask is None else spread(p.mask, rows)
        for p in prefixes
    ]
    return Prefix(layers, torch.cat(masks, dim=1), prefixes[0].stack)


def _behind(front: int, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a change that leaves what stands in front of a position as it is."""
    return lambda hidden: torch.cat([hidden[:, :front], change(hidden[:, front:])], dim=1) if front else change(hidden)


def _changed_by(change: Any, spans: Spans, batch: Mapping[str, Any], hidden: Tensor) -> Tensor:
    changed: Tensor = change(hidden, spans, batch)
    return changed


def _changed(out: Any, change: Callable[[Tensor], Tensor], every: bool = False) -> Any:
    """Apply a change to the hidden states of an output; `every`: also to those of each layer, where they are there."""
    if isinstance(out, Tensor):
        return change(out)
    if not hasattr(out, "last_hidden_state"):
        return (change(out[0]), *out[1:])
    out["last_hidden_state"] = change(out["last_hidden_state"])
    if every and out.get("hidden_states") is not None:
        out["hidden_states"] = tuple(change(h) for h in out["hidden_states"])
    return out
