"""No package at all: a bare aiohttp client, to see what the server itself can carry."""

import asyncio
import json

import aiohttp


def calls(spec, stopwatch):
    """Ask every question once with a fixed number of workers."""
    bodies = [
        json.dumps({"model": "bench", "messages": [{"role": "user", "content": f"{spec['prompt']}\n\n{q['text']}"}]})
        for q in spec["questions"]
    ]
    return asyncio.run(ask(spec, bodies, stopwatch))


async def ask(spec, bodies, stopwatch):
    """Ask and keep the answers."""
    answers = [None] * len(bodies)
    todo = iter(enumerate(bodies))
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work():
            for n, body in todo:
                async with session.post(spec["url"] + "/chat/completions", data=body, headers=headers) as got:
                    answers[n] = json.loads(await got.read())["choices"][0]["message"]["content"]

        with stopwatch.running():
            await asyncio.gather(*(work() for _ in range(spec["level"])))
    return {"answers": answers, "missing": 0}
