"""Log-probabilities of the simulated model: what it would answer, as a distribution over class names, token by token.

Behind the last colon of a text stands its answer. There the tokens share out the model's belief in each class name; all
others get a fixed figure between -7.5 and -3.5 by their spelling, so that a text as a whole has a likelihood too (low
enough that those of a handful of texts do not sum to more than 1).
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from promptology.models.simulated.chat import SimulatedChat

TOKEN = re.compile(r"\s?\w+|\s?[^\w\s]+|\s+")
UNLIKELY = math.log(1e-6)
"""What a token gets that continues no class name."""


def tokenize(text: str) -> list[str]:
    """Return simulated tokens: words and marks, each with the space before it."""
    return TOKEN.findall(text)


def echoed(chat: SimulatedChat, text: str) -> tuple[list[str], list[float | None]]:
    """Return the tokens of a text and the log-probability of each after those before; the first has none."""
    colon = text.rfind(":") + 1
    before, behind = tokenize(text[:colon]), tokenize(text[colon:])
    beliefs = chat.beliefs(text[:colon]) if behind and colon else {}
    tokens = [*before, *behind]
    split = len(before) if beliefs else len(tokens)
    values: list[float | None] = [_plain(pair) for pair in zip(["", *tokens], tokens[:split], strict=False)]
    values += _answer(behind, {tuple(tokenize(f" {name}")): p for name, p in beliefs.items()}) if beliefs else []
    return tokens, [None, *values[1:]]


def _plain(pair: tuple[str, str]) -> float:
    return -3.5 - 4.0 * (zlib.crc32("\0".join(pair).encode("utf-8", "replace")) % 1000) / 1000


def _answer(tokens: Sequence[str], beliefs: Mapping[tuple[str, ...], float]) -> list[float]:
    """Return what each token of an answer gets: the share of the belief in names so far that goes on with it."""
    values: list[float] = []
    mass = 1.0
    for n in range(1, len(tokens) + 1):
        left = sum(p for name, p in beliefs.items() if name[:n] == tuple(tokens[:n]))
        values.append(math.log(left / mass) if left else UNLIKELY)
        mass = left or 1.0
    return values


def score(chat: SimulatedChat, prompt: str, continuation: str) -> float:
    """Return log p(continuation | prompt) over the tokens that reach into the continuation."""
    tokens, values = echoed(chat, prompt + continuation)
    total, end = 0.0, 0
    for token, value in zip(tokens, values, strict=True):
        end += len(token)
        total += (value or 0.0) if end > len(prompt) else 0.0
    return total


def text_completion(chat: SimulatedChat, doc: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reply to a completions request; raises KeyError, TypeError or ValueError for a malformed one."""
    prompts = [doc["prompt"]] if isinstance(doc["prompt"], str) else list(doc["prompt"])
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise TypeError("prompt is a text or a list of texts")
    limit = int(16 if doc.get("max_tokens") is None else doc["max_tokens"])
    stops = [doc["stop"]] if isinstance(doc.get("stop"), str) else doc.get("stop") or []
    choices: list[dict[str, Any]] = []
    read = wrote = 0
    for n, prompt in enumerate(prompts):
        text = chat.reply([("user", prompt)], int(doc.get("seed") or 0), float(doc.get("temperature") or 0.0))
        for mark in stops:
            text = text.split(mark)[0]
        made = tokenize(text)
        finish = "length" if len(made) > limit else "stop"
        made = made[:limit]
        given, values = echoed(chat, prompt) if doc.get("echo") else ([], [])
        shown = [*given, *made]
        offsets = [0]
        for token in shown:
            offsets.append(offsets[-1] + len(token))
        logprobs = {
            "tokens": shown,
            "token_logprobs": [*values, *[-0.1] * len(made)],
            "top_logprobs": None,
            "text_offset": offsets[:-1],
        }
        choices.append(
            {
                "index": n,
                "text": "".join(shown),
                "logprobs": logprobs if doc.get("logprobs") is not None else None,
                "finish_reason": finish,
            }
        )
        read, wrote = read + len(tokenize(prompt)), wrote + len(made)
    return {
        "id": "simulated",
        "object": "text_completion",
        "created": 0,
        "model": doc.get("model", chat.name),
        "system_fingerprint": "simulated",
        "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote},
    }
