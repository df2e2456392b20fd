"""Replies that are none: each item is answered or missing, costs stay finite, nobody sees a traceback."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from aiohttp import web
from chatting import draw
from rough_server import RoughServer, completion

GOOD = completion("billing")


def usage(**values):
    return {**GOOD, "usage": values}


def raw(body, content_type="application/json", status=200, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda: web.Response(status=status, body=body, content_type=content_type, headers=headers)


MISSING = {
    "not json": raw(b"<html>Bad gateway</html>", "text/html"),
    "another shape": raw([1, 2, 3]),
    "a number": raw(b"7"),
    "empty": raw(b""),
    "empty object": raw({}),
    "error in a 200": raw({"error": {"message": "out of memory \x1b[31m", "code": 7}}),
    "error text in a 200": raw({"error": "busy"}),
    "no choices": raw({"choices": []}),
    "choices is null": raw({"choices": None}),
    "no message": raw({"choices": [{"text": "billing"}]}),
    "content is a number": raw(completion(7)),
    "not utf-8": raw(b'{"choices": [{"message": {"content": "\xff\xfe\x80"}}]}'),
    "deep": raw(b"[" * 100_000),
    "cut off": raw(json.dumps(GOOD).encode()[:40]),
    "not gzip": raw(b"plain", Content_Encoding="gzip"),
    "no content": raw(b"", status=204),
}
ANSWERED = {
    "content is null": raw(completion(None)),
    "wrong content type": raw(GOOD, "text/plain"),
    "huge": raw(completion("billing " * 500_000)),
    "negative usage": raw(usage(prompt_tokens=-5, completion_tokens=-(10**9))),
    "absurd usage": raw(usage(prompt_tokens=10**12, completion_tokens=10**300)),
    "usage of no numbers": raw(usage(prompt_tokens="7", completion_tokens=None)),
    "usage is a list": raw({**GOOD, "usage": [1]}),
    "unknown fields": raw({**GOOD, "choices": [{**GOOD["choices"][0], "x": {}}, 7]}),
}
KINDS = {**MISSING, **ANSWERED}


@pytest.mark.parametrize("price", [(), ("--price", "1,1")], ids=["tokens", "money"])
def test_every_item_is_answered_or_missing(cli, price):
    seen = Counter()

    async def handler(server, request, doc):
        kind = list(KINDS)[int(draw(doc["messages"][-1]["content"]) * len(KINDS))]
        seen[kind] += 1
        response = KINDS[kind]()
        response.headers.update({k.replace("_", "-"): v for k, v in response.headers.items() if "_" in k})
        return response

    budget = "4000calls,5mtok,5usd" if price else "4000calls,5mtok"
    with RoughServer(handler) as server:
        done = cli(
            *("evaluate", "--task", "tickets", "--split", "validation", "--model", f"openai:m@{server.url}"),
            *("--missing", "1", "--budget", budget, "--json", *price),
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert set(seen) == set(KINDS)
    document = json.loads(done.stdout)
    score = document["start"]["score"]
    assert score["n"] + score["missing"] == document["task"]["sizes"]["validation"]
    assert score["n"] == sum(seen[kind] for kind in ANSWERED)
    assert 0 < document["charged"]["tokens_out"] <= 5_000_000
    assert document["charged"]["usd"] <= 5
    assert document["charged"]["estimated"]


@pytest.mark.parametrize("kind", [*MISSING])
def test_nothing_but_such_replies_is_one_line(cli, kind):
    async def handler(server, request, doc):
        return MISSING[kind]()

    with RoughServer(handler) as server:
        model = ("--model", f"openai:m@{server.url}", "--budget", "4000calls,5mtok")
        done = cli("evaluate", "--task", "tickets", "--split", "validation", *model)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("promptology: ") and "answers are missing" in line
    assert line.isprintable()
    assert len(line) < 500
