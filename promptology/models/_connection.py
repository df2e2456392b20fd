"""What an endpoint keeps on one event loop: sockets, limit, who asks for what, and whether the server is gone."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import random
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from promptology.models import _http_wire as wire
from promptology.models.access import Request

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

T = TypeVar("T")
LONGEST_CONNECT = 30.0
"""Seconds until a host that does not even take the connection counts as not there."""
PROBE_EVERY = 5.0
"""Seconds at most between two looks whether a server is back."""


class Flight(Generic[T]):
    """A request that is under way, and those who asked the same in the meantime.

    `leader`: the task that sends it. It is left to finish while someone else still waits for it.
    """

    __slots__ = ("_waiting", "leader")

    def __init__(self) -> None:
        self.leader = asyncio.current_task()
        self._waiting: list[asyncio.Future[T | None]] = []

    @property
    def wanted(self) -> bool:
        """Whether anyone but the leader still waits."""
        return any(not waiting.done() for waiting in self._waiting)

    async def join(self) -> T | None:
        """Return what the leader got; None where it was stopped before it got anything."""
        waiting: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        return await waiting

    def land(self, got: T | None) -> None:
        """Tell everyone who waits."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(got)


class Outage:
    """A server that has answered before and cannot be reached now: one request probes, the others queue behind it."""

    def __init__(self, first: float, cap: float) -> None:
        self.began = time.monotonic()
        self.turn = asyncio.Lock()
        self._delay, self._cap = first, min(cap, PROBE_EVERY)
        self.next = 0.0
        self.put_off()

    @property
    def lasted(self) -> float:
        """Seconds since the server went away."""
        return time.monotonic() - self.began

    def put_off(self) -> None:
        """Set when the next probe is due; the pause doubles, and varies so that many clients do not come at once."""
        self.next = time.monotonic() + self._delay * random.uniform(0.5, 1.0)  # timing only: no result depends on it
        self._delay = min(2 * self._delay, self._cap)


@dataclass(eq=False)
class Connection:
    """The keep-alive session of one endpoint on one loop. `slots` limits the requests in flight."""

    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    url: URL
    slots: asyncio.Semaphore
    proxy: str | None
    pid: int
    flights: dict[Request, Flight[Any]] = field(default_factory=dict)
    outage: Outage | None = None
    outliving: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def open(
        cls, loop: asyncio.AbstractEventLoop, owner: object, *, url: str, path: str, workers: int, timeout: float
    ) -> Connection:
        """Open a session on the loop; it closes when `owner` is gone."""
        import aiohttp
        from yarl import URL

        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout / 2, LONGEST_CONNECT)),
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # Not aiohttp's trust_env: it reads .netrc and the proxy in two threads per request, at twice the CPU time.
        slots, proxy = asyncio.Semaphore(workers), wire.env_proxy(url)
        made = cls(loop, session, URL(url + path), slots, proxy, os.getpid())
        _OPEN.add(made)
        weakref.finalize(owner, made.close).atexit = False
        return made

    def leave(self, workers: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
        """Cancel the workers of a batch that is over, and return them; one that others wait for may finish first."""
        leading = {flight.leader: flight for flight in self.flights.values()}
        ending = [worker for worker in workers if worker not in leading]
        for worker in ending:  # before the leaders, so that a flight that only they wait for is not wanted
            worker.cancel()
        for worker in workers:
            flight = leading.get(worker)
            if flight is None:
                continue
            if flight.wanted:
                self.outliving.add(worker)
                worker.add_done_callback(self._outlived)
            else:
                worker.cancel()
                ending.append(worker)
        return ending

    def _outlived(self, worker: asyncio.Task[None]) -> None:
        self.outliving.discard(worker)
        if not worker.cancelled():
            worker.exception()  # taken, so that nobody complains that it was not

    def close(self, wait: float = 0.0) -> None:
        """Close the session on its own loop, whichever thread asks."""
        if self.pid != os.getpid() or not self.loop.is_running():
            return  # after a fork the sockets are the parent's: stay in _OPEN, untouched
        _OPEN.discard(self)
        closing = asyncio.run_coroutine_threadsafe(self.session.close(), self.loop)
        if wait:
            with contextlib.suppress(Exception):
                closing.result(wait)


_OPEN: set[Connection] = set()


@atexit.register
def _close_all() -> None:
    for connection in list(_OPEN):
        connection.close(wait=2.0)
