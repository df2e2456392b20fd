"""What recipes of causal word models share: the network, and batches whose loss is taken at chosen tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as fn

from promptology.zoo.recipes.course import Batch

BLOCK = 8
"""Rows of a batch are as long as its longest, rounded up to this many tokens."""


NEAR, HANDED_ON, QUIET = 6.0, 0.15, 0.1
"""How much a head of the first layer prefers its distance at the start, how strong what heads find is, and how strong
what the layers between them add, which would drown it."""


@dataclass(frozen=True)
class Row:
    """Tokens, and where the tokens stand that are to be predicted; `judged`: those that count as the answer."""

    tokens: Sequence[int]
    targets: Sequence[int]
    judged: Sequence[int]


def llama(tokenizer: Any, *, width: int, layers: int, heads: int, positions: int, deviation: float) -> Any:
    """Return an untrained LlamaForCausalLM with tied embeddings for this tokenizer, float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=positions,
            initializer_range=deviation,
            attention_bias=True,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def look_back(model: Any) -> None:
    """Start the attention of a Llama with biases from what in-context learning needs; everything is trained further.

    Head h of the first layer looks h + 1 tokens back, by its biases, and every head hands on what it finds, as its
    output map is the transpose of its value map; in later layers queries and keys are mapped alike, so that tokens look
    for similar ones, as in the mimetic initialisation of Trockman and Kolter 2023 (arXiv:2305.09828).
    """
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    with torch.no_grad():
        for n, layer in enumerate(model.model.layers):
            attention = layer.self_attn
            attention.o_proj.weight.copy_(HANDED_ON * attention.v_proj.weight.T)
            layer.mlp.down_proj.weight.mul_(QUIET)
            if n:
                attention.k_proj.weight.copy_(attention.q_proj.weight)
                continue
            for head in range(config.num_attention_heads):
                _look(attention, head * size, size, head + 1)


def _look(attention: Any, at: int, size: int, distance: int) -> None:
    """Set the biases of the head whose rows begin at `at`, so that it looks so many tokens back."""
    half, turned = size // 2, max(2, 3 * size // 16)
    # Only the fast ones of the rotary frequencies tell neighbours apart.
    angles = distance * 10_000.0 ** (-torch.arange(turned) / half)
    attention.k_proj.bias[at : at + turned] = NEAR
    attention.q_proj.bias[at : at + turned] = NEAR * torch.cos(angles)
    attention.q_proj.bias[at + half : at + half + turned] = -NEAR * torch.sin(angles)


def arrays(rows: Sequence[Row], pad: int) -> Batch:
    """Return rows as one batch.

    tokens: int64 (rows, length), padded behind; places: int64 (rows, targets), where a target's predecessor stands;
    weights, judged: float32 (rows, targets), 1 where there is a target, and where it counts as the answer.
    """
    length = -(-max(len(row.tokens) for row in rows) // BLOCK) * BLOCK
    most = max(len(row.targets) for row in rows)
    tokens = np.full((len(rows), length), pad, np.int64)
    places = np.zeros((len(rows), most), np.int64)
    weights, judged = np.zeros((2, len(rows), most), np.float32)
    for n, row in enumerate(rows):
        tokens[n, : len(row.tokens)] = row.tokens
        places[n, : len(row.targets)] = np.asarray(row.targets) - 1
        weights[n, : len(row.targets)] = 1.0
        judged[n, : len(row.targets)] = np.isin(row.targets, row.judged)
    return {"tokens": tokens, "places": places, "weights": weights, "judged": judged}


def loss_at_targets(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean cross-entropy over targets, and the share of judged targets that are the likeliest token.

    Padding stands behind every row, where a causal model's targets do not see it; so no attention mask is needed.
    """
    tokens, places = batch["tokens"], batch["places"]
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    chosen = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
    logits = model.lm_head(chosen)
    wanted = tokens.gather(1, places + 1)
    each = fn.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(batch["weights"])
    loss = (each * batch["weights"]).sum() / batch["weights"].sum()
    right = (logits.argmax(-1) == wanted) * batch["judged"]
    return loss, right.sum() / batch["judged"].sum()
