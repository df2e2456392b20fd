"""A model behind an OpenAI-compatible server, hosted or local: sending, waiting, sharing, retrying, refusing."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from promptology.errors import ModelError, UsageError
from promptology.models import _http_wire as wire
from promptology.models._connection import Connection, Flight, Outage
from promptology.models.access import Answer, Failure, Outcome, Request
from promptology.models.loop import arrivals

Deliver = Callable[[tuple[int, Outcome]], None]
log = logging.getLogger("promptology")

DEFAULT_KEY = "OPENAI_API_KEY"
TRANSIENT = {408, 409, 425, 429}  # and 5xx
REFUSED = {401, 402, 403, 404, 405}  # holds for every request, so the first one stops the batch
REFUSALS = 3
"""429s without an answer between them that delay every request; fewer delay only the requests that they refused."""
ADAPTED = "the server wanted other settings; they were changed"
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL}  # our side's shortage, not theirs


class Gone(NamedTuple):
    """No connection to a server that has answered before; the request was never sent."""

    words: str


class Endpoint:
    """What every kind of endpoint does; a subclass says where it posts, what, and how a reply is read.

    The key is read from the environment whenever it is sent and is never kept, shown or pickled; user and password of
    an address take its place and do not survive a pickle. Equal requests that are in flight at the same time, from any
    thread, are sent once; those that only shared an answer say so with `attempts` 0. Transient failures are tried again
    with capped back-off, full jitter and Retry-After. A server that goes away (a restart) is waited for: one request
    probes, the rest queue, no attempt is used up, and the logger "promptology" says so once. Whatever holds for every
    request (wrong key, unknown model, nothing listening) raises ModelError.

    Args:
        model: The model's name at the server.
        url: The address. Without a path it gets /v1; a trailing /chat/completions or /completions may be there or not.
        key_env: The variable that holds the key. Default: OPENAI_API_KEY, and none for addresses of this machine.
        workers: Requests in flight at most, over all threads that use this endpoint.
        timeout: Seconds until an attempt counts as hung.
        rpm: Requests started per minute at most, evenly spaced.
        backoff: Seconds of the first back-off; it doubles with every attempt.
        backoff_cap: Seconds of the longest back-off.
        patience: Seconds of the longest Retry-After that is honoured, and that a server that went away is waited for.
    """

    local = False
    scheme = ""
    path = ""

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
        self.identity = f"{self.scheme}:{model}@{self.url}"
        self.simulated = False
        self.workers = workers
        self.key_env = key_env or (None if wire.is_local(urlsplit(self.url).hostname or "") else DEFAULT_KEY)
        self._has_login, self._needs_key = bool(self._login), key_env is not None
        self._timeout, self._gap = timeout, 60.0 / rpm if rpm else 0.0
        self._backoff, self._backoff_cap, self._patience = backoff, backoff_cap, patience
        self._dialect = wire.Dialect()
        self._connection: Connection | None = None
        self._answered = False
        self._not_before = 0.0
        self._refusals = 0
        self._secrets()  # a missing key shows here, not after the first batch is prepared

    def arrivals(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome] | None]:
        """Yield (index, outcome) as outcomes come in, and None whenever nothing more has come yet."""
        return arrivals(lambda deliver: self._all(requests, attempts, deliver))

    def share_rate(self, processes: int) -> None:
        """Keep to an equal part of the rate limit: so many processes ask at once."""
        self._gap *= processes

    def close(self) -> None:
        """Close the connections; they open again at the next request."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(wait=5.0)

    async def _all(self, requests: Sequence[Request], attempts: int, deliver: Deliver) -> None:
        """Run a fixed pool of workers over the requests and deliver outcomes as they come in."""
        if not requests:
            return
        connection = self._connect()
        todo = iter(enumerate(requests))
        over = asyncio.Event()

        async def work() -> None:
            for index, request in todo:
                deliver((index, await self._ask(request, attempts, over)))
                if over.is_set():
                    return

        # Twice as many as may be in flight, so that those that wait for their next try leave no slot empty.
        pool = self.workers * (2 if attempts > 1 else 1)
        workers = [asyncio.ensure_future(work()) for _ in range(min(pool, len(requests)))]
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                if not worker.cancelled():
                    worker.result()
        finally:
            over.set()
            await asyncio.gather(*connection.leave(workers), return_exceptions=True)

    async def _ask(self, request: Request, attempts: int, over: asyncio.Event) -> Outcome:
        """Ask once, and again after transient failures, `attempts` times at most.

        A request that is equal to one under way waits for that one's outcome and sends nothing itself.
        """
        outcome: Outcome = Failure("no attempt was allowed", attempts=0)
        tried = sent = pauses = 0
        while tried < attempts:
            connection = self._connect()
            flight: Flight[Outcome | ModelError] | None = connection.flights.get(request)
            if flight is None:
                tried += 1
                got = await self._lead(connection, request, sent + 1, over)
                if isinstance(got, ModelError):
                    over.set()
                    raise got  # from here: the frames below hold what was sent and what came back
                outcome, sent = got, got.attempts
            elif (shared := await flight.join()) is None:
                continue  # its leader was stopped
            elif isinstance(shared, ModelError):
                raise ModelError(str(shared))
            else:
                outcome = replace(shared, attempts=sent)
            if isinstance(outcome, Answer) or not outcome.transient or tried == attempts or over.is_set():
                break
            if outcome.reason != ADAPTED:
                longest = min(self._backoff_cap, self._backoff * 2.0 ** min(pauses, 60))
                jitter = random.uniform(0, longest)  # timing only: no result depends on it
                await asyncio.sleep(max(outcome.retry_after, jitter))
                pauses += 1
        return outcome

    async def _lead(
        self, connection: Connection, request: Request, attempt: int, over: asyncio.Event
    ) -> Outcome | ModelError:
        """Send a request for all who ask it meanwhile."""
        flight: Flight[Outcome | ModelError] = Flight()
        connection.flights[request] = flight
        got: Outcome | ModelError | None = None
        try:
            async with connection.slots:
                await self._turn()
                if over.is_set():  # the slot came free because the batch has ended
                    raise asyncio.CancelledError
                got = await self._attempt(connection, request, attempt)
            return got
        finally:
            del connection.flights[request]
            flight.land(got)

    async def _turn(self) -> None:
        """Wait until the next request may start: the rate limit, or the pause that a 429 asked for."""
        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        if self._gap:
            self._not_before = time.monotonic() + self._gap

    async def _attempt(self, connection: Connection, request: Request, attempt: int) -> Outcome | ModelError:
        """Send a request; where the server has gone away since it last answered, wait for it first.

        A connection that was refused is no attempt: the server never saw the request.
        """
        while True:
            outage = connection.outage
            if outage is None:
                got = await self._post(connection, request, attempt)
                if not isinstance(got, Gone):
                    return got
                if connection.outage is None:
                    connection.outage = Outage(self._backoff, self._backoff_cap)
                    log.warning(f"{self.url} is gone ({got.words}); waiting for it, at most {self._patience:g} s")
                continue
            async with outage.turn:
                if connection.outage is not outage:  # it is back
                    await self._turn()  # not all that queued at once, where there is a rate limit
                    continue
                late = outage.lasted >= self._patience
                if (wait := outage.next - time.monotonic()) > 0:
                    if late:
                        reason = f"{self.url} has been gone for {outage.lasted:.0f} s"
                        return Failure(reason, transient=False, attempts=attempt - 1)
                    await asyncio.sleep(min(wait, max(self._patience - outage.lasted, 0.0)))
                got = await self._post(connection, request, attempt)
                if not isinstance(got, Gone):
                    connection.outage = None
                    log.info(f"{self.url} is back after {outage.lasted:.0f} s")
                    return got
                outage.put_off()

    async def _post(self, connection: Connection, request: Request, attempt: int) -> Outcome | ModelError | Gone:
        import aiohttp

        secrets, sent = self._secrets(), self._dialect
        try:
            async with connection.session.post(
                connection.url,
                data=self._body(request, sent),
                headers=secrets.headers(),
                proxy=connection.proxy,
                allow_redirects=False,  # a redirect would be a second request, to someone else
            ) as answer:
                reply = wire.Reply(answer.status, await answer.read(), answer.headers)
        except aiohttp.ServerTimeoutError as error:  # no connection in time: with our settings it means nothing else
            return self._unreachable(error, secrets, attempt)
        except TimeoutError:
            return Failure(f"no answer within {self._timeout:g} s", attempts=attempt)
        except (aiohttp.ClientError, OSError) as error:
            return self._unreachable(error, secrets, attempt)
        self._answered = True
        return self._judge(reply, request, sent, secrets, attempt)

    def _unreachable(self, error: Exception, secrets: wire.Secrets, attempt: int) -> Failure | ModelError | Gone:
        """Tell a server that is gone for a moment from one that was never there."""
        import aiohttp

        if isinstance(error, aiohttp.ClientConnectorError):
            words, code = secrets.scrub(str(error.os_error)), error.os_error.errno
        elif isinstance(error, aiohttp.ServerTimeoutError):
            words, code = "no connection in time", None
        else:  # cut after the request was sent: the server may have seen it
            return Failure(secrets.scrub(f"no connection: {type(error).__name__}: {error}"), attempts=attempt)
        if code in EXHAUSTED:
            return Failure(f"no connection: {words}", attempts=attempt - 1)
        if self._answered:
            return Gone(words)
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
                answer = self._read(body, request, attempt)
            except wire.CannotScore as error:
                return self._cannot_score(secrets.scrub(str(error)), secrets)
            except ValueError as error:
                return Failure(secrets.scrub(f"{error}: {wire.server_error(body)[0]}"), attempts=attempt)
            self.simulated = self.simulated or answer.simulated
            self._refusals = 0
            return answer
        reason = secrets.scrub(f"HTTP {status}: {wire.server_error(body)[0]}")
        if request.continuation is not None and wire.refuses_scoring(status, body):
            return self._cannot_score(reason, secrets)
        if status in TRANSIENT or status >= 500:
            wait = wire.retry_after(headers, self._patience)
            if status == 429 and wait:
                self._refusals += 1
                if self._refusals >= min(REFUSALS, self.workers):
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

    def _cannot_score(self, reason: str, secrets: wire.Secrets) -> ModelError:
        return ModelError(
            f"{secrets.scrub(self.name)} at {self.url} gives no log-probabilities of a given text ({reason}); "
            "use a server that echoes them, such as vLLM, or let the model generate"
        )

    def _body(self, request: Request, dialect: wire.Dialect) -> bytes:
        """Return the body of a request; the same request gives the same bytes."""
        raise NotImplementedError

    def _read(self, body: bytes, request: Request, attempt: int) -> Answer:
        """Return the answer in a reply; ValueError where it is malformed."""
        raise NotImplementedError

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

    def _connect(self) -> Connection:
        """Return the keep-alive connections of the running loop."""
        loop = asyncio.get_running_loop()
        if self._connection is None or self._connection.loop is not loop:
            self._connection = Connection.open(
                loop, self, url=self.url, path=self.path, workers=self.workers, timeout=self._timeout
            )
        return self._connection

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        # Times of a monotonic clock and "it has answered" hold for one process only.
        return {**self.__dict__, "_connection": None, "_answered": False, "_not_before": 0.0}
