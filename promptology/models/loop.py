"""One background event loop per process, so that HTTP works in scripts, threads and notebooks alike."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid = 0


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop of this process; a forked child gets its own."""
    global _loop, _pid
    with _lock:
        if _loop is None or _pid != os.getpid():
            _loop, _pid = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="promptology-http", daemon=True).start()
        return _loop


def arrivals(source: Callable[[], AsyncIterator[T]]) -> Iterator[T | None]:
    """Yield what an asynchronous iterator yields, and None whenever nothing more has come and waiting begins.

    Leaving early cancels it; its errors are raised here.
    """
    loop = background_loop()
    arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    async def pump() -> None:
        try:
            async for value in source():
                arrived.put(("value", value))
            arrived.put(("end", None))
        except BaseException as error:  # whatever ends the pump must end the consumer too
            arrived.put(("error", error))
            if not isinstance(error, Exception):
                raise

    future = asyncio.run_coroutine_threadsafe(pump(), loop)
    try:
        while True:
            try:
                kind, value = arrived.get_nowait()
            except queue.Empty:
                yield None
                kind, value = arrived.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        future.cancel()


def stream(source: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Yield what an asynchronous iterator yields; see `arrivals`."""
    return (value for value in arrivals(source) if value is not None)
