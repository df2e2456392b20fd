"""Models behind an OpenAI-compatible server: hosted, vLLM, Ollama, or any other that speaks the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from promptology.errors import ModelError
from promptology.models import _completions_wire, _http_wire
from promptology.models._endpoint import Endpoint
from promptology.models.access import Answer, Failure, Request

ATTEMPTS = 5


class ChatEndpoint(Endpoint):
    """A chat-completions endpoint; offers `Generates`. Settings and promises are those of `Endpoint`."""

    scheme = "openai"
    path = "/chat/completions"

    def _body(self, request: Request, dialect: _http_wire.Dialect) -> bytes:
        return dialect.body(self.name, request)

    def _read(self, body: bytes, request: Request, attempt: int) -> Answer:
        return _http_wire.read_reply(body, request, attempt)


class CompletionsEndpoint(Endpoint):
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
