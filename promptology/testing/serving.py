"""A real HTTP server around any model that generates, in a thread of this process; it counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from promptology.models.access import Answer, Generates, Request


class Served:
    """A served model: its address, the requests that came in, and a hook that sees their number before the answer."""

    def __init__(self, model: Generates, slowest: float) -> None:
        self.model = model
        self.url = ""
        self.requests = 0
        self.answered: Counter[str] = Counter()
        self.on_request: Callable[[int], None] = lambda n: None
        self.slowest = slowest
        self._one = threading.Lock()

    async def complete(self, request: Any) -> Any:
        """Answer POST /v1/chat/completions."""
        from aiohttp import web

        body = await request.text()
        doc = json.loads(body)
        self.requests += 1
        self.on_request(self.requests)
        # Delays that depend on the content alone, so that answers come back in another order than they were asked for.
        await asyncio.sleep(self.slowest * hashlib.blake2b(body.encode(), digest_size=1).digest()[0] / 255)
        outcome = await asyncio.get_running_loop().run_in_executor(None, self._ask, doc)
        if not isinstance(outcome, Answer):
            return web.json_response({"error": {"message": outcome.reason}}, status=503 if outcome.transient else 422)
        self.answered[body] += 1
        choice = {
            "message": {"role": "assistant", "content": outcome.text},
            "finish_reason": "length" if outcome.truncated else "stop",
        }
        usage = {"prompt_tokens": outcome.tokens_in, "completion_tokens": outcome.tokens_out}
        return web.json_response({"model": doc.get("model"), "choices": [choice], "usage": usage})

    def _ask(self, doc: dict[str, Any]) -> Any:
        stop = doc.get("stop") or ()
        request = Request(
            tuple((m["role"], m["content"]) for m in doc["messages"]),
            float(doc.get("temperature") or 0.0),
            int(doc.get("max_completion_tokens") or doc.get("max_tokens") or 512),
            (stop,) if isinstance(stop, str) else tuple(stop),
            seed=doc.get("seed"),
        )
        with self._one:  # a third party's model need not take two threads at once
            ((_, outcome),) = self.model.generate([request])
        return outcome


@contextlib.contextmanager
def served(model: Generates, slowest: float = 0.002) -> Iterator[Served]:
    """Serve a model at a free port of this machine; `slowest`: seconds of the longest delay."""
    from aiohttp import web

    server = Served(model, slowest)
    loop = asyncio.new_event_loop()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, access_log=None)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, name="promptology-served", daemon=True)
    thread.start()
    port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    server.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
