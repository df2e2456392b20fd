"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from promptology.training.losses import binary_cross_entropy, cross_entropy, positive_weights, weighted_text_loss


def test_positive_weights_are_those_of_the_paper():
    assert positive_weights([10, 5, 1]).tolist() == [1.0, 2.0, 10.0]
    assert positive_weights([10, 5, 1], cap=4).tolist() == [1.0, 2.0, 4.0]
    assert positive_weights([4, 0]).tolist() == [1.0, 4.0]
    assert positive_weights([1, 2]).dtype == np.float32


def test_binary_cross_entropy():
    logits = torch.tensor([[0.0, 1.0], [-1.0, 2.0]])
    targets = [[1, 0], [0, 1]]
    log = lambda x: math.log(1 / (1 + math.exp(-x)))  # noqa: E731
    terms = [-2 * log(0.0), -log(-1.0), -log(1.0), -5 * log(2.0)]
    assert binary_cross_entropy(logits, targets, [2.0, 5.0]).item() == pytest.approx(sum(terms) / 4, rel=1e-6)
    plain = [-log(0.0), -log(-1.0), -log(1.0), -log(2.0)]
    assert binary_cross_entropy(logits, targets).item() == pytest.approx(sum(plain) / 4, rel=1e-6)


def test_cross_entropy_adds_up_over_micro_batches():
    logits, targets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), [0, 1, 2, 2, 1, 0]
    plain = -torch.log_softmax(logits, -1)[range(6), targets]
    assert cross_entropy(logits, targets).item() == pytest.approx(plain.mean().item(), rel=1e-6)
    weights = torch.tensor([1.0, 2.0, 3.0])
    whole = cross_entropy(logits, targets, weights).item()
    assert whole == pytest.approx((plain * weights[targets]).mean().item(), rel=1e-6)
    parts = [cross_entropy(logits[a:b], targets[a:b], weights).item() * (b - a) / 6 for a, b in ((0, 4), (4, 6))]
    assert sum(parts) == pytest.approx(whole, rel=1e-6)


def test_text_loss_weighs_an_item_by_its_labels():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = weighted_text_loss(logprobs, [["a"], ["a", "b"]], {"a": 1.0, "b": 3.0})
    assert loss.item() == pytest.approx((1 * 1 + 2 * 4) / 2)
    loss.backward()
    assert logprobs.grad.tolist() == [-0.5, -2.0]
