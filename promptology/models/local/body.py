"""The frozen model inside: tokens in, hidden states, logits and log-probabilities out, with gradients where wanted."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from promptology.errors import ModelError, UsageError
from promptology.injection import attach, encode_prefix, sites_of
from promptology.injection.attaching import counts_tokens
from promptology.injection.capturing import capture
from promptology.injection.modules import answers_at
from promptology.models.access import Message
from promptology.models.local.reading import Reader, clean, limit_of

log = logging.getLogger("promptology")

SHARED = 8
"""Tokens that all prompts of a batch must begin with, at least, to be worth a pass of their own."""
NORM_ROWS = 5000
"""Rows of the embedding table, at most, whose mean length is `norm`."""
Rows = Sequence[Sequence[int]]
_LOCKS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""One lock per torch model, however often it was opened: what is attached, is attached to the model."""


class Hidden(NamedTuple):
    """Last hidden states (B, n, d) and which tokens are there, int64 (B, n)."""

    states: Tensor
    mask: Tensor


class Body:
    """A loaded transformers model with its tokenizer: evaluation mode, no parameter requires a gradient.

    What is attached to `model` (`injection.attach`) takes part in every call here, and gradients flow to it.

    - `kind`: causal, masked, seq2seq or encoder; `sites`: what can be attached where
    - `dimension`: width d of the input embeddings; `embeddings`: their table, (V, d), a view of the weights
    - `norm`: mean length of its rows; `max_tokens`: longest input; `chat`: messages go through a chat template
    - `lock`: held during forward passes that must not mix with another thread's
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        kind: str,
        name: str,
        *,
        chat: bool = False,
        pooling: str = "",
        max_tokens: int = 0,
    ) -> None:
        self.model, self.tokenizer, self.kind, self.name = model, tokenizer, kind, name
        model.requires_grad_(False).eval()
        self.sites = sites_of(model)
        self.device = next(model.parameters()).device
        table = model.get_input_embeddings().weight
        self.dtype = table.dtype
        if len(tokenizer) > len(table):
            raise ModelError(
                f"{name}: its tokenizer has {len(tokenizer)} tokens and its embedding table {len(table)} rows; "
                "they do not belong together, or the table was not resized"
            )
        self.max_tokens = limit_of(model, tokenizer, max_tokens)
        self.reader = Reader(tokenizer, kind, name=name, chat=chat, limit=self.max_tokens)
        self.reader.check()
        self.chat = chat
        self.pooling = pooling or {"causal": "last"}.get(kind, "mean")
        self.lock = _LOCKS.setdefault(model, threading.RLock())
        self.truncated = 0
        self._norm: float | None = None
        self._slots = _slots(model, kind)

    @property
    def embeddings(self) -> Tensor:
        """The input embedding table, (V, d), detached."""
        table: Tensor = self.model.get_input_embeddings().weight.detach()
        return table

    @property
    def dimension(self) -> int:
        """Width of the input embeddings."""
        return int(self.embeddings.shape[1])

    @property
    def norm(self) -> float:
        """Mean L2 norm of the table's rows, over its first 5,000 that are no special tokens."""
        if self._norm is None:
            special = set(self.tokenizer.all_special_ids)
            size = min(len(self.embeddings), len(self.tokenizer))
            rows = [n for n in range(min(size, NORM_ROWS + len(special))) if n not in special][:NORM_ROWS]
            self._norm = float(self.embeddings[rows].float().norm(dim=1).mean())
        return self._norm

    # Tokens

    def encode(self, messages: Sequence[Message] | str, *, room: int = 0) -> list[int]:
        """Return the tokens of a prompt: messages by the chat template where there is one, a text as it is.

        `room`: positions to leave for virtual tokens. Raises UsageError where a causal model or an encoder-decoder
        cannot read so much; an encoder reads the beginning, and says so once.
        """
        (row,) = self.reader.encode_all([messages])
        if len(row) + room > self.max_tokens and self.kind in ("causal", "seq2seq"):
            raise UsageError(self.reader.too_long(len(row), f" (and {room} learned ones)" if room else ""))
        return self.shortened([row], room=room)[0]

    def shortened(self, rows: Rows, *, room: int = 0) -> list[list[int]]:
        """Return rows cut to the longest input less `room`; the first cut is said aloud, `truncated` counts all."""
        most = self.max_tokens - room
        self.cut_short([len(row) for row in rows if len(row) > most], most)
        return [self.reader.cut(list(row), most) for row in rows]

    def cut_short(self, lengths: Sequence[int], most: int) -> None:
        """Count texts of these lengths that are read up to their first `most` tokens; the first time it is said."""
        if lengths and not self.truncated:
            log.warning("%s reads the first %d tokens of longer texts (here %d)", self.name, most, lengths[0])
        self.truncated += len(lengths)

    def continuation(self, messages: Sequence[Message] | str, text: str, *, end: bool = False) -> list[int]:
        """Return the tokens of a continuation behind a prompt; `end`: with the end token.

        Of an encoder-decoder: of the target. Of a masked model: the one token of a label word; UsageError where it
        falls into several.
        """
        return self.reader.continuation(messages, text, end=end)

    def padded(self, rows: Rows, left: bool = False) -> tuple[Tensor, Tensor]:
        """Return token ids and mask, int64 (B, n), padded on the right or on the left."""
        longest = max(map(len, rows))
        filled = [[self.reader.pad] * (longest - len(row)) for row in rows]
        whole = [[*f, *row] if left else [*row, *f] for f, row in zip(filled, rows, strict=True)]
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        places = torch.arange(longest)[None]
        mask = (places >= longest - lengths if left else places < lengths).long()
        return torch.tensor(whole, dtype=torch.long).to(self.device), mask.to(self.device)

    # Forward passes

    def hidden(self, rows: Rows) -> Hidden:
        """Return the last hidden states of token rows, padded on the right, of an encoder-decoder those of its encoder.

        Virtual tokens that an encoder keeps for its decoder stand in front, and the mask says so.
        """
        ids, mask = self.padded(rows)
        with self.lock:
            stack = self.model.get_encoder() if self.kind == "seq2seq" else self.model.base_model
            out = stack(input_ids=ids, attention_mask=mask, **({"use_cache": False} if self.kind == "causal" else {}))
        states = out.last_hidden_state
        kept = states.shape[1] - mask.shape[1]
        if kept > 0:
            mask = torch.cat([mask.new_ones((len(mask), kept)), mask], dim=1)
        return Hidden(states, mask)

    def pooled(self, rows: Rows, layers: int = 0) -> Tensor:
        """Return one state per row, float32 (B, d): mean over the text's tokens, its first or its last one.

        `layers`: the maximum over so many last layers instead, of a masked model at the mask; see `State`.
        """
        if layers:
            return self._largest(rows, layers)
        return self._pool(*self.hidden(rows), max(map(len, rows)))

    def _largest(self, rows: Rows, layers: int) -> Tensor:
        """Return the element-wise maximum over the last layers' states."""
        placed = [self.reader.masked(list(row)) for row in rows] if self.kind == "masked" else []
        rows = [row for row, _ in placed] or rows
        stack = next(iter(self.sites.stacks))
        depth = self.sites.layers[stack]
        # What enters a block is what the one before it gave; the last one's is normed as the stack's own states are.
        before = [f"{stack}.layer[{i}]" for i in range(max(1, depth - layers + 1), depth)]
        with capture(self.model, before) as captured:
            last, mask = self.hidden(rows)
        found, longest = [*captured.values(), last], max(map(len, rows))
        if placed:
            at = torch.tensor([place for _, place in placed], device=last.device) - longest
            each = [states[torch.arange(len(rows)), states.shape[1] + at].float() for states in found]
        else:
            each = [self._pool(states, mask, longest) for states in found]
        return torch.stack(each).amax(dim=0)

    def _pool(self, states: Tensor, mask: Tensor, longest: int) -> Tensor:
        states, mask = states[:, -longest:], mask[:, -longest:]
        if self.pooling == "first":
            return states[:, 0].float()
        if self.pooling == "last":
            last = mask.sum(dim=1) - 1
            return states[torch.arange(len(states), device=states.device), last].float()
        weight = mask.unsqueeze(-1).to(states.dtype)
        return ((states * weight).sum(dim=1) / weight.sum(dim=1)).float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the language-model head's logits (..., V) of hidden states (..., d), at no other position."""
        flat = hidden.reshape(1, -1, hidden.shape[-1])
        ids = torch.zeros(flat.shape[:2], dtype=torch.long, device=flat.device)
        given: dict[str, Any] = {"input_ids": ids}
        if self.kind == "seq2seq":
            given = {"decoder_input_ids": ids, "encoder_outputs": _Given(flat[:, :1])}
        with self.lock:
            while self._slots:
                out = self._through(*self._slots[0], flat, given)
                if out is not None:
                    found: Tensor = out.reshape(*hidden.shape[:-1], out.shape[-1])
                    return found
                self._slots.pop(0)  # the head sits on another of the model's parts
        raise UsageError(f"{self.name} has no language-model head; use its pooled states")

    def _through(self, owner: Any, key: str, flat: Tensor, given: dict[str, Any]) -> Tensor | None:
        """Return the logits of the model's own forward with one part stood in for, None where it never asks that part.

        So the scaling, biases and caps of its head are followed, whatever they are.
        """
        part = owner._modules[key]
        stand = owner._modules[key] = _Stand(part, flat)
        try:
            out: Tensor = self.model(**given).logits
        finally:
            owner._modules[key] = part
        return out if stand.asked else None

    def decoded(self, encoder: Hidden, rows: Rows) -> Tensor:
        """Return the decoder's last hidden states (B, n, d) for target rows, which begin with the start token."""
        ids, _ = self.padded(rows)
        with self.lock:
            out = self.model.get_decoder()(
                input_ids=ids,
                encoder_hidden_states=encoder.states,
                encoder_attention_mask=encoder.mask,
                use_cache=False,
            )
        states: Tensor = out.last_hidden_state
        return states

    @property
    def start(self) -> list[int]:
        """The tokens that a decoder's target begins with; a first token that the model is held to (BART's) is one."""
        forced = getattr(getattr(self.model, "generation_config", None), "forced_bos_token_id", None)
        more = [] if forced is None else [int(forced)]
        for config in (getattr(self.model, "generation_config", None), self.model.config):
            token = getattr(config, "decoder_start_token_id", None)
            if token is not None:
                return [int(token), *more]
        return [self.reader.pad, *more]

    def target_logprobs(self, prompts: Rows, targets: Rows, *, reduce: str = "sum", share: bool = True) -> Tensor:
        """Return log p(target | prompt) in nats, float32 (B,), summed over the target's tokens or their "mean".

        Logits are computed at the target's positions only. Of a masked model a target is one token, at the mask that
        the prompt holds or that is put behind it. `share`: a beginning that all prompts of a causal model have (an
        instruction) is run once, gradients included, where nothing attached counts the text's tokens.
        """
        if reduce not in ("sum", "mean"):
            raise UsageError(f"reduce is sum or mean, not {reduce!r}")
        common = self._common(prompts, targets) if share else 0
        if common:
            prefix = encode_prefix(self.model, input_ids=self.padded([prompts[0][:common]])[0])
            with attach(self.model, [], prefixes=[prefix]):
                return self.target_logprobs([row[common:] for row in prompts], targets, reduce=reduce, share=False)
        counts = torch.tensor([len(target) for target in targets], device=self.device)
        states, wanted = self.target_states(prompts, targets)
        values = self.logprobs(states, wanted)
        owner = torch.repeat_interleave(torch.arange(len(targets), device=self.device), counts)
        sums = torch.zeros(len(targets), dtype=torch.float32, device=self.device).index_add(0, owner, values)
        return sums if reduce == "sum" else sums / counts.clamp(min=1)

    def _common(self, prompts: Rows, targets: Rows) -> int:
        """Return how many tokens all prompts begin with, 0 where running them apart would gain or equal nothing."""
        window = getattr(self.model.config, "sliding_window", None)
        longest = max((len(p) + len(t) for p, t in zip(prompts, targets, strict=True)), default=0)
        if self.kind != "causal" or len(self.sites.stacks) > 1 or len(prompts) < 2 or (window and longest > window):
            return 0
        if counts_tokens(self.model):
            return 0
        stack = next(iter(self.sites.stacks))
        most = min(map(len, prompts)) - 1
        same = (len({row[n] for row in prompts}) == 1 for n in range(most))
        common = next((n for n, one in enumerate(same) if not one), most)
        return 0 if common < SHARED or f"{stack}.key_value" in self.sites.missing else common

    def target_states(self, prompts: Rows, targets: Rows) -> tuple[Tensor, Tensor]:
        """Return the states that predict each target token, (sum of lengths, d), and those tokens."""
        wanted = torch.tensor([t for target in targets for t in target], dtype=torch.long, device=self.device)
        counts = [len(target) for target in targets]
        if self.kind == "masked":
            if set(counts) - {1}:
                raise UsageError(f"{self.name}: a masked model scores targets of one token, at one mask")
            placed = [self.reader.masked(list(row)) for row in prompts]
            rows, first = [row for row, _ in placed], [at for _, at in placed]
            states = self.hidden(rows).states
        elif self.kind == "seq2seq":
            states = self.decoded(
                self.hidden(prompts), [[*self.start, *target][:-1] or self.start for target in targets]
            )
            first = [len(self.start) - 1] * len(targets)
        else:
            rows = [[*prompt, *target[:-1]] for prompt, target in zip(prompts, targets, strict=True)]
            with answers_at([len(prompt) for prompt in prompts]):
                states = self.hidden(rows).states
            first = [len(prompt) - 1 for prompt in prompts]
        owner = [n for n, count in enumerate(counts) for _ in range(count)]
        place = [at + k for at, count in zip(first, counts, strict=True) for k in range(count)]
        index = torch.tensor([owner, place], dtype=torch.long, device=self.device)
        return states[index[0], index[1]], wanted

    def logprobs(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return log p(token) at states (N, d), float32 (N,)."""
        if not len(tokens):
            return torch.zeros(0, dtype=torch.float32, device=self.device)
        logits = self.logits(states).float()
        return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Forward passes without gradients, one thread at a time."""
        with self.lock, torch.no_grad():
            yield

    def movable(self) -> tuple[str, ...]:
        """Return the names of floating-point weights, as in the state dict; quantised ones may not move."""
        return tuple(n for n, p in self.model.named_parameters() if p.is_floating_point() and not _quantised(p))

    def parameters(self) -> int:
        """Return the number of parameters; a quantised one counts as what it stands for."""
        return sum(int(getattr(p, "quant_state", p).shape.numel()) for p in self.model.parameters())

    def __repr__(self) -> str:
        return f"Body({self.name}, {self.kind}, {self.device}, {str(self.dtype).removeprefix('torch.')})"


def _quantised(parameter: Any) -> bool:
    return hasattr(parameter, "quant_state") or type(parameter).__name__ in ("Params4bit", "Int8Params")


class _Given:
    """What a stack returns, as far as a head looks at it."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state,)[index]

    def __len__(self) -> int:
        return 1


class _Stand(nn.Module):
    """Stands where a stack does and returns hidden states that are known already."""

    def __init__(self, stack: Any, hidden: Tensor) -> None:
        super().__init__()
        self.__dict__.update(stack=stack, hidden=hidden, asked=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stack"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the known states."""
        self.__dict__["asked"] = True
        return _Given(self.hidden)


def _slots(model: Any, kind: str) -> list[tuple[Any, str]]:
    """Return the parts that a language-model head may sit on, each as the module that holds it and its name there."""
    if kind == "encoder":
        return []
    inner = model.get_decoder() if hasattr(model, "get_decoder") else None
    parts = [inner] if kind == "seq2seq" else [model.base_model, inner]
    owners = [(part, m, key) for part in parts for m in model.modules() for key, c in m._modules.items() if c is part]
    return [(owner, key) for part, owner, key in owners if part is not None and part is not model]


__all__ = ["Body", "Hidden", "clean"]
