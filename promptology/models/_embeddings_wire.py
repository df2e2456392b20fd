"""What goes over the wire of an embeddings endpoint: a handful of texts in one request, their vectors in one answer.

An answer holds its vectors as a text, so that they are counted, kept and found again as every other answer is.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence

import numpy as np

from promptology.models.access import Answer, Request, Vectors

TEXTS = 32
"""Texts of one request at most: what the strictest of the usual servers (Text Embeddings Inference) takes unasked."""
BYTES = 200_000
"""Bytes of one request's texts at most, of several; hosted servers limit the tokens of a request to 300 thousand."""
TOO_LONG = re.compile(
    r"context (length|size|window)|maximum (input|sequence|prompt) length|(less|fewer|more) than \d+ tokens"
    r"|too (long|large)|too many tokens"
)


def packed(texts: Sequence[str]) -> list[Request]:
    """Return requests for vectors, in order: each of as many texts as go together."""
    requests: list[Request] = []
    some: list[tuple[str, str]] = []
    size = 0
    for text in texts:
        one = len(text.encode("utf-8", "replace"))
        if some and (len(some) == TEXTS or size + one > BYTES):
            requests.append(Request(tuple(some), max_tokens=0))
            some, size = [], 0
        some.append(("input", text))
        size += one
    return [*requests, Request(tuple(some), max_tokens=0)] if some else requests


def body(model: str, request: Request) -> bytes:
    """Return the body of a request. Servers refuse an empty text; a space stands in for it."""
    texts = [text or " " for _, text in request.messages]
    doc = {"model": model, "input": texts, "encoding_format": "float"}
    return json.dumps(doc, ensure_ascii=False).encode("utf-8", "replace")


def read_reply(reply: bytes, request: Request, attempt: int) -> Answer:
    """Return the vectors in a reply, by their `index`, scaled to unit length; ValueError where they are not all there.

    Tokens are those of `usage`, else estimated: bytes / 4.
    """
    due = len(request.messages)
    try:
        doc = json.loads(reply)
        found = {int(entry.get("index", n)): entry["embedding"] for n, entry in enumerate(doc["data"])}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"malformed reply ({type(error).__name__})") from None
    if sorted(found) != list(range(due)):
        raise ValueError(f"malformed reply ({len(found)} vectors for {due} texts)")
    try:
        vectors = np.array([found[n] for n in range(due)], np.float64)
    except (ValueError, TypeError):
        raise ValueError("malformed reply (vectors of different lengths, or not of numbers)") from None
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError("malformed reply (a vector is no list of numbers)")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise ValueError("malformed reply (a vector holds a number that is not finite, or only zeros)")
    text = base64.b64encode((vectors / norms).astype("<f4").tobytes()).decode()
    said = doc.get("usage")
    read = said.get("prompt_tokens") if isinstance(said, dict) else None
    simulated = str(doc.get("system_fingerprint") or "").startswith("simulated")
    if isinstance(read, int) and read > 0:
        return Answer(text, read, 0, False, attempt, simulated=simulated)
    size = sum(len(one.encode("utf-8", "replace")) for _, one in request.messages)
    return Answer(text, math.ceil(size / 4), 0, True, attempt, simulated=simulated)


def vectors_in(text: str, texts: int) -> Vectors:
    """Return the vectors in an answer's text, float32, shape (texts, dimension)."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32, copy=False).reshape(texts, -1)


def says_too_long(status: int, reason: str) -> bool:
    """Whether a refusal is for the length of a text."""
    return status in (400, 413, 422, 500) and bool(TOO_LONG.search(reason.lower()))
