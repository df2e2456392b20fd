"""Models behind an OpenAI-compatible server: hosted, vLLM, Ollama, or any other that speaks the protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from promptology.errors import ModelError
from promptology.models import _completions_wire, _embeddings_wire, _http_wire
from promptology.models._endpoint import Endpoint
from promptology.models.access import Answer, Failure, Outcome, Request, Vectors
from promptology.models.loop import stream

ATTEMPTS = 5


class Generating(Endpoint):
    """What endpoints that answer in text share."""

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as answers come in, each request at most `attempts` times."""
        return stream(lambda deliver: self._all(requests, attempts, deliver))


class ChatEndpoint(Generating):
    """A chat-completions endpoint; offers `Generates`. Settings and promises are those of `Endpoint`."""

    scheme = "openai"
    path = "/chat/completions"

    def _body(self, request: Request, dialect: _http_wire.Dialect) -> bytes:
        return dialect.body(self.name, request)

    def _read(self, body: bytes, request: Request, attempt: int) -> Answer:
        return _http_wire.read_reply(body, request, attempt)


class CompletionsEndpoint(Generating):
    """A plain completions endpoint, for base models; offers `Generates` and `Scores`.

    Messages are sent as their contents with a blank line between. A request with a `continuation` is answered by its
    log-probability, which takes a server that echoes the prompt with log-probabilities (vLLM, llama-cpp-python with
    logits_all, some hosted ones); the first reply of one that does not raises ModelError. Settings and promises are
    those of `Endpoint`.
    """

    scheme = "completions"
    path = "/completions"

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return log p(choice | prompt) in nats for each prompt and each of its choices.

        Raises ModelError where one is missing after five attempts. In a run, the handle's `score` is the metered way.
        """
        asked = [
            Request.user(prompt, continuation=choice)
            for prompt, some in zip(prompts, choices, strict=True)
            for choice in some
        ]
        values = [0.0] * len(asked)
        for index, outcome in self.generate(asked, ATTEMPTS):
            if isinstance(outcome, Failure) or outcome.logprob is None:
                reason = outcome.reason if isinstance(outcome, Failure) else "the reply holds none"
                raise ModelError(f"{self.name} at {self.url}: a log-probability is missing ({reason})")
            values[index] = outcome.logprob
        left = iter(values)
        return [[next(left) for _ in some] for some in choices]

    def _body(self, request: Request, dialect: _http_wire.Dialect) -> bytes:
        return _completions_wire.body(self.name, request, dialect)

    def _read(self, body: bytes, request: Request, attempt: int) -> Answer:
        return _completions_wire.read_reply(body, request, attempt)


class EmbeddingsEndpoint(Endpoint):
    """An embeddings endpoint; offers `Embeds`. Settings and promises are those of `Endpoint`.

    Several texts go into one request, at most `texts_per_call`. A run asks by `requests`, so that each request is
    charged as a call with the tokens that the server reports (bytes / 4 where it reports none), never as passes; limits
    hold for retries too, and what was answered is kept under name, address and texts.
    """

    scheme = "embeddings"
    path = "/embeddings"
    texts_per_call = _embeddings_wire.TEXTS

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32, shape (len(texts), dimension).

        Raises ModelError where some are missing after five attempts. In a run, the handle's `embed` is the metered way.
        """
        requests = self.requests(texts)
        answers: dict[int, Answer] = {}
        outcomes: Iterator[tuple[int, Outcome]] = stream(lambda deliver: self._all(requests, ATTEMPTS, deliver))
        for index, outcome in outcomes:
            if isinstance(outcome, Failure):
                raise ModelError(f"{self.name} at {self.url} gave no vectors ({outcome.reason})")
            answers[index] = outcome
        return self.vectors([len(r.messages) for r in requests], [answers[n] for n in range(len(requests))])

    def requests(self, texts: Sequence[str]) -> list[Request]:
        """Return the requests for the vectors of texts; the messages of each are its texts."""
        return _embeddings_wire.packed(texts)

    def vectors(self, texts: Sequence[int], answers: Sequence[Answer], dimension: int = 0) -> Vectors:
        """Return the vectors in answers to requests of so many texts; ModelError where they differ in dimension."""
        found = [_embeddings_wire.vectors_in(answer.text, n) for n, answer in zip(texts, answers, strict=True)]
        widths = {len(some[0]) for some in found} | ({dimension} if dimension else set())
        if len(widths) > 1:
            raise ModelError(
                f"{self.name} at {self.url} gave vectors of {' and '.join(map(str, sorted(widths)))} numbers: another "
                "model stands behind this name now; ask anew with --cache off"
            )
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def _body(self, request: Request, dialect: _http_wire.Dialect) -> bytes:
        return _embeddings_wire.body(self.name, request)

    def _read(self, body: bytes, request: Request, attempt: int) -> Answer:
        return _embeddings_wire.read_reply(body, request, attempt)

    def _judge(
        self,
        reply: _http_wire.Reply,
        request: Request,
        sent: _http_wire.Dialect,
        secrets: _http_wire.Secrets,
        attempt: int,
    ) -> Outcome | ModelError:
        got = super()._judge(reply, request, sent, secrets, attempt)
        if isinstance(got, Failure) and _embeddings_wire.says_too_long(reply.status, got.reason):
            reason = f"a text is too long for {secrets.scrub(self.name)}, shorten it ({got.reason})"
            return replace(got, reason=reason, transient=False)
        return got
