"""Plain completions: what is sent, what real servers send back, and log-probabilities out of their echo."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rough_server import Handler, RoughServer, asked, error, reply, script

from promptology.errors import ModelError, UsageError
from promptology.models._completions_wire import logprob_of, read_reply
from promptology.models._http_wire import CannotScore
from promptology.models.access import Answer, Failure, Request, offers
from promptology.models.http import CompletionsEndpoint
from promptology.models.opening import model

PROMPT = "Is it red or blue?\n\nAnswer:"
# Shapes of real servers for PROMPT + " blue" with echo, logprobs 1 and max_tokens 1.
VLLM: dict[str, Any] = {
    "id": "cmpl-1",
    "object": "text_completion",
    "choices": [
        {
            "index": 0,
            "text": PROMPT + " blue.",
            "logprobs": {
                "text_offset": [0, 14, 16, 19, 23, 26, 31, 32, 34, 40, 41, 46],
                "token_logprobs": [None, -3.0, -1.0, -4.0, -2.0, -3.5, -0.5, -0.25, -1.5, -0.125, -2.25, -0.75],
                # A begin-of-text token that the text does not hold: every offset is shifted by its length.
                "tokens": [
                    "<|begin_text|>",
                    "Is",
                    " it",
                    " red",
                    " or",
                    " blue",
                    "?",
                    "\n\n",
                    "Answer",
                    ":",
                    " blue",
                    ".",
                ],
                "top_logprobs": [None, {"Is": -3.0}],
            },
            "finish_reason": "length",
            "prompt_logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 11, "total_tokens": 12, "completion_tokens": 1},
}
LLAMA: dict[str, Any] = {
    "object": "text_completion",
    "choices": [
        {
            "text": PROMPT + " blue",
            "index": 0,
            "logprobs": {
                "tokens": ["Is", " it", " red or", " blue?", "\n", "\n", "Answer", ":", " bl", "ue"],
                "text_offset": [0, 2, 5, 12, 18, 19, 20, 26, 27, 30],
                "token_logprobs": [None, -1, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -0.5, -0.0625],
                "top_logprobs": [None],
            },
            "finish_reason": "stop",  # the end of the text was generated, and is no token of the reply
        }
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11},
}


def one(handler: Handler, request: Request, attempts: int = 1) -> tuple[Any, RoughServer]:
    with RoughServer(handler) as server:
        endpoint = CompletionsEndpoint("base", server.url, backoff=0.01, backoff_cap=0.02)
        ((_, outcome),) = endpoint.generate([request], attempts)
    return outcome, server


def scored(choice: str = " blue", prompt: str = PROMPT) -> Request:
    return Request.user(prompt, continuation=choice)


def test_what_is_offered_and_sent() -> None:
    with RoughServer(reply(body={"choices": [{"text": " yes", "finish_reason": "stop"}]})) as server:
        endpoint = model(f"completions:base@{server.url}/v1/completions")
        assert offers(endpoint) == ("generates", "scores")
        assert endpoint.identity == f"completions:base@{server.url}/v1"
        request = Request((("system", "Be short."), ("user", "Red?")), 0.5, 9, ("\n",), seed=3)
        ((_, outcome),) = endpoint.generate([request])
    assert outcome == Answer(" yes", 4, 1, True)
    assert json.loads(server.bodies[0]) == {
        "model": "base",
        "prompt": "Be short.\n\nRed?",
        "max_tokens": 9,
        "temperature": 0.5,
        "seed": 3,
        "stop": ["\n"],
    }


@pytest.mark.parametrize(("shape", "expected"), [(VLLM, -2.25), (LLAMA, -0.5625)])
def test_echoes_of_real_servers(shape: dict[str, Any], expected: float) -> None:
    outcome, server = one(reply(body=shape), scored())
    assert outcome.logprob == expected and outcome.text == ""
    assert outcome.tokens_in == 11 and not outcome.estimated
    sent = json.loads(server.bodies[0])
    assert sent == {
        "model": "base",
        "prompt": PROMPT + " blue",
        "max_tokens": 1,  # 0 means "no limit" to one of these servers
        "echo": True,
        "logprobs": 1,
        "temperature": 0.0,
    }


def test_without_usage_the_generated_token_is_told_from_the_echo() -> None:
    for shape, expected in ((VLLM, -2.25), (LLAMA, -0.5625)):
        bare = {name: value for name, value in shape.items() if name != "usage"}
        answer = read_reply(json.dumps(bare).encode(), scored(), 1)
        assert answer.logprob == expected and answer.estimated


def test_a_token_across_the_boundary_counts_whole() -> None:
    shown = {"tokens": ["A", ":b", "lue"], "token_logprobs": [None, -1.0, -0.5], "text_offset": [0, 1, 3]}
    assert logprob_of(shown, "A:", "blue", 0) == -1.5


def test_pieces_of_characters_and_sentence_pieces() -> None:
    pieces = {"tokens": ["A", ":", "▁blue"], "token_logprobs": [None, -1.0, -0.5]}
    assert logprob_of(pieces, "A:", " blue", 0) == -0.5
    # Half a character has no text of its own; then the server's offsets tell, less the begin-of-text token.
    halves = {
        "tokens": ["<s>", "A", ":", " ", "\ufffd", "\ufffd", "x"],
        "token_logprobs": [None, -1.0, -1.0, -0.5, -0.25, -0.125, -9.0],
        "text_offset": [0, 3, 4, 5, 6, 6, 7],
    }
    assert logprob_of(halves, "A:", " 語", 1) == -0.875
    # Some servers fill the offsets with -1: not needed where the tokens spell the choice, and no use elsewhere.
    blank = [-1] * 7
    assert logprob_of({**pieces, "text_offset": blank}, "A:", " blue", 0) == -0.5
    with pytest.raises(CannotScore, match="does not echo"):
        logprob_of({**halves, "text_offset": blank}, "A:", " 語", 1)


def test_the_first_token_of_all_has_no_probability() -> None:
    shown = {"tokens": [" blue", "."], "token_logprobs": [None, -1.0], "text_offset": [0, 5]}
    with pytest.raises(ValueError, match="nothing stands before"):
        logprob_of(shown, "", " blue", 1)


REFUSALS: list[tuple[Handler, str]] = [
    (error(400, "Only no echo is supported"), "HTTP 400: Only no echo is supported"),
    (error(500, "logprobs is not supported for models created with logits_all=False"), "HTTP 500: logprobs is not"),
    (error(400, "Setting 'echo' and 'logprobs' at the same time is not supported for this model."), "HTTP 400"),
    (reply(body={"choices": [{"text": " blue", "logprobs": None}]}), "the reply holds no log-probabilities"),
    (reply(body={"choices": [{"text": " it", "logprobs": {"content": []}}]}), "the reply holds no log-probabilities"),
    (
        reply(body={"choices": [{"text": "!", "logprobs": {"tokens": ["!"], "token_logprobs": [-1.0]}}]}),
        "the reply does not echo the text that was sent",
    ),
]


@pytest.mark.parametrize(("handler", "reason"), REFUSALS)
def test_a_server_that_cannot_score_is_told_in_one_line(handler: Handler, reason: str) -> None:
    with RoughServer(handler) as server, pytest.raises(ModelError) as caught:
        CompletionsEndpoint("base", server.url).score([PROMPT], [[" red", " blue"]])
    assert str(caught.value).startswith(f"base at {server.url}/v1 gives no log-probabilities of a given text ({reason}")
    assert "such as vLLM" in str(caught.value) and "\n" not in str(caught.value)
    assert len(server.bodies) <= 2


def test_faults_that_pass_are_tried_again() -> None:
    busy, odd = error(500, "boom"), reply(body='{"choices": [{"text"')
    outcome, server = one(script(busy, odd, then=reply(body=VLLM)), scored(), attempts=5)
    assert outcome.logprob == -2.25 and outcome.attempts == 3 and len(server.bodies) == 3
    outcome, server = one(error(400, "this model's context is 2048 tokens"), scored(), attempts=5)
    assert isinstance(outcome, Failure) and not outcome.transient and len(server.bodies) == 1
    with pytest.raises(CannotScore):
        read_reply(json.dumps({"choices": [{"text": "x"}]}).encode(), scored(), 1)


def test_a_wrong_key_and_a_missing_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with RoughServer(error(401, "no")) as server, pytest.raises(ModelError, match="refused: HTTP 401: no"):
        CompletionsEndpoint("base", server.url).score(["q"], [["a"]])
    with pytest.raises(UsageError, match="write completions:NAME@URL"):
        model("completions:@http://127.0.0.1:1")


def test_a_score_per_prompt_and_choice_in_order() -> None:
    async def by_length(server: RoughServer, request: Any, doc: dict[str, Any]) -> Any:
        text = asked(doc)
        tokens = [*text, "!"]
        shown = {"tokens": tokens, "token_logprobs": [None, *[-1.0] * (len(tokens) - 1)], "text_offset": []}
        return await reply(body={"choices": [{"text": text, "logprobs": shown}]})(server, request, doc)

    with RoughServer(by_length) as server:
        values = CompletionsEndpoint("base", server.url).score(["ab", "c"], [["d", "ef"], ["ghi"]])
        assert values == [[-1.0, -2.0], [-3.0]]
        assert CompletionsEndpoint("base", server.url).score([], []) == []
