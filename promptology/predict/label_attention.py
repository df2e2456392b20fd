"""Network `label-attention`: how much each head of an input attends to the vectors of the classes' wordings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from promptology.errors import ArtifactError
from promptology.prompts.networks import network


class LabelAttention(nn.Module):  # type: ignore[misc]
    """Multi-head attention of inputs to labels whose weights are the class probabilities (CrossTune, arXiv:2403.12468).

    There is no value projection and no classifier: a = mean over heads of softmax(q K^T / sqrt(d_k)). `query`, `key`:
    (heads, d_k, d); `mean`, `spread`: (d,), by which all vectors are scaled first.
    """

    def __init__(self, query: Tensor, key: Tensor, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.query, self.key = nn.Parameter(query), nn.Parameter(key)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return log a, the log-probabilities of the classes, (n, classes), of (n, d) and (classes, d)."""
        heads, width, _ = self.query.shape
        q = torch.einsum("nd,hkd->hnk", (inputs - self.mean) / self.spread, self.query)
        k = torch.einsum("cd,hkd->hck", (labels - self.mean) / self.spread, self.key)
        logs = torch.log_softmax(q @ k.transpose(1, 2) / math.sqrt(width), dim=-1)
        return torch.logsumexp(logs, dim=0) - math.log(heads)


@network("label-attention")
def label_attention(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make label attention; it has no options but its width."""
    try:
        query, key, mean, spread = (tensors[name].float() for name in ("query", "key", "mean", "spread"))
    except KeyError as error:
        raise ArtifactError(f"network 'label-attention' lacks its tensor {error}") from None
    if query.dim() != 3 or query.shape != key.shape or not mean.shape == spread.shape == query.shape[2:]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (query, key, mean, spread))
        raise ArtifactError(f"network 'label-attention': shapes {shapes} do not fit together")
    return LabelAttention(query, key, mean, spread)
