"""Keys and bodies of answers: what makes two requests the same request, and how an answer is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from promptology.errors import StoreError
from promptology.models.access import Answer, Generates, Request


class Keys:
    """Numbers samples and hashes requests.

    A key is role, endpoint and model, sampling settings, content and sample index; the run's seed is in it where
    sampling is on. With a `salt` (the cache is off) an answer is durable for its own run and invisible to others.
    """

    def __init__(self, seed: int, salt: str | None) -> None:
        self.seed = seed
        self.salt = salt
        self._samples: dict[bytes, int] = {}

    def number(
        self, role: str, model: Generates, requests: Sequence[Request], fresh: bool
    ) -> tuple[list[Request], list[bytes]]:
        """Return the requests with sample index and seed, and their keys; `fresh` takes the next unused samples."""
        numbered: list[Request] = []
        for request in requests:
            if fresh:
                base = self.key(role, model, replace(request, sample=0, seed=None))
                sample = self._samples.get(base, 0)
                self._samples[base] = sample + 1
                request = replace(request, sample=sample)
            if request.temperature > 0 and request.seed is None:
                seed = hashlib.blake2b(f"{self.seed}:{request.sample}".encode(), digest_size=4).digest()
                request = replace(request, seed=int.from_bytes(seed, "big") >> 1)
            numbered.append(request)
        return numbered, [self.key(role, model, r) for r in numbered]

    def key(self, role: str, model: Generates, r: Request) -> bytes:
        """Return the key of a request."""
        identity = getattr(model, "identity", model.name)
        parts = [role, identity, r.messages, r.temperature, r.max_tokens, r.stop, r.sample, r.seed]
        if r.continuation is not None or r.injected is not None or r.choices:
            parts.append(r.continuation)
        if r.injected is not None or r.choices:
            parts.append(r.injected.digest if r.injected else None)
        if r.choices:
            parts += [r.choices, r.separator]
        return self.hash(parts)

    def hash(self, parts: list[Any]) -> bytes:
        """Return the hash of a JSON-like list, 16 bytes."""
        salted = parts if self.salt is None else [self.salt, *parts]
        text = json.dumps(salted, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def encode(answer: Answer) -> bytes:
    """Return the stored form of an answer."""
    body: list[Any] = [answer.text, answer.tokens_in, answer.tokens_out, answer.estimated, answer.truncated]
    if answer.logprob is not None or answer.simulated:
        body.append(answer.logprob)
    if answer.simulated:
        body.append(True)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decode(body: bytes) -> Answer:
    """Read back what `encode` wrote."""
    try:
        text, tokens_in, tokens_out, estimated, truncated, *rest = json.loads(body.decode("utf-8", "surrogatepass"))
    except (ValueError, TypeError):
        raise StoreError(
            "an answer in the store is damaged: put a copy of the store in its place, or move it away and start anew"
        ) from None
    return Answer(text, tokens_in, tokens_out, estimated, 1, truncated, *rest)
