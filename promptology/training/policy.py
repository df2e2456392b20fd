"""The arithmetic of policy gradients over tokens: allowed ones, advantages, the clipped objective, the KL coefficient.

PPO of J. Schulman, F. Wolski, P. Dhariwal, A. Radford, O. Klimov, "Proximal policy optimization algorithms", 2017,
arXiv:1707.06347, with the token mask of R. Ramamurthy et al., "Is reinforcement learning (not) for natural language
processing", ICLR 2023, arXiv:2210.01241 (NLPO). A row is one text, a column one of its tokens; `there` (float, 0 or 1)
says which places hold one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SPREAD = 0.2
"""By how much the KL coefficient reacts to a divergence off its target, at most, as a share of its gain."""
GAIN = 0.1
EPSILON = 1e-8


def nucleus(logits: Tensor, p: float, least: int, always: Sequence[int]) -> Tensor:
    """Return which tokens are allowed, bool (rows, V): the fewest whose probabilities reach p, `least` at least.

    The token with which p is reached is among them; tokens `always` are allowed too. With p of 1 all are.
    """
    if p >= 1.0:
        return torch.ones_like(logits, dtype=torch.bool)
    probabilities, order = torch.softmax(logits.float(), dim=-1).sort(dim=-1, descending=True, stable=True)
    inside = probabilities.cumsum(dim=-1) - probabilities < p
    inside[:, :least] = True
    allowed = torch.zeros_like(inside).scatter(1, order, inside)
    allowed[:, list(always)] = True
    return allowed


def masked(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Return logits of which only the allowed tokens are left."""
    return logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)


def drawn(logits: Tensor, numbers: Tensor, top_k: int = 0) -> Tensor:
    """Return a token per row, int64 (rows,): the inverse of the distribution at numbers in [0, 1), float64 (rows,).

    `top_k`: only so many of the likeliest are drawn from, 0 for all.
    """
    wanted = logits.double()
    if 0 < top_k < logits.shape[-1]:
        least = wanted.topk(top_k, dim=-1).values[:, -1:]
        wanted = wanted.masked_fill(wanted < least, -torch.inf)
    below = torch.softmax(wanted, dim=-1).cumsum(dim=-1)
    places = torch.searchsorted(below, numbers[:, None].to(below) * below[:, -1:], right=True)[:, 0]
    return places.clamp(max=logits.shape[-1] - 1)


def advantages(rewards: Tensor, values: Tensor, there: Tensor, gamma: float, decay: float) -> tuple[Tensor, Tensor]:
    """Return generalised advantages and what the value of each place should be, both (rows, columns).

    Behind the last token of a text there is nothing to come: delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t +
    gamma lambda A_{t+1}, and the return is A_t + V_t (J. Schulman et al., 2016, arXiv:1506.02438, equation 16).
    """
    found = torch.zeros_like(rewards)
    after, value = rewards.new_zeros(len(rewards)), rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * value - values[:, t]
        after = (delta + gamma * decay * after) * there[:, t]
        value = values[:, t] * there[:, t]
        found[:, t] = after
    return found, (found + values) * there


def normalised(values: Tensor, there: Tensor) -> Tensor:
    """Return values less their mean over the tokens that are there, divided by their deviation."""
    count = there.sum().clamp(min=1)
    mean = (values * there).sum() / count
    spread = (((values - mean) ** 2 * there).sum() / count).sqrt()
    return (values - mean) / (spread + EPSILON) * there


def clipped(new: Tensor, old: Tensor, gains: Tensor, clip: float) -> Tensor:
    """Return PPO's loss per token of log-probabilities: - min(ratio A, ratio held within 1 +- clip times A)."""
    ratio = (new - old).exp()
    return -torch.minimum(ratio * gains, ratio.clamp(1 - clip, 1 + clip) * gains)


def shaped(rewards: Tensor, policy: Tensor, reference: Tensor, there: Tensor, beta: float) -> Tensor:
    """Return rewards per token less beta times the log-ratio of policy and reference (before any mask)."""
    return (rewards - beta * (policy - reference)) * there


@dataclass
class Leash:
    """The KL coefficient: it rises where the policy strays further than `target` from its reference, else it falls."""

    beta: float
    target: float

    def follow(self, kl: float) -> None:
        """Take up the KL of an iteration, the mean over its tokens in nats; a target of 0 leaves beta as it is."""
        if self.target > 0:
            off = (kl - self.target) / self.target
            self.beta *= 1 + GAIN * max(-SPREAD, min(SPREAD, off))
