"""One background event loop per process, so that HTTP works in scripts, threads and notebooks alike."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Source = Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]
"""A coroutine function that is given `deliver` and calls it, on the loop, with each value as it comes."""

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


def arrivals(source: Source[T]) -> Iterator[T | None]:
    """Yield what a source delivers, and None whenever nothing more has come and waiting begins.

    Leaving early cancels it; its errors are raised here.
    """
    loop = background_loop()
    arrived: queue.SimpleQueue[tuple[list[T], bool, BaseException | None]] = queue.SimpleQueue()
    ready: list[T] = []

    def hand_over() -> None:
        nonlocal ready
        if ready:
            arrived.put((ready, False, None))
            ready = []

    def deliver(value: T) -> None:
        # What comes in one turn of the loop crosses to the other thread together: a wake-up costs more than a value.
        if not ready:
            loop.call_soon(hand_over)
        ready.append(value)

    async def pump() -> None:
        try:
            await source(deliver)
            arrived.put((ready, True, None))
        except BaseException as error:  # whatever ends the pump must end the consumer too
            arrived.put((ready, True, error))
            if not isinstance(error, Exception):
                raise

    future = asyncio.run_coroutine_threadsafe(pump(), loop)
    try:
        ended = False
        while not ended:
            if arrived.empty():
                yield None
            values, ended, error = arrived.get()
            yield from values
            if error is not None:
                raise error
    finally:
        future.cancel()


def stream(source: Source[T]) -> Iterator[T]:
    """Yield what a source delivers; see `arrivals`."""
    return (value for value in arrivals(source) if value is not None)
