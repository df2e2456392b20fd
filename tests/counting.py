"""A real HTTP server around the simulated model that counts what it is asked, per model name and per body."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter

from promptology.models.simulated import SimulatedChat


class CountingServer:
    """Counts requests as they come in, and the bodies that were answered in full."""

    def __init__(self, chat=None, latency=0.0, fault=None):
        self.chat = chat or SimulatedChat("features")
        self.latency = latency
        self.fault = fault
        self.by_model = Counter()
        self.answered = Counter()
        self.headers = []
        self.url = ""

    async def handle(self, request):
        from aiohttp import web

        doc = json.loads(await request.text())
        self.by_model[doc["model"]] += 1
        self.headers.append(dict(request.headers))
        if self.fault and (status := self.fault(self.by_model[doc["model"]])):
            return web.json_response({"error": {"message": f"fault; you sent {request.headers}"}}, status=status)
        if self.latency:
            await asyncio.sleep(self.latency)
        messages = [(m["role"], m["content"]) for m in doc["messages"]]
        text = self.chat.reply(messages, doc.get("seed"), doc.get("temperature", 0.0))
        reply = web.json_response(
            {
                "system_fingerprint": "simulated",
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5},
            }
        )
        self.answered[json.dumps(doc, sort_keys=True)] += 1
        return reply


class Gate:
    """A chat whose server stands still after some answers, until it is freed: the run is then certainly going on."""

    def __init__(self, chat, after):
        self.chat = chat
        self.after = self.left = after
        self.reached = threading.Event()
        self.free = threading.Event()

    def reply(self, *arguments):
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            self.free.wait(100)
        return self.chat.reply(*arguments)

    def wait(self):
        assert self.reached.wait(100), "the run never came so far"


@contextlib.contextmanager
def counting(**options):
    """Serve in a thread of this process."""
    from aiohttp import web

    server = CountingServer(**options)
    loop = asyncio.new_event_loop()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app, access_log=None)

    async def start():
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever, daemon=True)
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
