"""Vectors of texts without a trained model: words are hashed to places, so that texts with common words are near."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from promptology.models.access import Vectors
from promptology.models.simulated.chat import SimulatedChat, count

DIMENSION = 64


def hashed(texts: Sequence[str]) -> Vectors:
    """Return unit vectors, float32, shape (len(texts), 64)."""
    vectors = np.zeros((len(texts), DIMENSION), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        row[0] = 0.1  # so that a text without words has a direction too
        for word in re.findall(r"\w+", text.casefold()):
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=2).digest()
            row[int.from_bytes(digest, "big") % DIMENSION] += 1.0
        row /= np.linalg.norm(row)
    return vectors


def embeddings(chat: SimulatedChat, doc: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to an embeddings request; raises KeyError, TypeError or ValueError for a malformed one."""
    texts = [doc["input"]] if isinstance(doc["input"], str) else [str(text) for text in doc["input"]]
    if not texts or "" in texts:
        raise ValueError("input is empty")
    data = [{"object": "embedding", "index": n, "embedding": row.tolist()} for n, row in enumerate(hashed(texts))]
    read = sum(map(count, texts))
    return {
        "object": "list",
        "model": doc.get("model", chat.name),
        "system_fingerprint": "simulated",
        "data": data,
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }
