"""Log-probabilities of continuations: prompts that begin alike share that beginning, choices share their prompt."""

from __future__ import annotations

from collections.abc import Sequence

from promptology.models.local.batching import Memory, in_batches
from promptology.models.local.body import Body


def score_rows(
    body: Body, memory: Memory, prompts: Sequence[list[int]], targets: Sequence[Sequence[list[int]]]
) -> list[list[float]]:
    """Return log p(target | prompt) of each target of each prompt, one full row of tokens per pair."""
    pairs = [(n, k) for n, some in enumerate(targets) for k in range(len(some))]
    lengths = [len(prompts[n]) + len(targets[n][k]) for n, k in pairs]

    def run(batch: list[int]) -> list[tuple[int, float]]:
        with body.quiet():
            rows = [prompts[pairs[i][0]] for i in batch]
            wanted = [targets[pairs[i][0]][pairs[i][1]] for i in batch]
            return list(zip(batch, body.target_logprobs(rows, wanted).tolist(), strict=True))

    values = [[0.0] * len(some) for some in targets]
    for i, value in in_batches(memory, body.name, lengths, run):
        values[pairs[i][0]][pairs[i][1]] = value
    return values
