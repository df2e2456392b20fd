"""Equal requests in flight are sent once, and a server that goes away is waited for."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import Any

import pytest
from rough_server import RoughServer, drop, echo, error, hang, script

from promptology.errors import ModelError
from promptology.models.access import Answer, Failure, Outcome, Request
from promptology.models.http import ChatEndpoint
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store

FAST: dict[str, Any] = {"backoff": 0.01, "backoff_cap": 0.02}


def ask(endpoint: ChatEndpoint, requests: list[Request], attempts: int = 1) -> list[Outcome]:
    got = sorted(endpoint.generate(requests, attempts), key=lambda pair: pair[0])
    assert [i for i, _ in got] == list(range(len(requests)))
    return [outcome for _, outcome in got]


def several(n: int, word: str = "q") -> list[Request]:
    return [Request.user(f"{word}{i}") for i in range(n)]


def until(true: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Asking(threading.Thread):
    """Asks in a thread of its own and keeps what came."""

    def __init__(self, endpoint: ChatEndpoint, requests: list[Request], attempts: int = 1) -> None:
        super().__init__()
        self.arguments = endpoint, requests, attempts
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcomes = ask(*self.arguments)
        except ModelError as error:
            self.error = error

    def result(self) -> list[Outcome]:
        self.join(20)
        assert not self.is_alive()
        return self.outcomes


# --- sharing


def test_equal_requests_of_several_threads_are_sent_once() -> None:
    with RoughServer(latency=0.3) as server:
        endpoint = ChatEndpoint("m", server.url)
        threads = [Asking(endpoint, several(3)) for _ in range(4)]
        outcomes = [t.result() for t in threads]
    assert len(server.bodies) == 3
    assert all([o.text for o in some if isinstance(o, Answer)] == ["q0", "q1", "q2"] for some in outcomes)
    assert sorted(o.attempts for some in outcomes for o in some) == [0] * 9 + [1] * 3
    with RoughServer(latency=0.1) as server:
        ask(endpoint := ChatEndpoint("m", server.url), several(1))
        assert ask(endpoint, several(1))[0].attempts == 1  # it is no cache: only what is in flight is shared


def test_another_sample_seed_or_setting_is_another_request() -> None:
    asked = Request.user("q", temperature=1.0)
    others = [Request.user("q", temperature=1.0, **more) for more in ({"sample": 1}, {"seed": 1}, {"max_tokens": 9})]
    with RoughServer(latency=0.1) as server:
        outcomes = ask(ChatEndpoint("m", server.url), [asked, asked, *others])
    assert len(server.bodies) == 4
    assert [o.attempts for o in outcomes] == [1, 0, 1, 1, 1]


def test_only_what_is_shared_outlives_the_one_who_asked() -> None:
    with RoughServer(script(echo, then=hang)) as server:
        endpoint = ChatEndpoint("m", server.url)
        leader = endpoint.generate([Request.user("first"), *several(3)])
        next(leader)
        until(lambda: server.in_flight == 3)
        mine = Asking(endpoint, [Request.user("q1"), Request.user("other")], attempts=1)
        until(lambda: server.in_flight == 4)
        leader.close()  # type: ignore[attr-defined]
        until(lambda: server.given_up == 2)  # q0 and q2
        time.sleep(0.05)
        assert server.given_up == 2 and server.in_flight == 2
        server.handler = echo
        server.stop()  # cuts both; the attempt that failed was another's, so q1 has one of its own left
        server.restart()
        shared, other = mine.result()
    assert isinstance(shared, Answer) and (shared.text, shared.attempts) == ("q1", 1)
    assert isinstance(other, Failure) and other.attempts == 1


def test_a_leader_that_left_still_answers_those_who_share() -> None:
    with RoughServer(latency=0.4) as server:
        endpoint = ChatEndpoint("m", server.url)
        server.handler = script(echo)
        leader = endpoint.arrivals([Request.user("q")])
        assert next(leader) is None  # sent, and nothing has come
        until(lambda: len(server.bodies) == 1)
        mine = Asking(endpoint, [Request.user("q")])
        time.sleep(0.1)
        leader.close()  # type: ignore[attr-defined]
        (shared,) = mine.result()
    assert isinstance(shared, Answer) and shared.attempts == 0
    assert len(server.bodies) == 1


def test_a_shared_failure_is_tried_again_by_whoever_may() -> None:
    with RoughServer(script(error(500, "boom"), error(500, "boom")), latency=0.05) as server:
        first, second = ask(ChatEndpoint("m", server.url, **FAST), [Request.user("q")] * 2, attempts=3)
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert first.attempts + second.attempts == len(server.bodies)
    with RoughServer(error(400, "too long"), latency=0.05) as server:
        outcomes = ask(ChatEndpoint("m", server.url), [Request.user("q")] * 2)
    assert sorted(o.attempts for o in outcomes) == [0, 1]
    assert all(isinstance(o, Failure) and not o.transient for o in outcomes)
    assert len(server.bodies) == 1


def test_a_refusal_reaches_everyone_who_shares() -> None:
    async def late(server: Any, request: Any, doc: Any) -> Any:
        await echo(server, request, doc)
        return await error(401, "wrong key")(server, request, doc)

    with RoughServer(late, latency=0.2) as server:
        endpoint = ChatEndpoint("m", server.url)
        threads = [Asking(endpoint, [Request.user("q")]) for _ in range(3)]
        for thread in threads:
            thread.result()
    assert len(server.bodies) == 1
    assert all("refused: HTTP 401: wrong key" in str(t.error) for t in threads)


def test_a_shared_call_is_charged_and_not_paid() -> None:
    with RoughServer(latency=0.3) as server:
        endpoint = ChatEndpoint("m", server.url)
        meters: list[Meter] = []

        def generate() -> None:
            meters.append(meter := Meter(memory_store()))  # here: a store belongs to the thread that opened it
            assert Handle(meter, "model", endpoint).generate(["q"]) == ["q"]

        threads = [threading.Thread(target=generate) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(server.bodies) == 1
    assert [m.charged.calls for m in meters] == [1, 1]
    assert sorted(m.paid.calls for m in meters) == [0, 1]
    assert meters[0].charged.tokens == meters[1].charged.tokens == 10


# --- a server that goes away


def test_a_restart_uses_up_no_attempt(caplog: pytest.LogCaptureFixture) -> None:
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url, workers=8)
        ask(endpoint, several(1, "before"))
        server.stop()
        back = threading.Timer(1.5, server.restart)
        back.start()
        began = time.monotonic()
        outcomes = ask(endpoint, several(40))
        took = time.monotonic() - began
        back.join()
    assert all(isinstance(o, Answer) and o.attempts == 1 for o in outcomes)
    assert len(server.bodies) == 41
    assert 1.4 <= took < 4.5
    notes = [r.getMessage() for r in caplog.records if r.name == "promptology" and r.levelno >= logging.WARNING]
    assert len(notes) == 1
    assert notes[0].startswith(f"{server.url}/v1 is gone (") and notes[0].endswith("at most 120 s")


def test_a_request_that_was_cut_counts_and_a_refused_one_does_not() -> None:
    with RoughServer(script(echo, then=hang)) as server:
        endpoint = ChatEndpoint("m", server.url, workers=4, **FAST)
        ask(endpoint, several(1, "before"))
        cut = Asking(endpoint, several(4), attempts=3)
        until(lambda: server.in_flight == 4)
        server.stop()
        time.sleep(0.5)
        server.handler = echo
        server.restart()
        outcomes = cut.result()
    assert [o.attempts for o in outcomes] == [2] * 4
    assert all(isinstance(o, Answer) for o in outcomes)
    assert len(server.bodies) == 9


def test_one_probe_at_a_time_for_the_whole_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url, workers=20, backoff=0.1, patience=1.0)
        ask(endpoint, several(1))
        posts: list[float] = []
        post = endpoint._post

        async def counted(*arguments: Any) -> Any:
            posts.append(time.monotonic())
            return await post(*arguments)

        monkeypatch.setattr(endpoint, "_post", counted)
        server.stop()
        outcomes = ask(endpoint, several(60), attempts=5)
        began = time.monotonic()
        again = ask(endpoint, several(60, "r"))
    assert all(isinstance(o, Failure) and not o.transient and o.attempts == 0 for o in outcomes + again)
    assert f"{server.url}/v1 has been gone for 1 s" in str(outcomes[-1])
    # Twenty found it gone together; then probes with a growing pause, not three for each of 120 requests.
    assert 20 < len(posts) <= 20 + 12
    assert time.monotonic() - began < 1.0


def test_a_server_that_comes_back_after_the_patience_is_met_again() -> None:
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url, patience=0.2, **FAST)
        ask(endpoint, several(1))
        server.stop()
        assert isinstance(ask(endpoint, several(1))[0], Failure)
        server.restart()
        time.sleep(0.05)
        assert all(isinstance(o, Answer) for o in ask(endpoint, several(3)))


def test_a_connection_that_is_dropped_is_an_attempt() -> None:
    with RoughServer(script(echo, drop, drop)) as server:
        endpoint = ChatEndpoint("m", server.url, **FAST)
        ask(endpoint, several(1))
        (outcome,) = ask(endpoint, several(1, "r"), attempts=5)
    assert isinstance(outcome, Answer) and outcome.attempts == 3 and len(server.bodies) == 4


def test_a_host_that_takes_no_connection_is_not_there() -> None:
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):  # fill its queue: what comes then is neither taken nor refused
            full = waiting.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(listening.getsockname())
        port = listening.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(ModelError, match=r"nothing answers at .* \(no connection in time\)"):
            ask(ChatEndpoint("m", f"http://127.0.0.1:{port}", timeout=1.0), several(1), attempts=5)
        assert time.monotonic() - began < 2.0


def test_the_rate_limit_holds_after_an_outage() -> None:
    with RoughServer() as server:
        endpoint = ChatEndpoint("m", server.url, rpm=1200, workers=8, **FAST)
        ask(endpoint, several(1))
        server.stop()
        back = threading.Timer(0.6, server.restart)
        back.start()
        ask(endpoint, several(8, "r"))
        back.join()
    assert server.times[-1] - server.times[1] >= 6 * 0.05
