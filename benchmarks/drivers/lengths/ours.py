"""Our side: prompt tuning over one epoch of items of many lengths, batched in three ways."""

import numpy as np
import soft
import tiny
import torch

from promptology.injection import Filling, attach
from promptology.models.local import wrap
from promptology.training.batches import Batches

RATE = 1e-2
MOST = 200


def items_of(spec):
    """Return (tokens, target) of every item; lengths are log-normal."""
    rng = np.random.default_rng(3)
    lengths = np.clip(np.exp(rng.normal(np.log(50), 0.6, spec["items"])), 4, MOST).astype(int)
    rows = tiny.tokens_of(spec["items"], MOST + spec["labels"], spec["shape"]["vocab"], 11).tolist()
    return [(row[:size], row[MOST:]) for row, size in zip(rows, lengths.tolist(), strict=True)]


def batches_of(spec, items, way):
    """Return the batches of an epoch; the longest of all: see `Padded`."""
    lengths = [len(text) for text, _ in items] if way == "buckets" else None
    batches = Batches(items, spec["batch"], np.random.default_rng(0), lengths)
    return [batches(k) for k in range(len(items) // spec["batch"])]


def prepare(spec, way):
    """Return the function from a batch to log p of its targets, and the prompt."""
    body = wrap(tiny.model_of(spec["shape"]), tiny.tokenizer_of(spec["shape"]["vocab"])).frozen()
    tokens = soft.prompt_of(spec)
    plain = body.padded

    def padded(rows, left=False):
        """Pad to the longest of all items, by one more row that is dropped again."""
        ids, mask = plain([*rows, [0] * (MOST + spec["labels"] - 1)], left)
        return ids[:-1], mask[:-1]

    if way == "longest of all":
        body.padded = padded

    def logprobs(batch):
        with attach(body.model, [Filling("input", tokens)]):
            return body.target_logprobs([text for text, _ in batch], [target for _, target in batch])

    return logprobs, tokens


def values(spec, stopwatch):
    """Return log p of every item's target, item by item, in all three ways."""
    items = items_of(spec)
    found = {}
    for way in ("longest of all", "longest of a batch", "buckets"):
        logprobs, _ = prepare(spec, way)
        known = {}
        with stopwatch.running(), torch.no_grad():
            for batch in batches_of(spec, items, way):
                known |= zip((tuple(text) for text, _ in batch), logprobs(batch).tolist(), strict=True)
        found[way] = [known[tuple(text)] for text, _ in items]
    return {"values": found}


def epoch(spec, stopwatch):
    """Return processor milliseconds of a step, over an epoch, and the share of padding."""
    batches = batches_of(spec, items_of(spec), spec["way"])
    logprobs, tokens = prepare(spec, spec["way"])

    def step(batch):
        return -logprobs(batch).mean()

    tiny.train(step, [tokens], batches[:1], RATE)
    with stopwatch.running():
        tiny.train(step, [tokens], batches, RATE)
    real = sum(len(text) for batch in batches for text, _ in batch)
    longest = [MOST if spec["way"] == "longest of all" else max(len(text) for text, _ in batch) for batch in batches]
    return {"ms": 1000 * stopwatch.cpu / len(batches), "padding": 1 - real / (spec["batch"] * sum(longest))}
