"""The simulated model over real HTTP, with an OpenAI-compatible interface: chat, completions with echo, embeddings."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from promptology.errors import UsageError
from promptology.models.cutting import cut
from promptology.models.simulated.chat import SimulatedChat, count, from_spec, tokens
from promptology.models.simulated.embedding import embeddings
from promptology.models.simulated.scoring import text_completion

HEADERS = {"X-Simulated": "true"}


def build_app(chat: SimulatedChat, latency: float = 0.0) -> Any:
    """Return an aiohttp application: POST /v1/chat/completions, /v1/completions, /v1/embeddings, GET /v1/models, /stats."""
    from aiohttp import web

    seen: Counter[str] = Counter()
    answers = {
        "/v1/chat/completions": completion,
        "/v1/completions": text_completion,
        "/v1/embeddings": embeddings,
    }

    async def complete(request: web.Request) -> web.Response:
        try:
            doc = json.loads(await request.text())
            reply = answers[request.path](chat, doc)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fault = {"error": {"message": f"malformed request: {error!r}", "type": "invalid_request_error"}}
            return web.json_response(fault, status=400, headers=HEADERS)
        seen[json.dumps(doc, sort_keys=True)] += 1
        if latency:
            await asyncio.sleep(latency)
        return web.json_response(reply, headers=HEADERS)

    async def models(request: web.Request) -> web.Response:
        entry = {"id": chat.name, "object": "model", "created": 0, "owned_by": "simulation"}
        return web.json_response({"object": "list", "data": [entry]}, headers=HEADERS)

    async def stats(request: web.Request) -> web.Response:
        repeats = {str(times): n for times, n in sorted(Counter(seen.values()).items())}
        return web.json_response({"requests": seen.total(), "distinct": len(seen), "repeats": repeats})

    app = web.Application(client_max_size=64 * 2**20)
    for path in answers:
        app.router.add_post(path, complete)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/stats", stats)
    return app


def completion(chat: SimulatedChat, doc: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to a chat-completions request; raises KeyError, TypeError or ValueError for a malformed one."""
    messages = [(str(m["role"]), _content(m["content"])) for m in doc["messages"]]
    limit = doc.get("max_completion_tokens") or doc.get("max_tokens")
    stops = [doc["stop"]] if isinstance(doc.get("stop"), str) else doc.get("stop") or []
    choices: list[dict[str, Any]] = []
    tokens_out = 0
    for n in range(int(doc.get("n") or 1)):
        text = chat.reply(messages, int(doc.get("seed") or 0) + n, float(doc.get("temperature") or 0.0))
        text, truncated = cut(text, stops, limit)
        tokens_out += count(text)
        message = {"role": "assistant", "content": text}
        choices.append({"index": n, "message": message, "finish_reason": "length" if truncated else "stop"})
    tokens_in = tokens(messages)
    return {
        "id": "simulated",
        "object": "chat.completion",
        "created": 0,
        "model": doc.get("model", chat.name),
        "system_fingerprint": "simulated",
        "choices": choices,
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


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
