"""Generation, one batch at a time: every request decodes as if it were alone.

Greedy at temperature 0, else the inverse of the distribution at a number that the request's own generator draws, so
that an answer depends on its request and seed, not on its neighbours. Rows that are finished leave the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from promptology.models.access import Answer, Request
from promptology.models.local.body import Body, Rows
from promptology.models.local.caches import cache_name, cache_of, takes
from promptology.models.local.trie import Trie, held

SLACK = 4
"""Tokens beyond the bytes of a stop mark that may hold its first and last characters."""
Showing = Callable[[Sequence[int]], AbstractContextManager[Any]]
"""Makes what is attached while these rows (positions in the batch as it began) run."""


class Asked(NamedTuple):
    """A request with its prompt's tokens, the number that may be generated, and the labels it is held to if any."""

    request: Request
    prompt: list[int]
    most: int
    trie: Trie | None = None


class _Row:
    """One request on its way."""

    def __init__(self, body: Body, place: int, asked: Asked, ends: frozenset[int]) -> None:
        self.place, self.asked, self.ends, self.tokenizer = place, asked, ends, body.tokenizer
        self.out: list[int] = []
        self.labels = asked.trie.begin() if asked.trie else None
        self.marks = [mark for mark in asked.request.stop if mark]
        self.window = max((len(mark.encode("utf-8", "replace")) for mark in self.marks), default=0) + SLACK
        self.generator: Any = None
        if asked.request.temperature > 0:
            self.generator = torch.Generator()
            request = asked.request
            self.generator.manual_seed(request.sample if request.seed is None else request.seed)

    def draw(self) -> float:
        """Return the next number in [0, 1) of this request."""
        return float(torch.rand((), generator=self.generator, dtype=torch.float64)) if self.generator else 0.0

    def allowed(self) -> list[int] | None:
        """Return the tokens that may follow, None where all may."""
        return self.labels.allowed(self.asked.most - len(self.out)) if self.labels else None

    def take(self, token: int) -> Answer | None:
        """Add a token; return the answer where it ends here."""
        self.out.append(token)
        if self.labels:
            self.labels.take(token)
        if token in self.ends:
            return self._answer(self.out[:-1], False)
        if self.marks:
            tail = self._text(self.out[-self.window :])
            if any(mark in tail for mark in self.marks) and self._cut(self._text(self.out)) is not None:
                return self._answer(self.out, False)
        return self._answer(self.out, True) if len(self.out) >= self.asked.most else None

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _cut(self, text: str) -> str | None:
        """Return a text up to its first stop mark, None where it holds none."""
        places = [at for mark in self.marks if (at := text.find(mark)) >= 0]
        return text[: min(places)] if places else None

    def _answer(self, tokens: list[int], truncated: bool) -> Answer:
        text = self._text(tokens)
        cut = self._cut(text)
        return Answer(
            text if cut is None else cut,
            tokens_in=len(self.asked.prompt),
            tokens_out=len(self.out),
            estimated=False,
            truncated=truncated and cut is None,
        )


def decode(body: Body, batch: Sequence[Asked], showing: Showing) -> Iterator[tuple[int, Answer]]:
    """Yield (position in the batch, answer) as rows finish. The lock is free while the caller has an answer in hand."""
    ends = end_tokens(body)
    rows = [_Row(body, place, asked, ends) for place, asked in enumerate(batch)]
    steps = stepping(body, [asked.prompt for asked in batch])
    while rows:
        finished: list[tuple[int, Answer]] = []
        with body.quiet(), showing([row.place for row in rows]):
            while not finished:
                tokens = chosen(body.logits(steps.states()), rows)
                came = [row.take(token) for row, token in zip(rows, tokens, strict=True)]
                finished = [(row.place, answer) for row, answer in zip(rows, came, strict=True) if answer is not None]
                going = [n for n, answer in enumerate(came) if answer is None]
                steps.next([tokens[n] for n in going], going if finished else None)
                rows = [rows[n] for n in going]
        yield from finished


def stepping(body: Body, prompts: Rows) -> _Pair | _Causal:
    """Return a batch of prompts that is read token by token: `states()`, then `next(tokens, going)`."""
    return _Pair(body, prompts) if body.kind == "seq2seq" else _Causal(body, prompts)


def chosen(logits: Tensor, rows: Sequence[_Row]) -> list[int]:
    """Return the next token of each row."""
    logits = held(logits, [row.allowed() for row in rows])
    best: list[int] = logits.argmax(dim=-1).tolist()
    drawing = [n for n, row in enumerate(rows) if row.generator is not None]
    if drawing:
        heat = torch.tensor([rows[n].asked.request.temperature for n in drawing], dtype=torch.float64)
        numbers = torch.tensor([rows[n].draw() for n in drawing], dtype=torch.float64)
        wanted = logits[drawing].float().cpu().double() / heat[:, None]
        below = torch.softmax(wanted, dim=-1).cumsum(dim=-1)
        # The last entry is 1 but for rounding, and every number is below it.
        places = torch.searchsorted(below, numbers[:, None] * below[:, -1:], right=True)[:, 0]
        for n, token in zip(drawing, places.clamp(max=logits.shape[-1] - 1).tolist(), strict=True):
            best[n] = token
    return best


def end_tokens(body: Body) -> frozenset[int]:
    """Return the tokens that end an answer: the tokenizer's, and those that the model's settings of generation name."""
    named = [body.tokenizer.eos_token_id]
    for config in (getattr(body.model, "generation_config", None), body.model.config):
        found = getattr(config, "eos_token_id", None)
        named += list(found) if isinstance(found, list | tuple) else [found]
    return frozenset(int(token) for token in named if token is not None)


class _Causal:
    """A batch of prompts, padded on the left, with the keys and values of what was read."""

    def __init__(self, body: Body, prompts: Rows) -> None:
        self.body = body
        self.tokens, self.mask = body.padded(prompts, left=True)
        self.positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        self.cache: Any = None

    def states(self) -> Tensor:
        """Read the waiting tokens and return each row's last state, (rows, d)."""
        given = {} if self.cache is None else {cache_name(self.body.model.base_model): self.cache}
        out = self.body.model.base_model(
            input_ids=self.tokens, attention_mask=self.mask, use_cache=True, **self._place(), **given
        )
        self.cache = cache_of(out)
        states: Tensor = out.last_hidden_state[:, -1]
        return states

    def _place(self) -> dict[str, Tensor]:
        return {"position_ids": self.positions} if takes(self.body.model.base_model, "position_ids") else {}

    def next(self, tokens: list[int], going: list[int] | None) -> None:
        """Take the next token of the rows that go on; `going`: their positions where others leave."""
        if going is not None:
            index = torch.tensor(going, dtype=torch.long, device=self.mask.device)
            self.mask, self.positions = self.mask[index], self.positions[index]
            if going:
                self.cache.batch_select_indices(index)
        self.tokens = torch.tensor(tokens, dtype=torch.long, device=self.mask.device)[:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.mask), 1))], dim=1)
        self.positions = self.positions[:, -1:] + 1


class _Pair:
    """A batch of inputs that the encoder reads once, and the decoder's tokens so far."""

    def __init__(self, body: Body, prompts: Rows) -> None:
        self.body, self.prompts = body, prompts
        self.tokens = torch.tensor([body.start] * len(prompts), dtype=torch.long, device=body.device)
        self.encoder: Any = None
        self.cache: Any = None

    def states(self) -> Tensor:
        """Read the waiting tokens and return each row's last state, (rows, d)."""
        if self.encoder is None:
            self.encoder = self.body.hidden(self.prompts)
        decoder = self.body.model.get_decoder()
        given = {} if self.cache is None else {cache_name(decoder): self.cache}
        out = decoder(
            input_ids=self.tokens,
            encoder_hidden_states=self.encoder.states,
            encoder_attention_mask=self.encoder.mask,
            use_cache=True,
            **given,
        )
        self.cache = cache_of(out)
        states: Tensor = out.last_hidden_state[:, -1]
        return states

    def next(self, tokens: list[int], going: list[int] | None) -> None:
        """Take the next token of the rows that go on; `going`: their positions where others leave."""
        if going is not None:
            index = torch.tensor(going, dtype=torch.long, device=self.body.device)
            self.encoder = type(self.encoder)(self.encoder.states[index], self.encoder.mask[index])
            if going:
                self.cache.batch_select_indices(index)
        self.tokens = torch.tensor(tokens, dtype=torch.long, device=self.body.device)[:, None]
