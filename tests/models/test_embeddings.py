"""Vectors from a server: what is sent, how replies are read, and what becomes of each fault."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from rough_server import Handler, RoughServer, drop, embed, error, leak, reply, script, vectors

from promptology.errors import ModelError, UsageError
from promptology.models import _embeddings_wire as wire
from promptology.models._http_wire import split_address
from promptology.models.access import Answer, Request, offers
from promptology.models.http import EmbeddingsEndpoint
from promptology.models.opening import model

FAST: dict[str, Any] = {"backoff": 0.01, "backoff_cap": 0.02, "workers": 1}


def expected(texts: list[str]) -> Any:
    rows = np.array([[len(text), text.count("e"), 1.0] for text in texts])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def broken(handler: Handler, texts: tuple[str, ...] = ("a", "see")) -> tuple[str, int]:
    """Return the one line that the fault is told in, and the requests that were sent."""
    with RoughServer(handler) as server, pytest.raises(ModelError) as caught:
        EmbeddingsEndpoint("small", server.url, **FAST).embed(texts)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(server.url, "URL"), len(server.bodies)


def test_what_is_offered_and_sent() -> None:
    with RoughServer(embed) as server:
        endpoint = model(f"embeddings:org/small@v2@{server.url}/v1/embeddings", workers=2)
        assert offers(endpoint) == ("embeds",) and not endpoint.local
        assert endpoint.identity == f"embeddings:org/small@v2@{server.url}/v1"
        found = endpoint.embed(["see", "", "é \ud83d"])
    assert json.loads(server.bodies[0]) == {
        "model": "org/small@v2",
        "input": ["see", " ", "é ?"],  # servers refuse an empty text
        "encoding_format": "float",
    }
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected(["see", " ", "é ?"]))  # the reply begins with the last
    copy = pickle.loads(pickle.dumps(endpoint))
    assert copy.identity == endpoint.identity and offers(copy) == ("embeds",)


def test_the_address_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, kept in (("http://h/v1/embeddings", "http://h/v1"), ("http://h", "http://h/v1"), ("http://h/e", None)):
        assert split_address(given)[0] == (kept or given)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    hosted = model("embeddings:text-embedding-3-small")
    assert hosted.identity == "embeddings:text-embedding-3-small@https://api.openai.com/v1"
    assert hosted.key_env == "OPENAI_API_KEY"
    monkeypatch.setenv("OTHER", "sk-secret")
    with RoughServer(leak) as server, pytest.raises(ModelError, match="check the key in OTHER") as caught:
        model(f"embeddings:m@{server.url}", key_env="OTHER").embed(["a"])
    assert server.headers[0]["Authorization"] == "Bearer sk-secret" and "sk-secret" not in str(caught.value)
    assert len(server.bodies) == 1
    with pytest.raises(UsageError, match="write embeddings:NAME@URL"):
        model("embeddings:@http://h")


def test_texts_go_together_by_number_and_size() -> None:
    def sizes(texts: list[str]) -> list[int]:
        requests = wire.packed(texts)
        assert [text for request in requests for _, text in request.messages] == texts
        return [len(request.messages) for request in requests]

    assert sizes([]) == [] and sizes(["a"]) == [1]
    assert sizes(["a"] * 32) == [32] and sizes(["a"] * 65) == [32, 32, 1]
    # 200,000 bytes at most of several texts; "é" is two.
    assert sizes(["a" * 99_999, "é" * 50_000, "b", "c"]) == [3, 1]
    assert sizes(["a", "b" * 300_000, "c"]) == [1, 1, 1]


def test_many_texts_come_back_in_order_with_as_many_in_flight_as_allowed() -> None:
    async def slow(server: RoughServer, request: Any, doc: dict[str, Any]) -> Any:
        import asyncio

        await asyncio.sleep(0.02 if "e0" in doc["input"] else 0.01)
        return await embed(server, request, doc)

    texts = ["e" * (n % 7) + f"e{n}" for n in range(200)]
    with RoughServer(slow) as server:
        found = EmbeddingsEndpoint("m", server.url, workers=3).embed(texts)
    np.testing.assert_array_equal(found, expected(texts))
    assert len(server.bodies) == 7 and 1 < server.peak <= 3
    assert EmbeddingsEndpoint("m", server.url).embed([]).shape == (0, 0)


def test_usage_is_read_or_estimated() -> None:
    request = Request((("input", "abcde"), ("input", "é")))
    doc = vectors(["abcde", "é"])
    answer = wire.read_reply(json.dumps(doc).encode(), request, 3)
    assert (answer.tokens_in, answer.tokens_out, answer.estimated, answer.attempts) == (4, 0, False, 3)
    for said in (None, {"prompt_tokens": 0}, {"prompt_tokens": "4"}, [1]):
        bare = wire.read_reply(json.dumps({**doc, "usage": said}).encode(), request, 1)
        assert (bare.tokens_in, bare.estimated) == (2, True)  # 7 bytes
    assert not answer.simulated
    assert wire.read_reply(json.dumps({**doc, "system_fingerprint": "simulated"}).encode(), request, 1).simulated


ROW = {"index": 0, "embedding": [1.0, 0.0]}
MALFORMED: list[tuple[Any, str]] = [
    ("<html>", "malformed reply (JSONDecodeError)"),
    ({"choices": []}, "malformed reply (KeyError)"),
    ({"data": [ROW, {"index": 1}]}, "malformed reply (KeyError)"),
    ({"data": [ROW]}, "malformed reply (1 vectors for 2 texts)"),
    ({"data": [ROW, ROW]}, "malformed reply (1 vectors for 2 texts)"),
    ({"data": [ROW, {"index": 2, "embedding": [1.0, 0.0]}]}, "malformed reply (2 vectors for 2 texts)"),
    ({"data": [ROW, {"index": 1, "embedding": [1.0]}]}, "vectors of different lengths"),
    ({"data": [ROW, {"index": 1, "embedding": None}]}, "vectors of different lengths, or not of numbers"),
    ({"data": [ROW, {"index": 1, "embedding": "AACAPw=="}]}, "vectors of different lengths, or not of numbers"),
    ({"data": [{"index": n, "embedding": []} for n in (0, 1)]}, "a vector is no list of numbers"),
    ({"data": [{"index": n, "embedding": 1.0} for n in (0, 1)]}, "a vector is no list of numbers"),
    ({"data": [ROW, {"index": 1, "embedding": [float("nan"), 1.0]}]}, "a number that is not finite"),
    ({"data": [ROW, {"index": 1, "embedding": [1.0, None]}]}, "a number that is not finite"),
    ({"data": [ROW, {"index": 1, "embedding": [1e200, 1.0]}]}, "a number that is not finite"),
    ({"data": [ROW, {"index": 1, "embedding": [0.0, 0.0]}]}, "only zeros"),
]


@pytest.mark.parametrize(("body", "reason"), MALFORMED)
def test_vectors_that_are_not_all_there_are_asked_for_again_and_then_told(body: Any, reason: str) -> None:
    line, sent = broken(reply(body=body))
    assert line.startswith("small at URL/v1 gave no vectors (malformed reply (") and reason in line
    assert sent == 5


def test_without_an_index_vectors_stand_in_order() -> None:
    doc = {"data": [{"embedding": [2.0, 0.0]}, {"embedding": [0.0, 3.0]}]}
    answer = wire.read_reply(json.dumps(doc).encode(), Request((("input", "a"), ("input", "b"))), 1)
    assert wire.vectors_in(answer.text, 2).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_faults_that_pass_are_tried_again() -> None:
    steps = (reply(429, "slow", Retry_After="0.05"), error(500, "boom"), drop, reply(body={"data": []}))
    with RoughServer(script(*steps, then=embed)) as server:
        found = EmbeddingsEndpoint("m", server.url, **FAST).embed(["see"])
    np.testing.assert_array_equal(found, expected(["see"]))
    assert len(server.bodies) == 5 and server.times[1] - server.times[0] >= 0.05


TOO_LONG = [
    (400, "This model's maximum context length is 8192 tokens, however you requested 9001 tokens"),
    (400, "Invalid 'input[3]': maximum input length is 8192 tokens."),
    (413, "Input validation error: `inputs` must have less than 512 tokens. Given: 600"),
    (400, "the input length exceeds the context length"),
    (500, "input is too large to process. increase the physical batch size"),
]


@pytest.mark.parametrize(("status", "said"), TOO_LONG)
def test_a_text_that_is_too_long_is_said_at_once(status: int, said: str) -> None:
    line, sent = broken(error(status, said))
    reason = f"a text is too long for small, shorten it (HTTP {status}: {said})"
    assert line == f"small at URL/v1 gave no vectors ({reason})"
    assert sent == 1


def test_refusals_that_hold_for_every_request() -> None:
    for status, said in ((401, "no"), (404, "no such model")):
        line, sent = broken(error(status, said))
        assert line.startswith(f"small at URL/v1 refused: HTTP {status}: {said};") and sent == 1
    line, sent = broken(error(400, "batch size 32 > maximum allowed batch size 16"))
    assert line == "small at URL/v1 gave no vectors (HTTP 400: batch size 32 > maximum allowed batch size 16)"
    assert sent == 1


def test_a_model_that_changes_is_told() -> None:
    other = reply(body={"data": [{"index": 0, "embedding": [1.0, 2.0]}]})
    line, _ = broken(script(embed, then=other), tuple("a" * n for n in range(1, 34)))
    assert line.startswith("small at URL/v1 gave vectors of 2 and 3 numbers: another model stands behind this name now")
    one = wire.read_reply(json.dumps(vectors(["a"])).encode(), Request((("input", "a"),)), 1)
    endpoint = EmbeddingsEndpoint("m", "http://127.0.0.1:9")
    assert endpoint.vectors([1], [one], 3).shape == (1, 3)
    with pytest.raises(ModelError, match="vectors of 3 and 4 numbers"):
        endpoint.vectors([1], [one], 4)
    assert isinstance(one, Answer)
