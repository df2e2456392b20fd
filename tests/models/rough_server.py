"""A real HTTP server that misbehaves on demand, in a thread of the test process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from aiohttp import web

Handler = Callable[["RoughServer", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def completion(text: str | None = "ok", finish: str = "stop", **extra: Any) -> dict[str, Any]:
    doc: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": finish}], **extra}
    return {"usage": {"prompt_tokens": 7, "completion_tokens": 3}, **doc}


def asked(doc: dict[str, Any]) -> str:
    return str(doc["messages"][-1]["content"]) if "messages" in doc else str(doc["prompt"])


async def echo(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
    """Answer with the last message; take `latency` seconds."""
    await asyncio.sleep(server.latency)
    return web.json_response(completion(asked(doc)))


def vectors(texts: list[str]) -> dict[str, Any]:
    """Return vectors of three numbers, the last text first: length, letters e, 1. Each text is of two tokens."""
    rows = [[float(len(text)), float(text.count("e")), 1.0] for text in texts]
    data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)]
    return {"data": data[::-1], "usage": {"prompt_tokens": 2 * len(texts), "total_tokens": 2 * len(texts)}}


async def embed(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
    """Answer with vectors."""
    return web.json_response(vectors(doc["input"]))


def reply(status: int = 200, body: Any = None, **headers: str) -> Handler:
    """Always the same reply: a text as it stands, anything else as JSON."""

    async def handler(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(completion() if body is None else body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named, content_type="application/json")

    return handler


def error(status: int, message: str, **fields: Any) -> Handler:
    return reply(status, {"error": {"message": message, **fields}})


async def drop(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
    """Cut the connection in place of a reply."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
    """Never answer; note when the client gives up."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        server.given_up += 1
        raise
    return web.Response()


async def leak(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
    """Refuse, and repeat the credentials that were sent."""
    message = f"wrong key\x1b[31m {request.headers.get('Authorization')}\nbye"
    return web.json_response({"error": {"message": message}}, status=401)


def refuse(name: str, message: str, otherwise: Handler = echo) -> Handler:
    """Answer 400 with `message` to every request that carries the setting `name`."""

    async def handler(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
        if name in doc:
            return await error(400, message)(server, request, doc)
        return await otherwise(server, request, doc)

    return handler


def script(*steps: Handler, then: Handler = echo) -> Handler:
    """One handler per request in order of arrival, then `then`."""
    left = list(steps)

    async def handler(server: RoughServer, request: web.Request, doc: dict[str, Any]) -> web.StreamResponse:
        return await (left.pop(0) if left else then)(server, request, doc)

    return handler


class RoughServer:
    """Serves one handler; counts requests and how many were in flight at once."""

    def __init__(self, handler: Handler = echo, latency: float = 0.0) -> None:
        self.handler, self.latency = handler, latency
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.in_flight = self.peak = self.given_up = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.bodies.append(raw)
        self.headers.append(dict(request.headers))
        self.times.append(self._loop.time())
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self.handler(self, request, json.loads(raw))
        finally:
            self.in_flight -= 1

    async def _start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._serve)
        app.router.add_post("/v1/completions", self._serve)
        app.router.add_post("/v1/embeddings", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def __enter__(self) -> RoughServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Stop listening and cut what is open."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)

    def restart(self) -> None:
        """Listen again, on the same port."""
        port = int(self.url.rpartition(":")[2])
        asyncio.run_coroutine_threadsafe(self._start(port), self._loop).result(10)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
