"""Losses that several methods share; log p of tokens comes from the model's own `target_logprobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def positive_weights(counts: Sequence[int], cap: float = 0.0) -> NDArray[np.float32]:
    """Return the weight of a positive label per class, max_k n_k / n_c (PTEC, arXiv:2309.12075), float32, shape (C,).

    `counts`: training items n_c of each class; a class with none counts as one with 1. `cap`: the largest weight, 0 for
    none: a weight can be huge for a rare class.
    """
    n = np.maximum(np.asarray(counts, np.float64), 1.0)
    weights = n.max() / n
    found: NDArray[np.float32] = (np.minimum(weights, cap) if cap else weights).astype(np.float32)
    return found


def cross_entropy(logits: Any, targets: Sequence[int] | Any, weights: Any = None) -> Any:
    """Return the mean cross-entropy in nats of class logits, shape (B, C), against class indices, shape (B,).

    With class `weights`, shape (C,), an item counts as much as its class: the mean is over items, not over weights, so
    that micro-batches add up to the batch.
    """
    import torch

    wanted = torch.as_tensor(targets, dtype=torch.long, device=logits.device)
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    if weights is not None:
        losses = losses * torch.as_tensor(weights, dtype=losses.dtype, device=losses.device)[wanted]
    return losses.mean()


def binary_cross_entropy(logits: Any, targets: Any, positive: Any = None) -> Any:
    """Return the mean over items and classes of binary cross-entropy with logits, in nats.

    `logits`, `targets` (0 or 1): shape (B, C); `positive`: weights of the positive labels, shape (C,), as
    `positive_weights` gives them. Labels have no order here, so none can matter.
    """
    import torch

    wanted = torch.as_tensor(targets, dtype=torch.float32, device=logits.device)
    weight = None if positive is None else torch.as_tensor(positive, dtype=torch.float32, device=logits.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), wanted, pos_weight=weight)


def weighted_text_loss(logprobs: Any, labels: Sequence[Sequence[str]], weights: Mapping[str, float]) -> Any:
    """Return the mean over items of -log p of their target text times the sum of their labels' weights, in nats.

    `logprobs`: shape (B,), per item and averaged over its tokens; the text-to-text arm of PTEC weighs an item by its
    labels so that rare classes count (the paper's code sums over the batch; the mean differs by a factor that the rate
    takes up).
    """
    import torch

    of_item = [sum(weights.get(label, 1.0) for label in some) for some in labels]
    return -(logprobs * torch.tensor(of_item, dtype=logprobs.dtype, device=logprobs.device)).mean()
