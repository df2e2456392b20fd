"""How virtual tokens start: from the vocabulary, from a text, from random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from promptology.errors import UsageError
from promptology.injection.attaching import watching
from promptology.prompts.start import default_instruction
from promptology.run.engine import Run

INITS = ("vocabulary", "text", "classes", "random", "names", "run")
RUN = 1000
"""First id of the fixed run of the vocabulary that PTEC fills up with."""
COMMON = 5000
"""Tokens of lowest id that a vocabulary start draws from: tokenizers number frequent tokens first (Lester et al.)."""


def virtual_tokens(run: Run, body: Any, length: int, init: str = "vocabulary", text: str = "") -> torch.nn.Parameter:
    """Return `length` virtual tokens, float32, shape (length, d), on the model's device.

    `vocabulary`: embeddings drawn from the 5,000 tokens of lowest id; `text`: embeddings of a text, repeated or cut to
    the length; `classes`: embeddings of the class names (several tokens of one name averaged), the rest from the
    vocabulary; `random`: uniform in +-0.5, whatever the size of the model's embeddings. All but `text` are of
    Lester et al., arXiv:2104.08691, section 3.2. Of PTEC, arXiv:2309.12075: `names`, the tokens of all class names
    joined by blanks, of too many a random subset in their order, behind too few a fixed run of the vocabulary; `run`,
    that run alone.
    """
    if length < 1:
        raise UsageError(f"a prompt of {length} virtual tokens has nothing to learn; take a length of 1 or more")
    if init not in INITS:
        raise UsageError(f"unknown start {init!r}; there are {', '.join(INITS)}")
    table = body.embeddings
    if init == "random":
        rows = torch.tensor(run.rng("virtual tokens").uniform(-0.5, 0.5, (length, table.shape[1])), dtype=torch.float32)
        return torch.nn.Parameter(rows.to(table.device))
    rows = table[word_ids(run, body, length, init, text)].float().clone()
    if init == "classes":
        for n, name in enumerate(run.task.signature.class_names[:length]):
            rows[n] = table[text_tokens(body, name)].float().mean(dim=0)
    return torch.nn.Parameter(rows)


def word_ids(run: Run, body: Any, length: int, init: str, text: str = "") -> list[int]:
    """Return the tokens that a start is made of: of a text, of the class names, else drawn from the vocabulary.

    Without a text it is the instruction of the start, or of the task.
    """
    rng = run.rng("virtual tokens")
    if init == "text":
        ids = text_tokens(body, text or run.start.instruction or default_instruction(run.task.signature))
        return [ids[i % len(ids)] for i in range(length)]
    if init in ("names", "run"):
        names = " ".join(run.task.signature.class_names)
        ids = text_tokens(body, names) if init == "names" and names else []
        if len(ids) > length:
            ids = [ids[n] for n in sorted(rng.choice(len(ids), length, replace=False))]
        return [*ids, *((RUN + n) % len(body.embeddings) for n in range(length - len(ids)))]
    drawn: list[int] = rng.choice(ordinary(body), length, replace=True).tolist()
    return drawn


def key_values(run: Run, body: Any, stack: str, ids: Sequence[int]) -> Tensor:
    """Return the keys and values that a stack computes for tokens, float32, shape (layers, 2, len(ids), heads, d_head).

    They are as they enter the cache, keys first; heads are those of keys and values. `stack` is a name in `body.sites`.
    Costs one pass, which is charged, and is kept for a run that is continued.
    """

    def work() -> dict[str, Any]:
        with body.quiet(), watching(body.model, body.sites, stack) as watch:
            outer, watch.record = watch.record, {}
            try:
                hidden = body.hidden([list(ids)])
                if stack == "decoder":
                    body.decoded(hidden, [list(ids)])
                found = [torch.stack(watch.record[i])[:, 0].transpose(1, 2) for i in range(watch.depth)]
            finally:
                watch.record = outer
        return {"values": array(torch.stack(found))}

    return torch.tensor(run.model().compute(["keys and values", stack, list(ids)], 1, work)["values"])


@contextmanager
def seeded(run: Run, name: str) -> Iterator[None]:
    """Let torch's generator draw from the run's seed while modules are made; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(run.rng(name).integers(2**48)))
        yield


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
