"""Handlers of a rough server around the simulated model, and what two runs must have in common."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter

from rough_server import completion, drop, error, hang, reply

from promptology.models.simulated import SimulatedChat
from promptology.models.simulated.chat import count

FAULTS = {
    "429": reply(429, {"error": {"message": "slow down"}}, Retry_After="0.01"),
    "500": error(500, "internal"),
    "hang": hang,
    "malformed": reply(200, '{"choices": [{"message": {"content": "cut o'),
    "dropped": drop,
}


def draw(*parts):
    """Return a number between 0 and 1 that depends on these parts alone."""
    key = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


class Chatting:
    """Answers as the simulated model after a random time of half to all of `latency` seconds.

    `shares`: how often each fault comes, drawn by content and attempt, so that it does not depend on the order of
    arrival. `watch` is called with the number of each request as it arrives.
    """

    def __init__(self, chat=None, shares=None, latency=0.0, watch=None):
        self.chat = chat or SimulatedChat("features")
        self.shares = shares or {}
        self.latency, self.watch = latency, watch
        self.requests = 0
        self.attempts = Counter()
        self.answered = Counter()
        self.faults = Counter()

    async def __call__(self, server, request, doc):
        body = json.dumps(doc, sort_keys=True)
        self.requests += 1
        self.attempts[body] += 1
        if self.watch:
            self.watch(self.requests)
        fault = self.fault(body, self.attempts[body])
        self.faults[fault] += 1
        if self.latency:
            await asyncio.sleep(self.latency * (0.5 + 0.5 * draw("latency", self.requests, body)))
        if fault:
            return await FAULTS[fault](server, request, doc)
        messages = [(m["role"], m["content"]) for m in doc["messages"]]
        text = self.chat.reply(messages, doc.get("seed"), doc.get("temperature", 0.0))
        self.answered[body] += 1
        usage = {"prompt_tokens": sum(count(c) for _, c in messages), "completion_tokens": count(text)}
        return await reply(200, completion(text, usage=usage))(server, request, doc)

    def fault(self, body, attempt):
        left = draw(attempt, body)
        for name, share in self.shares.items():
            if left < share:
                return name
            left -= share
        return ""

    @property
    def again(self):
        """How many requests were answered more than once."""
        return sum(n - 1 for n in self.answered.values())


TIMES = {"created", "seconds", "elapsed"}
PLACES = {"report", "prompt_folder", "command", "home"}
PAID = {"paid", "learning_paid"}


def stable(value, leave_out=TIMES | PLACES | PAID):
    """Return a result document without what may differ between two runs of the same thing: times, places, paid."""
    if isinstance(value, dict):
        return {k: stable(v, leave_out) for k, v in value.items() if k not in leave_out}
    return [stable(v, leave_out) for v in value] if isinstance(value, list) else value


def messages_csv(path, chat, labels=None):
    """Write the inputs that a simulated world knows, with or without labels."""
    rows = [f'"{m}"' + (f",{labels[n % len(labels)]}" if labels else "") for n, m in enumerate(chat.world.inputs)]
    path.write_text("\n".join(["text,label" if labels else "text", *rows]) + "\n", encoding="utf-8")
    return path
