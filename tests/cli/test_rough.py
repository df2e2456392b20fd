"""A server that misbehaves in every way at once: each item is answered or reported missing, none is asked twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter

import pytest
from rough_server import RoughServer, completion, drop, error, hang, reply

from promptology.models.simulated import SimulatedChat

CHAT = SimulatedChat("tickets")
SHARES = {"429": 0.10, "500": 0.05, "hang": 0.02, "malformed": 0.05, "dropped": 0.03}
FAULTS = {
    "429": reply(429, {"error": {"message": "slow down"}}, Retry_After="0.1"),
    "500": error(500, "internal"),
    "hang": hang,
    "malformed": reply(200, '{"choices": [{"message": {"content": "cut o'),
    "dropped": drop,
}


class Mixed:
    """Faults drawn by content and attempt, so that they do not depend on the order of arrival."""

    def __init__(self, shares=SHARES, chat=CHAT):
        self.shares, self.chat = shares, chat
        self.attempts = Counter()
        self.answered = Counter()
        self.faults = Counter()

    async def __call__(self, server, request, doc):
        body = json.dumps(doc, sort_keys=True)
        self.attempts[body] += 1
        fault = self.fault(body, self.attempts[body])
        self.faults[fault] += 1
        if fault:
            return await FAULTS[fault](server, request, doc)
        await asyncio.sleep(0.005)
        messages = [(m["role"], m["content"]) for m in doc["messages"]]
        text = self.chat.reply(messages, doc.get("seed"), doc.get("temperature", 0.0))
        self.answered[body] += 1
        return await reply(200, completion(text))(server, request, doc)

    def fault(self, body, attempt):
        draw = int.from_bytes(hashlib.blake2b(f"{attempt}{body}".encode(), digest_size=8).digest(), "big") / 2**64
        for name, share in self.shares.items():
            if draw < share:
                return name
            draw -= share
        return ""


def arguments(command, server, *more):
    model = f"openai:m@{server.url}"
    # Long enough that a busy machine never takes a slow good answer for a hanging one: that item is asked twice.
    return (command, "--task", "tickets", "--model", model, "--timeout", "5", "--workers", "32", "--json", *more)


def test_every_item_is_answered_or_reported_missing(cli):
    mixed = Mixed()
    with RoughServer(mixed) as server:
        done = cli(*arguments("evaluate", server))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    score = document["start"]["score"]
    assert score["n"] + score["missing"] == 448
    assert all(mixed.faults[name] for name in SHARES)
    assert set(mixed.answered.values()) == {1}
    assert score["n"] == mixed.answered.total()
    assert document["charged"]["calls"] == mixed.attempts.total()


@pytest.mark.parametrize("method", ["spo"])
def test_a_search_through_all_of_it_equals_one_on_a_good_server(cli, method):
    prompts = []
    for shares in ({}, SHARES):
        mixed = Mixed(shares)
        with RoughServer(mixed) as server:
            done = cli(*arguments("fit", server, "--method", method, "--set", "rounds=4", "--budget", "400calls"))
        assert done.returncode == 0, done.stderr
        (arm,) = json.loads(done.stdout)["arms"]
        prompts.append(arm["prompt"])
        assert mixed.attempts.total() <= 400
        assert set(mixed.answered.values()) == {1}
    assert prompts[0] == prompts[1]


def test_more_missing_than_tolerated_stops_with_one_line_and_goes_on_later(cli):
    broken = Mixed({"500": 0.9})
    with RoughServer(broken) as server:
        stopped = cli(*arguments("fit", server, "--method", "manual", "--budget", "4000calls"))
        assert stopped.returncode == 2
        lines = [line for line in stopped.stderr.splitlines() if not line.startswith(("note:", "run "))]
        assert len(lines) == 1, stopped.stderr
        assert "missing" in lines[0] and "HTTP 500" in lines[0]
        broken.shares = {}
        run = json.loads(cli("runs", "--json").stdout)["runs"][0]["run"]
        done = cli("resume", run, "--retry-failed", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arms"][0]["score"]["n"] == 448
    assert set(broken.answered.values()) == {1}


def test_a_budget_that_failures_used_up_says_so(cli):
    with RoughServer(Mixed({"500": 1.0})) as server:
        stopped = cli(*arguments("fit", server, "--method", "manual", "--budget", "500calls"))
        asked = len(server.bodies)
    assert asked <= 500
    assert "larger --budget" in stopped.stderr
