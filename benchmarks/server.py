"""A lean OpenAI-compatible server in its own process: chat completions whose answer follows from the question's text.

It reads the item's code out of the request body without parsing it, so that it takes a small part of the two cores
that it shares with its client. POST /weather sets how it behaves and clears the counters, GET /stats returns them.
It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.faults import Weather, fate
from benchmarks.items import CODE_SIZE, MARK, answer_of

LENGTH = re.compile(rb"\r\ncontent-length:[ ]*(\d+)", re.I)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ ]*chunked", re.I)
FIELD = b"[[ ## label ## ]]"  # the form in which DSPy asks for a field, and reads it
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


class Book:
    """The weather, the counters, and how often each item was asked for."""

    def __init__(self) -> None:
        self.set(Weather(latency=0.0))

    def set(self, weather: Weather) -> None:
        """Take another weather and begin to count anew."""
        self.weather = weather
        self.attempts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.again = self.in_flight = self.most = self.connections = 0
        self.cpu = used()

    def stats(self) -> dict[str, Any]:
        """Return the counters; `again` counts requests for an item that had been answered."""
        return {
            "requests": self.attempts.total(),
            "distinct": len(self.attempts),
            "answered": len(self.answered),
            "again": self.again,
            "kinds": dict(self.kinds),
            "most_in_flight": self.most,
            "connections": self.connections,
            "cpu": used() - self.cpu,
        }


def used() -> float:
    """Return the seconds of processor time that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def reply(status: int, body: bytes, more: str = "") -> bytes:
    """Return a whole HTTP response."""
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{more}\r\n".encode() + body


def error(status: int, kind: str, message: str, more: str = "") -> bytes:
    """Return an error in the form that OpenAI's servers use."""
    return reply(status, json.dumps({"error": {"message": message, "type": kind, "code": kind}}).encode(), more)


def completion(code: str, body: bytes) -> bytes:
    """Return the answer to a question about an item, in the form in which it was asked for."""
    text = answer_of(code)
    if FIELD in body:
        text = f"[[ ## label ## ]]\\n{text}\\n\\n[[ ## completed ## ]]"
    read, wrote = len(body) // 4, 1 + len(text) // 4
    return reply(
        200,
        f'{{"id":"{code}","object":"chat.completion","created":0,"model":"bench","choices":[{{"index":0,"message":'
        f'{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{read},'
        f'"completion_tokens":{wrote},"total_tokens":{read + wrote}}}}}'.encode(),
    )


class Connection(asyncio.Protocol):
    """One keep-alive connection. Requests are answered in order; what comes early waits in the buffer."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.buffer = b""
        self.busy = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.book.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a hung request go with its connection."""
        self.transport = None
        if self.busy:
            self.book.in_flight -= 1
            self.busy = False

    def data_received(self, data: bytes) -> None:
        """Keep what came and look whether a whole request is there."""
        self.buffer += data
        if not self.busy:
            self.next()

    def next(self) -> None:
        """Take the next whole request out of the buffer, if there is one."""
        while not self.busy and self.transport is not None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end]
            if CHUNKED.search(head):
                self.transport.write(error(400, "invalid_request_error", "send the body with a Content-Length"))
                self.transport.close()
                return
            found = LENGTH.search(head)
            stop = end + 4 + (int(found[1]) if found else 0)
            if len(self.buffer) < stop:
                return
            body, self.buffer = self.buffer[end + 4 : stop], self.buffer[stop:]
            self.route(head, body)

    def route(self, head: bytes, body: bytes) -> None:
        """Answer one request, now or later."""
        assert self.transport is not None
        if head.startswith(b"POST /v1/chat/completions "):
            self.complete(body)
        elif head.startswith(b"GET /stats "):
            self.transport.write(reply(200, json.dumps(self.book.stats()).encode()))
        elif head.startswith(b"POST /weather "):
            self.book.set(Weather(**json.loads(body)))
            self.transport.write(reply(200, b"{}"))
        else:
            self.transport.write(error(404, "not_found", "there are /v1/chat/completions, /weather and /stats"))

    def complete(self, body: bytes) -> None:
        """Decide what becomes of a question, and answer after its latency."""
        assert self.transport is not None
        book = self.book
        at = body.rfind(MARK)
        if at < 0:
            self.transport.write(error(400, "invalid_request_error", "the question names no item"))
            return
        code = body[at : at + CODE_SIZE].decode("ascii", "replace")
        book.attempts[code] += 1
        book.again += code in book.answered
        kind, latency = fate(book.weather, code, book.attempts[code])
        book.kinds[kind] += 1
        book.in_flight += 1
        book.most = max(book.most, book.in_flight)
        self.busy = True
        if kind == "hung":
            return
        if kind == "limited":
            more = f"Retry-After: {book.weather.retry_after:g}\r\n"
            ready = error(429, "rate_limit_exceeded", "too many requests", more)
        elif kind == "broken":
            ready = error(500, "server_error", "something broke")
        else:
            ready = completion(code, body)
        if latency > 0:
            asyncio.get_running_loop().call_later(latency, self.send, ready, code, kind == "answered")
        else:
            self.send(ready, code, kind == "answered")

    def send(self, ready: bytes, code: str, answered: bool) -> None:
        """Write a response, unless its client has gone, and go on with what waits."""
        if self.transport is None:
            return
        self.busy = False
        self.book.in_flight -= 1
        if answered:
            self.book.answered[code] += 1
        self.transport.write(ready)
        if self.buffer:
            self.next()


async def main() -> None:
    """Listen on a free port, say which as a JSON line, and serve until standard input ends."""
    loop, book, over = asyncio.get_running_loop(), Book(), asyncio.Event()
    server = await loop.create_server(lambda: Connection(book), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    loop.add_reader(sys.stdin.fileno(), lambda: over.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    gc.freeze()
    await over.wait()


if __name__ == "__main__":
    asyncio.run(main())
