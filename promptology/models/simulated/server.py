"""The simulated chat model over real HTTP, with an OpenAI-compatible interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from promptology.errors import UsageError
from promptology.models.simulated.chat import SimulatedChat, count, from_spec, shorten

HEADERS = {"X-Simulated": "true"}


def build_app(chat: SimulatedChat, latency: float = 0.0) -> Any:
    """Return an aiohttp application: POST /v1/chat/completions, GET /v1/models, GET /stats (requests seen)."""
    from aiohttp import web

    seen: Counter[str] = Counter()

    async def complete(request: web.Request) -> web.Response:
        body = await request.text()
        try:
            doc = json.loads(body)
            messages = [(str(m["role"]), _content(m["content"])) for m in doc["messages"]]
            temperature, seed = float(doc.get("temperature") or 0.0), doc.get("seed")
            limit = doc.get("max_completion_tokens") or doc.get("max_tokens")
            samples = int(doc.get("n") or 1)
            stop = doc.get("stop") or []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = {"error": {"message": f"malformed request: {error!r}", "type": "invalid_request_error"}}
            return web.json_response(message, status=400, headers=HEADERS)
        seen[json.dumps(doc, sort_keys=True)] += 1
        if latency:
            await asyncio.sleep(latency)
        choices = []
        for n in range(samples):
            text = chat.reply(messages, (seed or 0) + n, temperature)
            for mark in [stop] if isinstance(stop, str) else stop:
                text = text.split(mark)[0]
            text, cut = shorten(text, limit)
            message = {"role": "assistant", "content": text}
            choices.append({"index": n, "message": message, "finish_reason": "length" if cut else "stop"})
        tokens_in = sum(count(content) for _, content in messages)
        tokens_out = sum(count(c["message"]["content"]) for c in choices)  # type: ignore[index]
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
        reply = {
            "id": "simulated",
            "object": "chat.completion",
            "created": 0,
            "model": doc.get("model", chat.name),
            "system_fingerprint": "simulated",
            "choices": choices,
            "usage": usage,
        }
        return web.json_response(reply, headers=HEADERS)

    async def models(request: web.Request) -> web.Response:
        entry = {"id": chat.name, "object": "model", "created": 0, "owned_by": "simulation"}
        return web.json_response({"object": "list", "data": [entry]}, headers=HEADERS)

    async def stats(request: web.Request) -> web.Response:
        repeats = Counter(seen.values())
        return web.json_response(
            {"requests": seen.total(), "distinct": len(seen), "repeats": {str(k): v for k, v in sorted(repeats.items())}}
        )

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/stats", stats)
    return app


def _content(value: Any) -> str:
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) for part in value)
    return str(value)


def serve(
    spec: str, port: int, latency: float, host: str = "127.0.0.1", ready: Callable[[str], None] | None = None
) -> None:
    """Serve until interrupted; port 0 takes any free one. `ready` is called with the base address."""
    chat = from_spec(spec)

    async def main() -> None:
        from aiohttp import web

        runner = web.AppRunner(build_app(chat, latency), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
        taken = runner.addresses[0][1]
        if ready:
            ready(f"http://{host}:{taken}/v1")
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
