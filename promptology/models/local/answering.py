"""Requests to a local model: encoded, grouped by what may run together, answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from promptology.errors import UsageError
from promptology.models.access import Answer, Failure, Injected, Outcome, Request, Vectors
from promptology.models.local.batching import Memory, in_batches
from promptology.models.local.body import Body
from promptology.models.local.decoding import Asked, decode
from promptology.models.local.scoring import score_all, score_suffixes
from promptology.models.local.tenants import Tenants
from promptology.models.local.trie import Trie, Tries

FEW = 16
"""Requests with one learned prompt, below which they are scored beside those with others."""
EXPECTED = 4
"""An answer is reckoned at max_tokens divided by this when batches are formed; most end long before it."""


class Answering:
    """Answers, scores and states of one loaded model."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.memory = Memory(body.model, body.device)
        self.tenants = Tenants(body)
        self.tries = Tries(body.reader, body.tokenizer.eos_token_id)

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as outcomes come in; a prompt that is too long is a failure for good."""
        failed, prompts = self._read(requests)
        yield from failed.items()
        ready = [n for n in range(len(requests)) if n not in failed]
        groups: dict[tuple[bool, str], list[int]] = {}
        for n in ready:
            request = requests[n]
            scored = request.continuation is not None
            digest = "" if request.injected is None else request.injected.digest
            groups.setdefault((scored, digest if scored else self.tenants.group(request.injected)), []).append(n)
        few: list[int] = []
        for (scored, _), members in groups.items():
            if not scored:
                yield from self._generated(members, requests, prompts)
            elif len(members) < FEW and self.tenants.mixes(requests[members[0]].injected):
                few += members
            else:
                yield from self._scored(members, requests, prompts)
        if few:
            yield from self._scored(few, requests, prompts)

    def _read(self, requests: Sequence[Request]) -> tuple[dict[int, Outcome], list[list[int]]]:
        """Return requests that cannot be answered, and the tokens of all prompts."""
        failed: dict[int, Outcome] = {}
        reader = self.body.reader
        distinct = {request.messages: n for n, request in reversed(list(enumerate(requests)))}
        try:
            found = dict(zip(distinct, reader.encode_all(list(distinct)), strict=True))
        except UsageError:  # one of them is refused: find out which
            found = {}
            for messages in distinct:
                try:
                    (found[messages],) = reader.encode_all([messages])
                except UsageError as error:
                    found[messages] = []
                    refused = Failure(str(error), transient=False)
                    failed.update((n, refused) for n, r in enumerate(requests) if r.messages == messages)
        prompts = [found[request.messages] for request in requests]
        for n, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            if n not in failed and (fault := self._fault(request, prompt)):
                failed[n] = Failure(fault, transient=False)
        return failed, prompts

    def _fault(self, request: Request, prompt: list[int]) -> str:
        """Return why a prompt cannot be read, empty where it can."""
        body = self.body
        if body.kind not in ("causal", "seq2seq"):
            return ""
        virtual = self.tenants.virtual(request.injected)
        more = 0 if body.kind == "seq2seq" else 1  # a token must follow
        if request.continuation is not None and body.kind == "causal":
            more = max(1, len(body.continuation(request.messages, request.continuation)))
        if len(prompt) + virtual + more <= body.max_tokens + (request.continuation is not None):
            return ""
        return body.reader.too_long(len(prompt), f" (and {virtual} learned ones)" if virtual else "")

    def _generated(
        self, members: Sequence[int], requests: Sequence[Request], prompts: Sequence[list[int]]
    ) -> Iterator[tuple[int, Outcome]]:
        asked = [
            Asked(requests[n], prompts[n], self._most(requests[n], prompts[n]), self._labels(requests[n]))
            for n in members
        ]
        lengths = [len(one.prompt) + one.most // EXPECTED for one in asked]
        each = [requests[n].injected for n in members]
        mixed = self.tenants.group(each[0]) != (each[0].digest if each[0] else None)

        def run(batch: list[int]) -> Iterator[tuple[int, Answer]]:
            some = [asked[i] for i in batch]
            if mixed:
                found = decode(self.body, some, self.tenants.showing([each[i] for i in batch]))
                yield from ((batch[place], answer) for place, answer in found)
                return
            # What is attached here would stay so while the caller has an answer in hand: first the whole batch.
            with self.body.lock, self.tenants.attached(each[0]):
                whole = list(decode(self.body, some, self.tenants.showing([])))
            yield from ((batch[place], answer) for place, answer in whole)

        for i, answer in in_batches(self.memory, self.body.name, lengths, run):
            yield members[i], answer

    def _most(self, request: Request, prompt: list[int]) -> int:
        """Return the number of tokens that an answer may have."""
        if self.body.kind == "causal":
            return min(request.max_tokens, self.body.max_tokens - len(prompt) - self.tenants.virtual(request.injected))
        positions = getattr(self.body.model.config, "max_position_embeddings", None)
        return min(request.max_tokens, int(positions) - 2) if positions else request.max_tokens

    def _labels(self, request: Request) -> Trie | None:
        """Return the labels that an answer is made of, None where it is free."""
        if not request.choices:
            return None
        return self.tries.trie(request.messages, request.choices, request.separator)

    def _scored(
        self, members: Sequence[int], requests: Sequence[Request], prompts: Sequence[list[int]]
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield answers with log-probabilities, of requests that take the same parts in, or prompts that mix."""
        by_prompt: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for n in members:
            injected = requests[n].injected
            by_prompt.setdefault(("" if injected is None else injected.digest, tuple(prompts[n])), []).append(n)
        rows = [list(prompt) for _, prompt in by_prompt]
        if self.body.kind == "masked":
            self.body.cut_short(
                [len(row) + 1 for row in rows if len(row) >= self.body.max_tokens], self.body.max_tokens
            )
        targets = [
            [self.body.continuation(requests[n].messages, requests[n].continuation or "") for n in some]
            for some in by_prompt.values()
        ]
        each = [requests[some[0]].injected for some in by_prompt.values()]
        alike = len({digest for digest, _ in by_prompt}) == 1
        values = self.scores(rows, targets, each[0]) if alike else self._mixed(rows, targets, each)
        for row, wanted, some, found in zip(rows, targets, by_prompt.values(), values, strict=True):
            for n, target, value in zip(some, wanted, found, strict=True):
                yield n, Answer("", len(row) + len(target), 0, False, 1, False, value)

    def scores(
        self, prompts: Sequence[list[int]], targets: Sequence[Sequence[list[int]]], injected: Injected | None = None
    ) -> list[list[float]]:
        """Return log p(target | prompt) in nats of each target of each prompt."""
        longest = max((len(p) + max(map(len, t), default=0) for p, t in zip(prompts, targets, strict=True)), default=0)
        share = self.tenants.shares(injected, longest + self.tenants.virtual(injected))
        with self.body.lock, self.tenants.attached(injected):
            return score_all(self.body, self.memory, prompts, targets, share=share)

    def _mixed(
        self, prompts: Sequence[list[int]], targets: Sequence[Sequence[list[int]]], each: Sequence[Injected | None]
    ) -> list[list[float]]:
        """Return the scores of prompts each of which sees its own learned prompt."""
        together, which = self.tenants.side_by_side(each)
        lengths = [len(row) + sum(map(len, some)) for row, some in zip(prompts, targets, strict=True)]

        def run(batch: list[int]) -> list[tuple[int, list[float]]]:
            rows, wanted = [prompts[n] for n in batch], [targets[n] for n in batch]
            prefix = together.take([which[n] for n in batch])
            found = score_suffixes(self.body, prefix, rows, wanted, tokens=self.memory.tokens)
            return list(zip(batch, found, strict=True))

        found = dict(in_batches(self.memory, self.body.name, lengths, run))
        return [found[n] for n in range(len(prompts))]

    def states(self, texts: Sequence[str], injected: Injected | None = None, layers: int = 0) -> Vectors:
        """Return pooled states, float32 (n, d); a text too long is read from its beginning."""
        body = self.body
        if not texts:
            return np.zeros((0, body.dimension), np.float32)
        rows = body.shortened(body.reader.ids(texts), room=self.tenants.virtual(injected))

        def run(batch: list[int]) -> list[tuple[int, Any]]:
            with body.quiet():
                found = body.pooled([rows[i] for i in batch], layers)
            return list(zip(batch, found.cpu().numpy(), strict=True))

        vectors: dict[int, Any] = {}
        with body.lock, self.tenants.attached(injected):
            vectors.update(in_batches(self.memory, body.name, [len(row) for row in rows], run))
        return np.stack([vectors[n] for n in range(len(rows))]).astype(np.float32, copy=False)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32 (n, d)."""
        states = torch.from_numpy(self.states(texts))
        unit: Vectors = torch.nn.functional.normalize(states, dim=-1).numpy()
        return unit
