"""What each pseudo-labelled text would do for labelled ones: inner products of gradients, of a batch in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from promptology.injection import attach
from promptology.training.adapters import Adapters
from promptology.training.cloze import ClozeObjective

Rows = Sequence[list[int]]


def divergence(goal: ClozeObjective, rows: Rows, q: Tensor) -> Tensor:
    """Return KL(q_i || p(x_i)) of each row, in nats, under whatever is attached."""
    losses: Tensor = (torch.special.xlogy(q, q) - q * goal.class_logprobs(rows)).sum(dim=1)
    return losses


def influence(goal: ClozeObjective, theta: Adapters, rows: Rows, q: Tensor, labelled: Sequence[int]) -> Tensor:
    """Return u_i = <grad L_meta, grad l_i> over all that is trained, for each row: (B,)."""
    model, parameters = goal.body.model, theta.parameters
    with torch.enable_grad(), attach(model, theta.fillings()):
        g = torch.autograd.grad(goal.loss(labelled), list(parameters.values()), allow_unused=True)
    # Fused attention has no derivative along a direction; this one is made of operations that have.
    with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        along = {
            name: p.detach() if d is None else forward_ad.make_dual(p.detach(), d)
            for (name, p), d in zip(parameters.items(), g, strict=True)
        }
        with attach(model, theta.fillings(along)):
            found = forward_ad.unpack_dual(divergence(goal, rows, q)).tangent
    return torch.zeros(len(rows), device=q.device) if found is None else found
