"""Chat models behind an OpenAI-compatible endpoint: hosted, vLLM, Ollama, or any server that speaks the protocol."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import os
import random
import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from promptology.errors import ModelError, UsageError
from promptology.models import _http_wire as wire
from promptology.models.access import Answer, Failure, Outcome, Request
from promptology.models.loop import arrivals, stream

if TYPE_CHECKING:
    import aiohttp

DEFAULT_KEY = "OPENAI_API_KEY"
TRANSIENT = {408, 409, 425, 429}  # and 5xx
REFUSED = {401, 402, 403, 404, 405}  # holds for every request, so the first one stops the batch
ADAPTED = "the server wanted other settings; they were changed"
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL}  # our side's shortage, not theirs


class ChatEndpoint:
    """A chat-completions endpoint; offers `Generates`.

    The key is read from the environment whenever it is sent and is never kept, shown or pickled; user and password of
    an address take its place and do not survive a pickle. Transient failures are tried again with capped back-off,
    full jitter and Retry-After. Whatever holds for every request (wrong key, unknown model, nothing listening) raises
    ModelError.

    Args:
        model: The model's name at the server.
        url: The address. Without a path it gets /v1; a trailing /chat/completions may be there or not.
        key_env: The variable that holds the key. Default: OPENAI_API_KEY, and none for addresses of this machine.
        workers: Requests in flight at most, over all threads that use this endpoint.
        timeout: Seconds until an attempt counts as hung.
        rpm: Requests started per minute at most, evenly spaced.
        backoff: Seconds of the first back-off; it doubles with every attempt.
        backoff_cap: Seconds of the longest back-off.
        patience: Seconds of the longest Retry-After that is honoured.
    """

    local = False

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key_env: str | None = None,
        workers: int = 16,
        timeout: float = 120.0,
        rpm: float | None = None,
        backoff: float = 0.5,
        backoff_cap: float = 30.0,
        patience: float = 120.0,
    ) -> None:
        for setting, value in (("workers", workers), ("timeout", timeout), ("rpm", rpm)):
            if value is not None and not value > 0:
                raise UsageError(f"{setting} is {value}; it must be above 0")
        if "@http" in model:  # "NAME@http://user:password@HOST", split at its last @: a password would become the name
            raise UsageError("the model's name holds an address; a user and password go into url=, apart from the name")
        self.name = model
        self.url, self._login = wire.split_address(url)
        if self._login and key_env is not None:
            raise UsageError(f"{self.url} has both a user in its address and --key-env {key_env}; leave one out")
        self.identity = f"openai:{model}@{self.url}"
        self.simulated = False
        self.workers = workers
        self.key_env = key_env or (None if wire.is_local(urlsplit(self.url).hostname or "") else DEFAULT_KEY)
        self._has_login, self._needs_key = bool(self._login), key_env is not None
        self._timeout, self._gap = timeout, 60.0 / rpm if rpm else 0.0
        self._backoff, self._backoff_cap, self._patience = backoff, backoff_cap, patience
        self._dialect = wire.Dialect()
        self._connection: _Connection | None = None
        self._answered = False
        self._not_before = 0.0
        self._secrets()  # a missing key shows here, not after the first batch is prepared

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as answers come in, each request at most `attempts` times."""
        return stream(lambda: self._all(requests, attempts))

    def arrivals(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome] | None]:
        """Yield like `generate`, and None whenever nothing more has come yet."""
        return arrivals(lambda: self._all(requests, attempts))

    def share_rate(self, processes: int) -> None:
        """Keep to an equal part of the rate limit: so many processes ask at once."""
        self._gap *= processes

    def close(self) -> None:
        """Close the connections; they open again at the next request."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(wait=5.0)

    async def _all(self, requests: Sequence[Request], attempts: int) -> AsyncIterator[tuple[int, Outcome]]:
        """Run a fixed pool of workers over the requests and yield outcomes as they come in."""
        todo = iter(enumerate(requests))
        done: asyncio.Queue[tuple[int, Outcome] | BaseException] = asyncio.Queue()

        async def work() -> None:
            try:
                for index, request in todo:
                    done.put_nowait((index, await self._ask(request, attempts)))
            except BaseException as error:  # handed to the consumer, who cancels the others
                done.put_nowait(error)
                raise

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.workers, len(requests)))]
        try:
            for _ in requests:
                got = await done.get()
                if isinstance(got, BaseException):
                    raise got
                yield got
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, request: Request, attempts: int) -> Outcome:
        """Ask once, and again after transient failures, up to `attempts` times in all."""
        outcome: Outcome = Failure("no attempt was allowed", attempts=0)
        for attempt in range(1, attempts + 1):
            connection = self._connect()
            async with connection.slots:
                await self._turn()
                got = await self._attempt(connection, request, attempt)
            if isinstance(got, ModelError):
                raise got  # from here: the frames below hold what was sent and what came back
            outcome = got
            if isinstance(outcome, Answer) or not outcome.transient or attempt == attempts:
                break
            if outcome.reason != ADAPTED:
                longest = min(self._backoff_cap, self._backoff * 2.0 ** min(attempt - 1, 60))
                jitter = random.uniform(0, longest)  # timing only: no result depends on it
                await asyncio.sleep(max(outcome.retry_after, jitter))
        return outcome

    async def _turn(self) -> None:
        """Wait until the next request may start: the rate limit, or the pause that a 429 asked for."""
        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        if self._gap:
            self._not_before = time.monotonic() + self._gap

    async def _attempt(self, connection: _Connection, request: Request, attempt: int) -> Outcome | ModelError:
        import aiohttp

        secrets, sent = self._secrets(), self._dialect
        try:
            async with connection.session.post(
                f"{self.url}/chat/completions",
                data=sent.body(self.name, request),
                headers=secrets.headers(),
                proxy=connection.proxy,
                allow_redirects=False,  # a redirect would be a second request, to someone else
            ) as answer:
                reply = wire.Reply(answer.status, await answer.read(), answer.headers)
        except TimeoutError:
            return Failure(f"no answer within {self._timeout:g} s", attempts=attempt)
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(error, secrets, attempt)
        self._answered = True
        return self._judge(reply, request, sent, secrets, attempt)

    def _unreachable(self, error: Exception, secrets: wire.Secrets, attempt: int) -> Failure | ModelError:
        """Tell a server that is gone for a moment from one that was never there."""
        import aiohttp

        if not isinstance(error, aiohttp.ClientConnectorError):
            return Failure(secrets.scrub(f"no connection: {type(error).__name__}: {error}"), attempts=attempt)
        words = secrets.scrub(str(error.os_error))
        if self._answered or error.os_error.errno in EXHAUSTED:
            return Failure(f"no connection: {words}", attempts=attempt)
        what, todo = "nothing answers at", "start the server or correct the address"
        if isinstance(error, aiohttp.ClientSSLError):
            what, todo = "no secure connection to", "correct the address or the server's certificate"
        return ModelError(f"{what} {self.url} ({words}); {todo}")

    def _judge(
        self, reply: wire.Reply, request: Request, sent: wire.Dialect, secrets: wire.Secrets, attempt: int
    ) -> Outcome | ModelError:
        """Return what a reply means; a ModelError where every other request would fare the same."""
        status, body, headers = reply
        if 200 <= status < 300:
            try:
                answer, simulated = wire.read_reply(body, request, attempt)
            except ValueError as error:
                return Failure(secrets.scrub(f"{error}: {wire.server_error(body)[0]}"), attempts=attempt)
            self.simulated = self.simulated or simulated
            return answer
        reason = secrets.scrub(f"HTTP {status}: {wire.server_error(body)[0]}")
        if status in TRANSIENT or status >= 500:
            wait = wire.retry_after(headers, self._patience)
            if status == 429 and wait:
                self._not_before = max(self._not_before, time.monotonic() + wait)
            return Failure(reason, True, attempt, wait)
        if status in REFUSED or 300 <= status < 400:
            todo = secrets.scrub(self._advice(status, headers))
            return ModelError(f"{secrets.scrub(self.name)} at {self.url} refused: {reason}; {todo}")
        if status in (400, 422):
            self._dialect = self._dialect.corrected(body)
            if self._dialect != sent:  # learnt now, or by another request while this one was under way
                return Failure(ADAPTED, True, attempt)
        return Failure(reason, False, attempt)

    def _advice(self, status: int, headers: Mapping[str, str]) -> str:
        if status in (404, 405):
            return "correct the model's name or the address"
        if status == 402:
            return "the account has no credit left"
        if status < 400:
            return f"correct the address: the server points to {headers.get('Location', 'another one')}"
        if self._has_login:
            return "check user and password in the address"
        if not self.key_env:  # an address of this machine is never sent the default key
            return "name the variable that holds its key with --key-env"
        found = os.environ.get(self.key_env)
        return f"check the key in {self.key_env}" if found else f"set {self.key_env} or --key-env"

    def _secrets(self) -> wire.Secrets:
        """Return what authorises a request, read anew every time."""
        if self._has_login:
            if not self._login:
                raise UsageError(f"user and password of {self.url} do not travel in a pickle; open the model again")
            return self._login
        key = os.environ.get(self.key_env, "").strip() if self.key_env else ""
        if self._needs_key and not key:
            raise UsageError(f"environment variable {self.key_env} (--key-env) is not set")
        if not key.isprintable() or not key.isascii():
            raise UsageError(f"the key in {self.key_env} holds a line break or another character no key has")
        return wire.Secrets(key)

    def _connect(self) -> _Connection:
        """Return the keep-alive connections of the running loop."""
        loop = asyncio.get_running_loop()
        if self._connection is None or self._connection.loop is not loop:
            self._connection = _Connection.open(loop, self)
        return self._connection

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.name!r}, {self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        # Times of a monotonic clock and "it has answered" hold for one process only.
        return {**self.__dict__, "_connection": None, "_answered": False, "_not_before": 0.0}


@dataclass(eq=False)
class _Connection:
    """The keep-alive session of one endpoint on one loop, and its limit of requests in flight."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore
    proxy: str | None
    pid: int

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop, endpoint: ChatEndpoint) -> _Connection:
        import aiohttp

        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=endpoint._timeout),
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # Not aiohttp's trust_env: it reads .netrc and the proxy in two threads per request, at twice the CPU time.
        made = cls(loop, session, asyncio.Semaphore(endpoint.workers), wire.env_proxy(endpoint.url), os.getpid())
        _OPEN.add(made)
        weakref.finalize(endpoint, made.close).atexit = False
        return made

    def close(self, wait: float = 0.0) -> None:
        """Close the session on its own loop, whichever thread asks."""
        if self.pid != os.getpid() or not self.loop.is_running():
            return  # after a fork the sockets are the parent's: stay in _OPEN, untouched
        _OPEN.discard(self)
        closing = asyncio.run_coroutine_threadsafe(self.session.close(), self.loop)
        if wait:
            with contextlib.suppress(Exception):
                closing.result(wait)


_OPEN: set[_Connection] = set()


@atexit.register
def _close_all() -> None:
    for connection in list(_OPEN):
        connection.close(wait=2.0)
