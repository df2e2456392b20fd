"""A policy that writes: the weights that stand in for a model's own, texts drawn from it, and what it thinks of texts.

Every pass goes through the frozen model of a handle, whose own weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptology.injection import Filling, attach
from promptology.models.local.decoding import end_tokens, stepping
from promptology.training.policy import drawn, masked, nucleus

CHUNK = 32
"""Texts that are drawn, or looked at without gradients, at once."""
Weights = Mapping[str, Tensor]
"""Tensors by the names of the weights in whose place they stand."""
Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Mask:
    """Which tokens may be drawn: the nucleus of a policy, `least` tokens at least, and the end (NLPO)."""

    p: float = 0.9
    least: int = 100


class Drawn(NamedTuple):
    """Texts as tokens, the end token included where they have one; and which tokens were allowed, packed (B, T, V/8).

    `allowed` is None where all were.
    """

    tokens: list[list[int]]
    allowed: NDArray[np.uint8] | None


@contextmanager
def holding(body: Any, weights: Weights) -> Iterator[None]:
    """Let weights stand in the place of a model's own."""
    with body.lock, attach(body.model, [Filling(f"weight:{name}", tensor) for name, tensor in weights.items()]):
        yield


def draw(
    body: Any,
    policy: Weights,
    prompts: Rows,
    most: int,
    numbers: NDArray[np.float64],
    *,
    mask: Mask | None = None,
    guide: Weights | None = None,
    top_k: int = 0,
) -> Drawn:
    """Return a text per prompt, drawn from a policy token by token with the numbers (B, most) in [0, 1).

    `mask`: only what the policy `guide` allows is drawn; one pass more for each prompt. `top_k`: of these only so many
    of the likeliest. A text ends with an end token, or after `most`.
    """
    tokens: list[list[int]] = []
    packed: list[NDArray[np.uint8]] = []
    for at in range(0, len(prompts), CHUNK):
        rows = prompts[at : at + CHUNK]
        with torch.no_grad():
            some, bits = _draw(body, policy, rows, most, numbers[at : at + CHUNK], mask, guide or policy, top_k)
        tokens += some
        if bits is not None:
            packed.append(bits)
    if not packed:
        return Drawn(tokens, None)
    longest = max(bits.shape[1] for bits in packed)
    return Drawn(tokens, np.concatenate([np.pad(b, ((0, 0), (0, longest - b.shape[1]), (0, 0))) for b in packed]))


def _draw(
    body: Any,
    policy: Weights,
    prompts: Rows,
    most: int,
    numbers: NDArray[np.float64],
    mask: Mask | None,
    guide: Weights,
    top_k: int,
) -> tuple[list[list[int]], NDArray[np.uint8] | None]:
    ends = sorted(end_tokens(body))
    steps = stepping(body, prompts)
    guiding = stepping(body, prompts) if mask else None
    going = list(range(len(prompts)))
    found: list[list[int]] = [[] for _ in prompts]
    packed: list[NDArray[np.uint8]] = []
    for t in range(most):
        with holding(body, policy):
            logits = body.logits(steps.states()).float()
        allowed = None
        if mask and guiding:
            with holding(body, guide):
                allowed = nucleus(body.logits(guiding.states()), mask.p, mask.least, ends)
            bits = np.zeros((len(prompts), -(-logits.shape[-1] // 8)), np.uint8)
            bits[going] = np.packbits(allowed.cpu().numpy(), axis=1)
            packed.append(bits)
        chosen = drawn(masked(logits, allowed).cpu(), torch.from_numpy(numbers[going, t]), top_k).tolist()
        for row, token in zip(going, chosen, strict=True):
            found[row].append(token)
        left = [n for n, token in enumerate(chosen) if token not in ends]
        going = [going[n] for n in left]
        if not going:
            break
        for walk in (steps, guiding):
            if walk is not None:
                walk.next([chosen[n] for n in left], left if len(left) < len(chosen) else None)
    return found, np.stack(packed, axis=1) if packed else None


def unpacked(bits: NDArray[np.uint8]) -> Tensor:
    """Return which tokens were allowed, bool (tokens, V and up to 7 more), from packed rows (tokens, V/8)."""
    return torch.from_numpy(np.unpackbits(bits, axis=1).astype(bool))


def logprobs(
    body: Any, policy: Weights, prompts: Rows, texts: Rows, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of every token under a policy as it is, and among the allowed ones; (tokens,) each.

    Texts stand one behind the other; `allowed`: bool, a row for each token. Gradients flow to the policy where they are
    enabled.
    """
    with holding(body, policy):
        states, wanted = body.target_states(prompts, texts)
        logits = body.logits(states).float()
    plain = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1)
    if allowed is None:
        return plain, plain
    among = masked(logits, allowed[:, : logits.shape[-1]].to(logits.device))
    return plain, among.gather(1, wanted[:, None])[:, 0] - among.logsumexp(dim=1)


def values(body: Any, critic: Weights, prompts: Rows, texts: Rows) -> Tensor:
    """Return the states before every token, float32 (tokens, d), of which a head makes values."""
    with holding(body, critic):
        states, _ = body.target_states(prompts, texts)
    found: Tensor = states.float()
    return found


def text_of(body: Any, tokens: Sequence[int]) -> str:
    """Return a text from its tokens."""
    return str(body.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()
