"""Learned prompts in the two towers of a CLIP or SigLIP: context in the place of tokens, tokens behind an image's.

Context takes the place of tokens where a text enters (CoOp, arXiv:2109.01134); before each of the next layers what
stands there may be dropped for that layer's own (MaPLe, arXiv:2210.03117, steps 2 and 3). An image's learned tokens
stand behind its patches, before the first normalisation, without a position; deeper layers drop them for their own
(VPT, arXiv:2203.12119; as in the code of MaPLe, steps 4 and 5).

Done once and only where it counts, with equal results:

- behind the end of a text nothing is computed where a token sees only what stands before it (CLIP);
- a beginning that all texts have is run once, and shown to the rest of each (also per image, for context that depends
  on it); in a tower that sees both ways (SigLIP) every text is run whole;
- the last layer goes on only with the state that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from promptology.errors import UsageError
from promptology.injection.arch import sites_of
from promptology.injection.blocks import KeysValues, keys_values, layers_of, run

NUMBERS = 16
"""Numbers that a layer holds for the gradient at most, for each token and unit of width (measured: 11 to 15)."""


class TextRows(NamedTuple):
    """Texts as tokens with what opens and closes them, never padded.

    `slots`: the positions of each text at which learned context stands, in the order of the context; as many in each.
    """

    ids: Sequence[Sequence[int]]
    slots: Sequence[Sequence[int]] = ()


class Prompts(NamedTuple):
    """Learned vectors for both towers, float32; what is left out is not there.

    `context`: at the slots of the texts, (M, d) for all of them; (texts, M, d), one for each; (images, 1, M, d), one
    for each image; (images, texts, M, d). `deep[i]`: at the first positions of a text, where it enters layer i + 1,
    shaped likewise. `tokens`: behind the patches of an image, (n, d) for all or (images, n, d); `deep_tokens[i]`: in
    their place where they enter layer i + 1.
    """

    context: Tensor | None = None
    deep: Sequence[Tensor] = ()
    tokens: Tensor | None = None
    deep_tokens: Sequence[Tensor] = ()


class _Laid(NamedTuple):
    """Texts as tensors on the device of the towers.

    `ids`, `places`: tokens and which vector of the context stands in their place (-1: none), (texts, length). `ends`:
    the position that is read of each. `common`: tokens that all texts begin with, of which each has at least one more.
    `slots`: first position of context, and the one behind the last.
    """

    ids: Tensor
    places: Tensor
    ends: list[int]
    common: int
    slots: tuple[int, int]


class PromptedTowers:
    """The towers of a CLIPModel or SiglipModel under learned prompts, with gradients.

    `memory`: bytes that the states of a batch of texts may take for their gradients; more texts are run in several
    batches, of which each is run again for its gradient.
    """

    def __init__(self, inner: Any, opening: int, pad: int, memory: float = 2e9) -> None:
        sites = sites_of(inner)
        if sites.kind != "two-tower":
            raise UsageError(f"{type(inner).__name__} has no two towers of transformer blocks")
        self.inner, self.opening, self.pad, self.memory = inner, opening, pad, memory
        self.text, self.vision = inner.text_model, inner.vision_model
        self.causal = sites.stacks["text"].causal
        self.text_layers = layers_of(inner, sites.stacks["text"])
        self.vision_layers = layers_of(inner, sites.stacks["vision"])
        self.device, self.dtype = inner.device, inner.dtype
        self._last: tuple[TextRows, _Laid] | None = None

    # Texts

    def texts(self, rows: TextRows, prompts: Prompts | None = None) -> Tensor:
        """Return unit vectors of texts, float32 (texts, d); (images, texts, d) where the context has images."""
        prompts = prompts or Prompts()
        context = None if prompts.context is None else self._four(prompts.context, len(rows.ids))
        deep = [self._four(one, len(rows.ids)) for one in prompts.deep]
        self._check_texts(rows, context, deep)
        batch = _Batch(self, rows, context, deep)
        found = batch.run()
        pooled = self.text.final_layer_norm(found)
        head = self.inner.text_projection if self.causal else self.text.head
        unit = normalize(head(pooled).float(), dim=-1).unflatten(0, (batch.images, len(rows.ids)))
        return unit if any(one.dim() == 4 for one in (prompts.context, *prompts.deep) if one is not None) else unit[0]

    def laid(self, rows: TextRows) -> _Laid:
        """Return texts as tensors; those of the last call, which a training asks for at every step, are kept."""
        if self._last is None or self._last[0] is not rows:
            self._last = rows, self._lay(rows)
        return self._last[1]

    def _lay(self, rows: TextRows) -> _Laid:
        slots = rows.slots or [()] * len(rows.ids)
        length = max(map(len, rows.ids)) if self.causal else self.text.config.max_position_embeddings
        ids = torch.tensor([[*row, *[self.pad] * (length - len(row))] for row in rows.ids])
        places = torch.full(ids.shape, -1)
        for row, some in zip(places, slots, strict=True):
            row[list(some)] = torch.arange(len(some))
        ends = self._ends(ids.masked_fill(places >= 0, -1)).tolist()
        alike = ((ids == ids[0]) & (places == places[0])).all(dim=0)[: min(ends)]
        common = int(alike.int().cumprod(dim=0).sum()) if self.causal and len(ids) > 1 else 0
        filled = [slot for some in slots for slot in some]
        span = (min(filled), max(filled) + 1) if filled else (0, 0)
        return _Laid(ids.to(self.device), places.to(self.device), ends, common, span)

    def _ends(self, ids: Tensor) -> Tensor:
        """Return the position that is read of each text, as transformers finds it; slots (-1) are never the end."""
        if not self.causal:
            return ids.new_full((len(ids),), ids.shape[1] - 1)
        end = self.text.config.eos_token_id
        # Old configurations state 2, and mean the token of the highest id.
        return ids.argmax(dim=1) if end == 2 else (ids == end).int().argmax(dim=1)

    def _four(self, values: Tensor, texts: int) -> Tensor:
        """Return context as (images or 1, texts or 1, M, d), in the type of the towers."""
        if values.dim() == 3 and len(values) != texts:
            raise UsageError(f"context was given for {len(values)} texts, and there are {texts}")
        shaped = values if values.dim() == 4 else values[None] if values.dim() == 3 else values[None, None]
        return shaped.to(self.dtype)

    def _check_texts(self, rows: TextRows, context: Tensor | None, deep: Sequence[Tensor]) -> None:
        length = context.shape[-2] if context is not None else 0
        if any(len(one) != length for one in rows.slots or [()]):
            raise UsageError(f"a context of {length} vectors needs as many slots in each text")
        if len(deep) >= len(self.text_layers):
            raise UsageError(f"prompts for {len(deep) + 1} layers; the text tower has {len(self.text_layers)}")
        first = set(range(self.opening, self.opening + (deep[0].shape[-2] if deep else 0)))
        if any(not first <= {*one} for one in rows.slots or [()]):
            raise UsageError("deep prompts take the place of context that stands at the beginning of a text")

    # Images

    def images(self, pixels: Tensor, prompts: Prompts | None = None) -> Tensor:
        """Return unit vectors of pixels (n, 3, height, width), float32 (n, d)."""
        prompts = prompts or Prompts()
        tokens, deep = prompts.tokens, list(prompts.deep_tokens)
        if len(deep) >= len(self.vision_layers):
            raise UsageError(f"prompts for {len(deep) + 1} layers; the image tower has {len(self.vision_layers)}")
        if deep and tokens is None:
            raise UsageError("deep tokens of an image need those of the first layer, whose place they take")
        hidden = self.vision.embeddings(pixels.to(self.device, self.dtype))
        patches = hidden.shape[1]
        if tokens is not None:
            hidden = torch.cat([hidden, self._each(tokens, len(hidden))], dim=1)
        hidden = getattr(self.vision, "pre_layrnorm", _same)(hidden)
        last = len(self.vision_layers) - 1
        for i, layer in enumerate(self.vision_layers):
            if 1 <= i <= len(deep):
                hidden = torch.cat([hidden[:, :patches], self._each(deep[i - 1], len(hidden))], dim=1)
            hidden, _ = run(layer, hidden, at=self._read(patches) if i == last else None)
        hidden = self.vision.post_layernorm(hidden)
        if hasattr(self.inner, "visual_projection"):
            found = self.inner.visual_projection(hidden[:, 0])
        else:
            found = self.vision.head(hidden)
        return normalize(found.float(), dim=-1)

    def _each(self, tokens: Tensor, rows: int) -> Tensor:
        return tokens.to(self.dtype).expand(rows, *tokens.shape[-2:])

    def _read(self, patches: int) -> Callable[[Tensor], Tensor]:
        """Return what picks the states that are read: CLIP's first, those of SigLIP's patches, which it pools."""
        end = 1 if hasattr(self.inner, "visual_projection") else patches
        return lambda states: states[:, :end]


class _Batch:
    """Texts on their way through the text tower."""

    def __init__(self, towers: PromptedTowers, rows: TextRows, context: Tensor | None, deep: Sequence[Tensor]) -> None:
        self.towers, self.context, self.deep = towers, context, deep
        self.layers = towers.text_layers
        learned = [one for one in (context, *deep) if one is not None]
        self.images = max([len(one) for one in learned], default=1)
        self.laid = towers.laid(rows)
        self.front = self._front(any(one.shape[1] > 1 for one in learned))

    def _front(self, own: bool) -> int:
        """Return how many tokens are run once for all texts; `own`: each text has learned vectors of its own."""
        opening, common = self.towers.opening, self.laid.common
        # Deep prompts stand either in what is shared or in the rest, never in both.
        deep = self.deep[0].shape[-2] if self.deep else 0
        return min(common, opening) if own or (deep and common < opening + deep) else common

    def run(self) -> Tensor:
        """Return the state of each text that is read, (images * texts, d)."""
        shown = self._beginning() if self.front else []
        texts, length = self.laid.ids.shape
        width = self.towers.text.config.hidden_size
        per_text = self.images * (length - self.front) * width * NUMBERS * len(self.layers) * self.towers.dtype.itemsize
        size = max(1, int(self.towers.memory // per_text))
        if size >= texts or not torch.is_grad_enabled():
            parts = [self._rest(slice(at, at + size), shown) for at in range(0, texts, size)]
        else:
            # Without the states of the others in memory; each batch is run again when its gradient is due.
            parts = [
                checkpoint(self._rest, slice(at, at + size), shown, use_reentrant=False, preserve_rng_state=False)
                for at in range(0, texts, size)
            ]
        return torch.cat(parts, dim=1).flatten(0, 1)

    def _beginning(self) -> list[KeysValues]:
        """Return keys and values of the beginning at every layer, one row for each image."""
        front = self.front
        hidden = self._embedded(slice(0, 1), 0, front).flatten(0, 1)
        mask = torch.ones(front, front, dtype=torch.bool, device=hidden.device).tril()
        shown: list[KeysValues] = []
        for i, layer in enumerate(self.layers):
            hidden = self._replaced(i, hidden, slice(0, 1), 0)
            if i == len(self.layers) - 1:
                return [*shown, keys_values(layer, hidden)]
            hidden, own = run(layer, hidden, mask=mask)
            shown.append(own)
        return shown

    def _rest(self, some: slice, shown: list[KeysValues]) -> Tensor:
        """Return the state that is read of some texts, (images, texts, d)."""
        front, ends = self.front, self.laid.ends[some]
        length = max(ends) + 1
        hidden = self._embedded(some, front, length).flatten(0, 1)
        places = torch.arange(front, length, device=hidden.device)
        mask = torch.arange(length, device=hidden.device)[None] <= places[:, None] if self.towers.causal else None
        read = torch.tensor(ends * self.images, device=hidden.device) - front
        rows = torch.arange(len(hidden), device=hidden.device)
        last = None if mask is None else mask[read][:, None, None]
        for i, layer in enumerate(self.layers):
            hidden = self._replaced(i, hidden, some, front)
            before = shown[i] if shown else None
            if i == len(self.layers) - 1:
                hidden, _ = run(layer, hidden, before=before, mask=last, at=lambda states: states[rows, read][:, None])
            else:
                hidden, _ = run(layer, hidden, before=before, mask=mask)
        return hidden[:, 0].unflatten(0, (self.images, len(ends)))

    def _embedded(self, some: slice, start: int, end: int) -> Tensor:
        """Return what enters the first layer of some texts from one position to another, (images, texts, n, d)."""
        embeddings = self.towers.text.embeddings
        ids, places = self.laid.ids[some, start:end], self.laid.places[some, start:end]
        first, behind = self.laid.slots
        hidden = embeddings.token_embedding(ids)[None].expand(self.images, -1, -1, -1)
        if self.context is not None and first < end and start < behind:
            context = self.context[:, some] if self.context.shape[1] > 1 else self.context
            context = context.expand(self.images, len(ids), -1, -1)
            which = places.clamp(min=0)[None, :, :, None].expand(self.images, -1, -1, context.shape[-1])
            hidden = torch.where((places >= 0)[None, :, :, None], context.gather(2, which), hidden)
        return hidden + embeddings.position_embedding.weight[start:end]

    def _replaced(self, i: int, hidden: Tensor, some: slice, start: int) -> Tensor:
        """Return states (images * texts, n, d) with the prompts of layer `i` in their place, if they stand here."""
        if not 1 <= i <= len(self.deep):
            return hidden
        tokens, at = self.deep[i - 1], self.towers.opening - start
        if at < 0 or at >= hidden.shape[1]:
            return hidden
        tokens = tokens[:, some] if tokens.shape[1] > 1 else tokens
        tokens = tokens.expand(self.images, len(hidden) // self.images, -1, -1).flatten(0, 1)
        return torch.cat([hidden[:, :at], tokens, hidden[:, at + tokens.shape[1] :]], dim=1)


def _same(hidden: Tensor) -> Tensor:
    return hidden
