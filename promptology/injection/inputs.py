"""What a stack is called with, changed step by step: embeddings, prepended tokens, masks and positions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from promptology.errors import UsageError
from promptology.injection.arch import find
from promptology.injection.arch.table import Stack
from promptology.injection.filling import Rows, padded
from promptology.injection.modules import Spans, answers_in
from promptology.injection.watching import spread

CACHES = ("cache", "past_key_values")
"""Names of the argument that holds a cache, over the versions of transformers."""


@cache
def names_of(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of what a forward function takes, in order; to look them up anew would cost at every pass."""
    names = (name for name in inspect.signature(forward).parameters if name not in ("self", "args", "kwargs"))
    return tuple(names)


class Inputs:
    """The arguments of one call of a stack. `given` holds them by name as they will be passed on."""

    def __init__(self, module: Any, stack: Stack, config: Any, given: dict[str, Any]) -> None:
        self.module, self.stack, self.config, self.given = module, stack, config, dict(given)
        cache: Any = next((given[name] for name in CACHES if given.get(name) is not None), None)
        self.past = int(cache.get_seq_length()) if hasattr(cache, "get_seq_length") else 0
        self.prompt_mask: Tensor | None = None
        self.spans = self._spans()

    @property
    def _tokens(self) -> Tensor:
        tokens = self.given.get("input_ids")
        found: Tensor = self.given["inputs_embeds"] if tokens is None else tokens
        return found

    def _spans(self) -> Spans:
        given = self.given.get("input_ids")
        given = self.given.get("inputs_embeds") if given is None else given
        if given is None:  # a tower of images
            return Spans(torch.zeros((1, 1), dtype=torch.long), self.past)
        rows, length = given.shape[:2]
        mask = self.given.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2:
            counted = mask.long().cumsum(dim=1)[:, -length:] - 1
            positions = counted.masked_fill(mask[:, -length:] == 0, -1)
        else:
            positions = torch.arange(self.past, self.past + length, device=given.device).expand(rows, -1)
        return Spans(positions, self.past, None if self.past else answers_in(positions))

    def embed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace token ids by their embeddings, changed."""
        ids = self.given.pop("input_ids", None)
        if ids is not None:
            self._place_by_ids(ids)
            self.given["inputs_embeds"] = find(self.module, self.stack.embeddings)(ids)
        self.given["inputs_embeds"] = change(self.given["inputs_embeds"])

    def prepend(self, prompts: Sequence[Rows]) -> int:
        """Put virtual tokens in front of every row; return how many. Later steps of a cache only widen the mask."""
        tokens, seen = padded(prompts, left=True)
        front, rows = int(tokens.shape[1]), int(self._tokens.shape[0])
        self.prompt_mask = seen
        mask = self.given.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() != 2:
            raise UsageError("virtual tokens at input need a mask of shape (rows, tokens)")
        self._place(front, seen)
        if mask is None and seen is not None:
            mask = torch.ones((rows, self.past + self._tokens.shape[1]), dtype=torch.long, device=tokens.device)
        if mask is not None:
            ahead = mask.new_ones((rows, front)) if seen is None else spread(seen, rows).to(mask.dtype)
            self.given["attention_mask"] = torch.cat([ahead, mask], dim=1)
        if self.past:
            return 0
        self.embed(lambda hidden: torch.cat([spread(tokens, rows).to(hidden.dtype), hidden], dim=1))
        types = self.given.get("token_type_ids")
        if types is not None:
            self.given["token_type_ids"] = torch.cat([types[:, :1].expand(-1, front), types], dim=1)
        return front

    def _place(self, front: int, seen: Tensor | None) -> None:
        """Set positions of virtual tokens and text: virtual tokens first, padding counts for nothing."""
        if self.stack.positions == "none" or not self._takes_positions():
            return
        text = self._positions()
        rows = text.shape[0] if seen is None else self._tokens.shape[0]
        first = self._first
        if seen is None:
            ahead = torch.arange(front, device=text.device)[None].expand(rows, -1) + first
            shift: Any = front
        else:
            seen = spread(seen, rows)
            ahead = (seen.long().cumsum(dim=1) - 1).clamp(min=0) + first
            shift = seen.sum(dim=1, keepdim=True)
        text = text.expand(rows, -1)
        moved = torch.where(text >= first, text + shift, text)
        self.given["position_ids"] = moved if self.past else torch.cat([ahead, moved], dim=1)
        self._check(self.given["position_ids"])

    def shift(self, lengths: int | Tensor) -> None:
        """Move the positions of the text behind tokens that stand before it."""
        if self.stack.positions == "none" or not self._takes_positions():
            return
        text = self._positions()
        if isinstance(lengths, Tensor):
            rows = self._tokens.shape[0]
            text, lengths = text.expand(rows, -1), spread(lengths[:, None], rows)
        self.given["position_ids"] = torch.where(text >= self._first, text + lengths, text)
        self._check(self.given["position_ids"])

    @property
    def _first(self) -> int:
        """The first position of a text."""
        return int(self.config.pad_token_id or 0) + 1 if self.stack.positions == "padded" else 0

    def _positions(self) -> Tensor:
        """Return the positions of the tokens as the stack would take them."""
        given = self.given.get("position_ids")
        if given is not None:
            return given if given.dim() == 2 else given[None]
        tokens = self._tokens
        if self.stack.positions == "padded":
            return self._behind_padding(self.given.get("input_ids"))
        return torch.arange(self.past, self.past + tokens.shape[1], device=tokens.device)[None]

    def _behind_padding(self, ids: Tensor | None) -> Tensor:
        padding = int(self.config.pad_token_id or 0)
        tokens, mask = self._tokens, self.given.get("attention_mask")
        if ids is not None:
            real = (ids != padding).long()
        elif isinstance(mask, Tensor) and mask.dim() == 2:
            real = mask[:, -tokens.shape[1] :].long()
        else:
            real = torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
        return real.cumsum(dim=1) * real + padding

    def _place_by_ids(self, ids: Tensor) -> None:
        """Keep the positions that the stack would read off token ids, which it will not see."""
        if self.stack.positions == "padded" and self.given.get("position_ids") is None:
            self.given["position_ids"] = self._behind_padding(ids)

    def _takes_positions(self) -> bool:
        return "position_ids" in names_of(type(self.module).forward)

    def _check(self, positions: Tensor) -> None:
        limit = getattr(self.config, "max_position_embeddings", None)
        if limit and positions.numel() and int(positions.max()) >= limit:
            raise UsageError(
                f"prompt and text take {int(positions.max()) + 1 - self._first} positions, the model has "
                f"{limit - self._first}: take a shorter prompt or shorter texts"
            )
