from __future__ import annotations

import asyncio
import email.utils
import json
import os
import pickle
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from rough_server import Handler, RoughServer, completion, drop, echo, error, hang, leak, refuse, reply, script

from promptology.errors import ModelError, UsageError
from promptology.models._http_wire import Dialect, Secrets, read_reply, retry_after, split_address
from promptology.models.access import Answer, Failure, Generates, Outcome, Request
from promptology.models.http import ChatEndpoint

KEY = 'sk-Test"42/'  # a quote and a slash: escaped forms must go too
FAST: dict[str, Any] = {"backoff": 0.01, "backoff_cap": 0.02}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(endpoint: ChatEndpoint, n: int = 1, attempts: int = 1) -> list[Outcome]:
    """Outcomes in order of the requests; each index comes exactly once."""
    got = list(endpoint.generate(several(n), attempts))
    assert sorted(i for i, _ in got) == list(range(n))
    return [outcome for _, outcome in sorted(got, key=lambda pair: pair[0])]


def several(n: int, word: str = "q") -> list[Request]:
    return [Request.user(f"{word}{i}") for i in range(n)]


def one(handler: Handler, attempts: int = 1, **settings: Any) -> tuple[Outcome, RoughServer]:
    with RoughServer(handler) as server:
        return ask(ChatEndpoint("m", server.url, **{**FAST, **settings}), 1, attempts)[0], server


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# --- completeness and concurrency


def test_every_request_is_answered_once_and_never_more_than_workers_at_a_time() -> None:
    with RoughServer(latency=0.01) as server:
        endpoint = ChatEndpoint("m", server.url, workers=5)
        assert isinstance(endpoint, Generates)
        outcomes = ask(endpoint, 60)
    assert [o.text for o in outcomes if isinstance(o, Answer)] == [f"q{i}" for i in range(60)]
    assert 1 < server.peak <= 5
    assert len(server.bodies) == 60


def test_workers_hold_over_two_batches_at_once() -> None:
    with RoughServer(latency=0.02) as server:
        endpoint = ChatEndpoint("m", server.url, workers=3)
        first, second = endpoint.generate(several(12)), endpoint.generate(several(12, "r"))
        next(first), next(second)
        assert len(list(first)) == len(list(second)) == 11
    assert server.peak <= 3


def test_no_requests_and_no_attempts() -> None:
    endpoint = ChatEndpoint("m", "http://127.0.0.1:9")
    assert ask(endpoint, 0) == []
    outcome = ask(endpoint, 1, attempts=0)[0]
    assert isinstance(outcome, Failure) and outcome.attempts == 0


def test_works_inside_a_running_loop() -> None:
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url)

        async def main() -> list[tuple[int, Outcome]]:
            return list(endpoint.generate([Request.user("a"), Request.user("b")]))

        assert len(asyncio.run(main())) == 2
        assert len(ask(endpoint, 2)) == 2  # and outside again, on the same connections


def test_leaving_early_cancels_what_is_in_flight() -> None:
    with RoughServer(script(echo, then=hang)) as server:
        endpoint = ChatEndpoint("m", server.url, workers=4)
        outcomes = endpoint.generate(several(100))
        next(outcomes)
        until(lambda: server.in_flight == 4)
        outcomes.close()  # type: ignore[attr-defined]
        until(lambda: server.given_up == 4)
        assert len(server.bodies) == 5
        server.handler = echo
        assert isinstance(ask(endpoint)[0], Answer)


def test_an_exception_of_the_consumer_cancels_too() -> None:
    with RoughServer(script(echo, then=hang)) as server:
        endpoint = ChatEndpoint("m", server.url, workers=2)
        with pytest.raises(KeyboardInterrupt):
            for _ in endpoint.generate(several(50)):
                until(lambda: server.in_flight == 2)
                raise KeyboardInterrupt
        until(lambda: server.given_up == 2)
        assert len(server.bodies) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_opens_its_own_connections() -> None:
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url)
        ask(endpoint)
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if isinstance(ask(endpoint)[0], Answer) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert isinstance(ask(endpoint)[0], Answer)
        assert len(server.bodies) == 3


def test_rpm_spaces_the_starts() -> None:
    with RoughServer() as server:
        began = time.monotonic()
        ask(ChatEndpoint("m", server.url, rpm=600), 6)
    assert time.monotonic() - began >= 5 * 0.1
    assert server.peak == 1  # not six at once and a pause


# --- what is sent and what is read


def test_the_body_is_deterministic_and_complete() -> None:
    request = Request((("system", "é"), ("user", "x")), 0.5, 9, ("END",), sample=3, seed=11)
    expected = {
        "model": "m",
        "messages": [{"role": "system", "content": "é"}, {"role": "user", "content": "x"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "seed": 11,
        "stop": ["END"],
    }
    with RoughServer() as server:
        for _ in range(2):  # a new endpoint each time
            list(ChatEndpoint("m", server.url).generate([request, request]))
    assert len(set(server.bodies)) == 1
    assert json.loads(server.bodies[0]) == expected
    plain = json.loads(Dialect().body("m", Request.user("x")))
    assert plain["temperature"] == 0.0 and not {"n", "stop", "seed"} & set(plain)


def test_usage_is_read_or_estimated() -> None:
    answer, _ = one(reply(body=completion("four")))
    assert answer == Answer("four", 7, 3, False, 1, False)
    odd: tuple[Any, ...] = (None, [], {"prompt_tokens": 7}, {"prompt_tokens": "7", "completion_tokens": -1})
    for usage in odd:
        answer, _ = one(reply(body=completion("fünf!", usage=usage)))
        assert answer == Answer("fünf!", 1, 2, True, 1, False)


def test_odd_contents() -> None:
    def read(message: Any, **extra: Any) -> Answer:
        choice = {"message": message, **extra}
        return read_reply(json.dumps({"choices": [choice]}).encode(), Request.user("q"), 1)

    assert read({"content": None}).text == read({}).text == ""
    assert read({"content": [{"type": "text", "text": "a"}, "b", {"type": "text", "text": None}]}).text == "ab"
    assert read({"content": "x"}, finish_reason="length").truncated
    assert read({"content": "a\ud83d"}).text == "a�"  # could not be stored as UTF-8
    assert read({"content": "a😀"}).text == "a😀"


def test_simulated_is_learnt_from_the_first_reply_that_says_so_and_stays() -> None:
    with RoughServer(script(echo, reply(body=completion(system_fingerprint="simulated-1")))) as server:
        endpoint = ChatEndpoint("m", server.url)
        seen = []
        for _ in range(3):
            ask(endpoint)
            seen.append(endpoint.simulated)
    assert seen == [False, True, True]


# --- servers with another dialect

NO_TEMPERATURE = refuse("temperature", "Unsupported value: 'temperature' does not support 0 with this model.")
NO_MAX_TOKENS = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


def test_a_refused_setting_is_changed_remembered_and_counted() -> None:
    with RoughServer(refuse("max_tokens", NO_MAX_TOKENS, NO_TEMPERATURE)) as server:
        endpoint = ChatEndpoint("o", server.url)
        first, again = ask(endpoint, attempts=3)[0], ask(endpoint)[0]
    assert isinstance(first, Answer) and first.attempts == 3
    assert isinstance(again, Answer) and again.attempts == 1
    assert len(server.bodies) == 4
    last = json.loads(server.bodies[-1])
    assert "temperature" not in last and "max_tokens" not in last and last["max_completion_tokens"] == 512


def test_a_refused_setting_never_costs_more_than_the_attempts() -> None:
    with RoughServer(NO_TEMPERATURE) as server:
        endpoint = ChatEndpoint("o", server.url)
        first = ask(endpoint)[0]
        assert isinstance(first, Failure) and first.transient and first.attempts == 1 and first.retry_after == 0
        assert len(server.bodies) == 1
        assert isinstance(ask(endpoint)[0], Answer)


def test_a_batch_learns_together() -> None:
    with RoughServer(NO_TEMPERATURE, latency=0.01) as server:
        outcomes = ask(ChatEndpoint("o", server.url, workers=8), 20, attempts=2)
    assert all(isinstance(o, Answer) for o in outcomes)
    assert sum(o.attempts for o in outcomes) == len(server.bodies) <= 28


@pytest.mark.parametrize(
    "message",
    [
        "the prompt 'what is the temperature' was flagged",
        "temperature must be at most 2",
        "'max_tokens' or 'max_completion_tokens' is too large: 9000",
    ],
)
def test_a_message_that_only_quotes_a_setting_changes_nothing(message: str) -> None:
    with RoughServer(error(400, message)) as server:
        endpoint = ChatEndpoint("m", server.url)
        outcome = ask(endpoint, attempts=3)[0]
    assert isinstance(outcome, Failure) and not outcome.transient and outcome.attempts == 1
    assert len({*server.bodies}) == len(server.bodies) == 1
    assert message in outcome.reason


def test_a_seed_refused_the_way_fastapi_does() -> None:
    detail = [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
    assert Dialect().corrected(json.dumps({"detail": detail}).encode()) == Dialect(seed=False)
    other = {"error": {"message": "unknown; see temperature", "param": "top_k"}}
    assert Dialect().corrected(json.dumps(other).encode()) == Dialect()


# --- transient failures


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (error(500, "boom"), "HTTP 500: boom"),
        (error(503, "busy"), "HTTP 503: busy"),
        (error(408, "late"), "HTTP 408: late"),
        (error(409, "lock"), "HTTP 409: lock"),
        (error(425, "soon"), "HTTP 425: soon"),
        (error(429, "slow"), "HTTP 429: slow"),
        (reply(502, "<html>bad\r\n\tgateway\x07</html>"), "HTTP 502: <html>bad gateway </html>"),
        (reply(200, "not json"), "malformed reply (JSONDecodeError): not json"),
        (reply(200, "[" * 100_000), "malformed reply (RecursionError)"),
        (reply(200, {"error": {"message": "overloaded"}}), "malformed reply (KeyError): overloaded"),
        (reply(200, {"choices": []}), "malformed reply (IndexError)"),
        (reply(200, {"choices": [{"message": {"content": 5}}]}), "malformed reply (TypeError)"),
        (drop, "no connection: "),
    ],
)
def test_transient_failures_are_tried_again(handler: Handler, reason: str) -> None:
    with RoughServer(script(handler, handler)) as server:
        recovered = ask(ChatEndpoint("m", server.url, **FAST), attempts=3)[0]
    assert recovered == Answer("q0", 7, 3, False, 3, False)
    assert len(server.bodies) == 3
    outcome, server = one(handler, attempts=2)
    assert isinstance(outcome, Failure) and outcome.transient and outcome.attempts == 2
    assert outcome.reason.startswith(reason)
    assert len(outcome.reason) <= 200 and outcome.reason.isprintable()
    assert len(server.bodies) == 2


def test_a_hanging_server_is_a_failure() -> None:
    outcome, server = one(hang, attempts=2, timeout=0.2)
    assert outcome == Failure("no answer within 0.2 s", True, 2)
    assert len(server.bodies) == 2


def test_retry_after_is_honoured_by_the_request_that_was_refused() -> None:
    with RoughServer(script(reply(429, "slow", Retry_After="1"))) as server:
        began = time.monotonic()
        outcomes = ask(ChatEndpoint("m", server.url, workers=2, **FAST), 20, attempts=2)
    assert sorted(o.attempts for o in outcomes) == [1] * 19 + [2]
    assert server.times[-1] - server.times[0] >= 0.95
    assert server.times[-2] - began < 0.9  # the others went on


def test_refusals_without_an_answer_between_them_delay_the_whole_endpoint() -> None:
    slow = reply(429, "slow", retry_after_ms="700")
    with RoughServer(script(slow)) as server:
        outcomes = ask(ChatEndpoint("m", server.url, workers=1, **FAST), 3, attempts=2)
    assert [o.attempts for o in outcomes] == [2, 1, 1]
    assert server.times[1] - server.times[0] >= 0.65
    with RoughServer(script(slow, slow, slow)) as server:
        endpoint = ChatEndpoint("m", server.url)
        refused = ask(endpoint, 3)[0]
        assert isinstance(refused, Failure) and refused.retry_after == pytest.approx(0.7)
        ask(endpoint)  # another batch waits as well
    assert server.times[3] - server.times[2] >= 0.65


def test_requests_that_wait_for_their_next_try_leave_no_slot_empty() -> None:
    with RoughServer(script(*[error(503, "busy")] * 4), latency=0.01) as server:
        endpoint = ChatEndpoint("m", server.url, workers=4, backoff=2.0, backoff_cap=2.0)
        outcomes = ask(endpoint, 40, attempts=2)
    assert all(isinstance(o, Answer) for o in outcomes)
    assert server.peak == 4
    # All first tries were sent while the four refused ones waited for their second.
    assert sum(t - server.times[0] < 0.6 for t in server.times) >= 40


def test_forms_of_retry_after() -> None:
    def seconds(**headers: str) -> float:
        return retry_after({name.replace("_", "-"): value for name, value in headers.items()}, 120.0)

    soon = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 25 < seconds(Retry_After=soon) <= 30
    assert 25 < seconds(Retry_After=soon.replace("GMT", "-0000")) <= 30
    assert seconds(Retry_After="7") == 7
    assert seconds(Retry_After="99999") == seconds(Retry_After="inf") == 120
    assert seconds(retry_after_ms="250", Retry_After="9") == 0.25
    assert seconds(retry_after_ms="?", Retry_After="9") == 9
    for odd in ("", "nan", "-3", "soon", "Mon, 99 Foo 2020", "1 2 3 4 5 6 7", email.utils.formatdate(0)):
        assert seconds(Retry_After=odd) == 0


# --- permanent failures


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_does_not_stop_the_others(status: int) -> None:
    with RoughServer(script(error(status, "too long"))) as server:
        outcomes = ask(ChatEndpoint("m", server.url, workers=1), 3, attempts=4)
    assert outcomes[0] == Failure(f"HTTP {status}: too long", False, 1)
    assert all(isinstance(o, Answer) for o in outcomes[1:])
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "--key-env"), (402, "credit"), (403, "--key-env"), (404, "model's name"), (405, "address")],
)
def test_a_refusal_that_holds_for_all_stops_the_batch(status: int, advice: str) -> None:
    server = RoughServer(error(status, "no\nway"))
    with server, pytest.raises(ModelError) as caught:
        ask(ChatEndpoint("m", server.url, workers=2), 50, attempts=4)
    refused, _, todo = str(caught.value).partition("; ")
    assert refused == f"m at {server.url}/v1 refused: HTTP {status}: no way"
    assert advice in todo
    assert len(server.bodies) <= 2


def test_a_redirect_is_not_followed() -> None:
    server = RoughServer(reply(307, "", Location="http://elsewhere/v2"))
    with server, pytest.raises(ModelError, match="points to http://elsewhere/v2"):
        ask(ChatEndpoint("m", server.url), attempts=3)
    assert len(server.bodies) == 1


def test_nothing_listening_is_a_clear_error_at_first_and_waited_for_later() -> None:
    with pytest.raises(ModelError, match=r"nothing answers at http://127.0.0.1:\d+/v1 .*; start the server or"):
        ask(ChatEndpoint("m", f"http://127.0.0.1:{unused_port()}"), 3, attempts=3)
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url, patience=0.1, **FAST)
        ask(endpoint)
        server.stop()
        outcome = ask(endpoint, attempts=2)[0]
        assert isinstance(outcome, Failure) and not outcome.transient and outcome.attempts == 0
        # Another process has not met the server yet.
        with pytest.raises(ModelError, match="nothing answers"):
            ask(pickle.loads(pickle.dumps(endpoint)))


def test_an_unknown_host_and_a_server_without_tls() -> None:
    with pytest.raises(ModelError, match=r"nothing answers at http://no-such-host\.invalid/v1"):
        ask(ChatEndpoint("m", "http://no-such-host.invalid"))
    with RoughServer() as server, pytest.raises(ModelError, match="no secure connection to https://127"):
        ask(ChatEndpoint("m", server.url.replace("http:", "https:")))


# --- secrets


def shown(endpoint: ChatEndpoint, caught: pytest.ExceptionInfo[BaseException]) -> str:
    """Everything a user or a log could see of an endpoint and its error, local variables of our frames included."""
    texts = [repr(endpoint), str(endpoint), repr(vars(endpoint)), endpoint.identity, repr(caught.value)]
    texts += [repr(pickle.dumps(endpoint)), "".join(traceback.format_exception(caught.value))]
    chain: BaseException | None = caught.value
    while chain is not None:
        for frame, _ in traceback.walk_tb(chain.__traceback__):
            if frame.f_globals.get("__name__", "").startswith(("promptology", "aiohttp")):
                texts += [repr(value) for value in frame.f_locals.values()]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(texts)


def test_a_wrong_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")  # the line break of `echo key > file`
    with RoughServer(leak) as server:
        endpoint = ChatEndpoint("m", server.url, key_env="MY_KEY")
        with pytest.raises(ModelError) as caught:
            ask(endpoint, 3)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert str(caught.value) == (
        f"m at {server.url}/v1 refused: HTTP 401: wrong key [31m Bearer [hidden] bye; check the key in MY_KEY"
    )
    assert KEY not in shown(endpoint, caught)
    assert pickle.loads(pickle.dumps(endpoint)).key_env == "MY_KEY"


def test_a_login_in_the_address_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with RoughServer(leak) as server:
        endpoint = ChatEndpoint("m", server.url.replace("//", "//ann%40x:pa%2Fss@"))
        with pytest.raises(ModelError, match="check user and password") as caught:
            ask(endpoint)
    assert server.headers[0]["Authorization"] == "Basic YW5uQHg6cGEvc3M="
    for form in ("ann@x", "ann%40x", "pa/ss", "pa%2Fss", "YW5uQHg6cGEvc3M="):
        assert form not in shown(endpoint, caught)
    with pytest.raises(UsageError, match="do not travel in a pickle"):
        ask(pickle.loads(pickle.dumps(endpoint)))


def test_a_login_never_becomes_part_of_the_name() -> None:
    with pytest.raises(UsageError) as caught:
        ChatEndpoint("m@https://ann:hunter2", "http://example.com")
    assert "hunter2" not in str(caught.value)


def test_every_form_of_a_secret_is_scrubbed() -> None:
    secrets = Secrets(KEY)
    for form in (
        KEY,
        KEY.upper(),
        json.dumps(KEY),
        json.dumps(KEY).replace("/", "\\/"),
        "c2stVGVzdCI0Mi8=",
        "sk-Test%2242%2F",
    ):
        assert secrets.scrub(f"<{form}>").replace('"', "") == "<[hidden]>"
    # Cut after scrubbing, so that no half of a key stays behind.
    assert "sk-T" not in secrets.scrub("x" * 195 + KEY)
    assert KEY not in repr(secrets)
    assert not pickle.loads(pickle.dumps(secrets))


def test_which_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(url: str, **settings: Any) -> str | None:
        return ChatEndpoint("m", url, **settings)._secrets().headers().get("Authorization")

    assert sent("https://example.com") is None
    monkeypatch.setenv("OPENAI_API_KEY", "first")
    assert sent("https://example.com") == "Bearer first"
    for here in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://0.0.0.0:1"):
        assert sent(here) is None
        assert sent(here, key_env="OPENAI_API_KEY") == "Bearer first"
    endpoint = ChatEndpoint("m", "https://example.com")
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    assert endpoint._secrets().headers()["Authorization"] == "Bearer second"
    with pytest.raises(UsageError, match="NO_SUCH_KEY"):
        ChatEndpoint("m", "https://example.com", key_env="NO_SUCH_KEY")
    monkeypatch.setenv("ODD_KEY", "a\r\nb")
    with pytest.raises(UsageError, match="the key in ODD_KEY holds a line break"):
        ChatEndpoint("m", "https://example.com", key_env="ODD_KEY")
    with pytest.raises(UsageError, match="leave one out"):
        ChatEndpoint("m", "https://ann:pw@example.com", key_env="OPENAI_API_KEY")


# --- addresses, settings, import


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with RoughServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert isinstance(ask(ChatEndpoint("m", "http://model.invalid"))[0], Answer)
        assert proxy.headers[0]["Host"] == "model.invalid"
        with pytest.raises(ModelError, match="nothing answers"):
            ask(ChatEndpoint("m", f"http://127.0.0.1:{unused_port()}"))
        monkeypatch.setenv("no_proxy", "model.invalid")
        with pytest.raises(ModelError, match="nothing answers"):
            ask(ChatEndpoint("m", "http://model.invalid"))
    assert len(proxy.bodies) == 1


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/chat/completions", "http://127.0.0.1:8000/v1"),
        ("http://h/chat/completions/", "http://h"),
        ("https://H:443/api/v3 ", "https://h/api/v3"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
        ("https://ann:pw@h", "https://h/v1"),
    ],
)
def test_addresses(url: str, base: str) -> None:
    assert split_address(url)[0] == base
    assert ChatEndpoint("m", url).identity == f"openai:m@{base}"


@pytest.mark.parametrize(
    "url", ["", "ftp://h", "http://", "http://h:port", "http://[::1", "example.com/v1", "https://h/v1?api-key=pw"]
)
def test_addresses_that_are_refused_are_not_quoted(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        ChatEndpoint("m", url.replace("://", "://ann:pw@"))
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("setting", ["workers", "timeout", "rpm"])
def test_settings_that_make_no_sense(setting: str) -> None:
    for value in (0, -1, float("nan")):
        with pytest.raises(UsageError, match=setting):
            ChatEndpoint("m", "http://h", **{setting: value})  # type: ignore[arg-type]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, timeout=60)


def test_the_import_loads_no_aiohttp() -> None:
    code = "import sys, promptology.models.http as h; h.ChatEndpoint('m', 'http://h'); print('aiohttp' in sys.modules)"
    assert run(code).stdout == "False\n"


@pytest.mark.parametrize("left", ["list(answers)", "next(answers)", "next(answers); del endpoint, answers", ""])
def test_the_process_ends_without_warnings(left: str) -> None:
    code = (
        "from promptology.models.http import ChatEndpoint; from promptology.models.access import Request\n"
        "endpoint = ChatEndpoint('m', {url!r}, workers=3)\n"
        "answers = endpoint.generate([Request.user(f'q{{i}}') for i in range(9)], 3)\n" + left
    )
    with RoughServer(latency=0.05) as server:
        ended = run(code.format(url=server.url))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
