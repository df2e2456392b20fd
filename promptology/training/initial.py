"""How virtual tokens start: from the vocabulary, from a text, from random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from promptology.errors import UsageError
from promptology.run.engine import Run

INITS = ("vocabulary", "text", "classes", "random")
COMMON = 5000
"""Tokens of lowest id that a vocabulary start draws from: tokenizers number frequent tokens first (Lester et al.)."""


def virtual_tokens(run: Run, body: Any, length: int, init: str = "vocabulary", text: str = "") -> torch.nn.Parameter:
    """Return `length` virtual tokens, float32, shape (length, d), on the model's device.

    `vocabulary`: embeddings drawn from the 5,000 tokens of lowest id; `text`: embeddings of a text, repeated or cut to
    the length; `classes`: embeddings of the class names (several tokens of one name averaged), the rest from the
    vocabulary; `random`: uniform in +-0.5, whatever the size of the model's embeddings. All but `text` are of
    Lester et al., arXiv:2104.08691, section 3.2.
    """
    if length < 1:
        raise UsageError(f"a prompt of {length} virtual tokens has nothing to learn; take a length of 1 or more")
    if init not in INITS:
        raise UsageError(f"unknown start {init!r}; there are {', '.join(INITS)}")
    rng = run.rng("virtual tokens")
    table = body.embeddings
    if init == "random":
        rows = torch.tensor(rng.uniform(-0.5, 0.5, (length, table.shape[1])), dtype=torch.float32)
        return torch.nn.Parameter(rows.to(table.device))
    drawn = torch.as_tensor(rng.choice(ordinary(body), length, replace=True))
    rows = table[drawn.to(table.device)].float().clone()
    if init == "text":
        ids = text_tokens(body, text)
        rows = table[[ids[i % len(ids)] for i in range(length)]].float().clone()
    elif init == "classes":
        for n, name in enumerate(run.task.signature.class_names[:length]):
            rows[n] = table[text_tokens(body, name)].float().mean(dim=0)
    return torch.nn.Parameter(rows)


def ordinary(body: Any) -> Sequence[int]:
    """Return the ids of common tokens that are not special."""
    special = set(body.tokenizer.all_special_ids)
    size = min(len(body.tokenizer), body.embeddings.shape[0])
    found = [i for i in range(size) if i not in special][:COMMON]
    return found or list(range(size))


def text_tokens(body: Any, text: str) -> list[int]:
    """Return the tokens of a text without special ones; raises UsageError where there are none."""
    ids = body.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UsageError("a start from a text needs a text with at least one token")
    return [int(i) for i in ids]


def array(tensor: Tensor) -> Any:
    """Return a tensor as a float32 array, for a part that is saved."""
    return tensor.detach().float().cpu().numpy().copy()
