"""What goes over the wire of a plain completions endpoint, and log-probabilities out of its echo.

A log-probability is read from the echo of prompt and continuation, token by token. One token is generated and thrown
away: a limit of 0 is refused by some servers and means "no limit" to others, which would overrun a budget.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from promptology.models import _http_wire as wire
from promptology.models.access import Answer, Message, Request

SPACE = "▁"
"""How sentence-piece vocabularies write a space."""


def rendered(messages: Sequence[Message]) -> str:
    """Return messages as one text: their contents with a blank line between."""
    return "\n\n".join(content for _, content in messages)


def body(model: str, request: Request, dialect: wire.Dialect) -> bytes:
    """Return the body of a request."""
    prompt = rendered(request.messages)
    if request.continuation is None:
        return dialect.body(model, request, prompt=prompt)
    plain = replace(request, max_tokens=1, temperature=0.0, seed=None, stop=())
    return dialect.body(model, plain, prompt=prompt + request.continuation, echo=True, logprobs=1)


def read_reply(reply: bytes, request: Request, attempt: int) -> Answer:
    """Return the answer of a completion.

    Raises ValueError where the reply is malformed, CannotScore where it holds no log-probabilities of the prompt.
    """
    try:
        doc = json.loads(reply)
        choice = doc["choices"][0]
        text = choice["text"] or ""
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}")
        truncated = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"malformed reply ({type(error).__name__})") from None
    if request.continuation is None:
        return wire.answer_of(doc, wire.whole(text), request, attempt, truncated)
    prompt = rendered(request.messages)
    value = logprob_of(choice.get("logprobs"), prompt, request.continuation, wire.usage(doc)[1])
    return wire.answer_of(doc, "", request, attempt, logprob=value)


def logprob_of(shown: Any, prompt: str, continuation: str, generated: int | None) -> float:
    """Return the sum of the log-probabilities of those echoed tokens that reach into the continuation.

    A token that holds the end of the prompt and the beginning of the continuation counts whole, since its parts have
    no probability of their own; a prompt without a trailing space and a continuation that begins with one avoid it.
    `generated`: tokens behind the echo.
    """
    try:
        tokens, logprobs = list(map(str, shown["tokens"])), list(shown["token_logprobs"])
        offsets = list(map(int, shown.get("text_offset") or ()))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise wire.CannotScore("the reply holds no log-probabilities") from None
    if len(logprobs) != len(tokens):
        raise wire.CannotScore("the reply does not echo the text that was sent")
    # What a server says it generated, else the one token that was asked for, else none.
    ends = [len(tokens) - behind for behind in dict.fromkeys((1 if generated is None else generated, 1, 0))]
    ends = [end for end in ends if end > 0]
    found = [(first, end) for end in ends if (first := _first_by_text(tokens[:end], continuation)) is not None]
    if not found and ends:
        first = _first_by_offset(tokens[: ends[0]], offsets, len(prompt), len(continuation))
        found = [] if first is None else [(first, ends[0])]
    if not found:
        raise wire.CannotScore("the reply does not echo the text that was sent")
    first, end = found[0]
    if first == 0 and logprobs[0] is None:
        raise ValueError("nothing stands before the text to score, so its first token has no log-probability")
    values = logprobs[first:end]
    if not all(isinstance(v, int | float) and not math.isnan(v) for v in values):
        raise ValueError("malformed reply (a log-probability is missing)")
    return float(sum(values))


def _first_by_text(tokens: Sequence[str], continuation: str) -> int | None:
    """Return the first of the last tokens that spell the continuation; None where their texts do not."""
    behind = ""
    for n in range(len(tokens) - 1, -1, -1):
        behind = tokens[n].replace(SPACE, " ") + behind
        if len(behind) >= len(continuation):
            return n if behind.endswith(continuation) else None
    return None


def _first_by_offset(tokens: Sequence[str], offsets: Sequence[int], prompt: int, continuation: int) -> int | None:
    """Return the first token behind the prompt by the server's offsets, where tokens are not whole characters.

    A begin-of-text token that is not in the text shifts the offsets of some servers by its length; others fill them
    with -1, which says nothing.
    """
    if len(offsets) < len(tokens) or offsets[0] < 0 or list(offsets) != sorted(offsets):
        return None
    shift = offsets[1] if len(tokens) > 1 and _special(tokens[0]) else 0
    ends = [*offsets[1 : len(tokens)], shift + prompt + continuation]
    reaching = [n for n, end in enumerate(ends) if end > shift + prompt]
    return reaching[0] if reaching else None


def _special(token: str) -> bool:
    return token.startswith("<") and token.endswith(">") and len(token) > 2
