"""Modules that a saved prompt may hold, found by name: low-rank offsets of input embeddings, LoRA and adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from promptology.errors import ArtifactError


class Spans(NamedTuple):
    """Where the tokens of a batch stand.

    `positions`: index of each token within its row's text, int64, shape (rows, n), -1 at padding. `past`: how many
    tokens a cache holds already: above 0 the tokens of this step were generated. `answer`: which tokens belong to an
    answer that is given and not generated, bool, shape (rows, n); None: none that are known of.
    """

    positions: Tensor
    past: int = 0
    answer: Tensor | None = None


_ANSWERS: ContextVar[tuple[int, ...] | None] = ContextVar("answers", default=None)


@contextmanager
def answers_at(begins: Sequence[int]) -> Iterator[None]:
    """Say at which of its tokens each row's answer begins, where prompt and answer are run together.

    What is attached then treats them as it treats generated tokens, so that training, scoring and generation agree.
    """
    token = _ANSWERS.set(tuple(begins))
    try:
        yield
    finally:
        _ANSWERS.reset(token)


def answers_in(positions: Tensor) -> Tensor | None:
    """Return which tokens at these positions, shape (rows, n), belong to an answer, None where nothing was said."""
    begins = _ANSWERS.get()
    if begins is None or len(begins) != len(positions):
        return None
    return positions >= torch.tensor(begins, device=positions.device)[:, None]


Make = Callable[[Mapping[str, Any], Mapping[str, Tensor]], nn.Module]
MODULES: dict[str, Make] = {}


def module(name: str) -> Callable[[Make], Make]:
    """Register what makes a module of options and tensors under a name."""

    def register(make: Make) -> Make:
        MODULES[name] = make
        return make

    return register


class Offsets(nn.Module):
    """Low-rank offsets of input embeddings by position: E(x)_t + scale (A B)_t (DePT, arXiv:2309.05173).

    `A`: (s, r), `B`: (r, d). Tokens at positions of s or beyond, padding and the tokens of answers get none.
    """

    def __init__(self, A: Tensor, B: Tensor, scale: float) -> None:
        super().__init__()
        self.A, self.B, self.scale = nn.Parameter(A), nn.Parameter(B), scale

    def forward(self, hidden: Tensor, spans: Spans, batch: Mapping[str, Any]) -> Tensor:
        """Return the embeddings (rows, n, d) with their offsets added."""
        if spans.past:
            return hidden
        length = min(self.A.shape[0], int(spans.positions.max()) + 1)
        if length <= 0:
            return hidden
        rows = self.scale * (self.A[:length] @ self.B)
        inside = (spans.positions >= 0) & (spans.positions < length)
        if spans.answer is not None:
            inside &= ~spans.answer
        # Looked up as embeddings are: the gradients of an index are added up in the order that threads come.
        added = nn.functional.embedding(spans.positions.clamp(0, length - 1), rows) * inside.unsqueeze(-1)
        return hidden + added.to(hidden.dtype)


@module("offsets")
def offsets(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make low-rank offsets; options: scale."""
    A, B = _two(tensors, "A", "B", "offsets")
    return Offsets(A, B, float(options.get("scale", 1.0)))


class Lora(nn.Module):
    """A low-rank addition behind a linear layer: out + scale (x A^T) B^T (arXiv:2106.09685).

    `A`: (r, in), `B`: (out, r), scale = alpha / r.
    """

    def __init__(self, A: Tensor, B: Tensor, scale: float) -> None:
        super().__init__()
        self.A, self.B, self.scale = nn.Parameter(A), nn.Parameter(B), scale

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """Return the layer's output (..., out) with the addition."""
        low = nn.functional.linear(x.to(self.A.dtype), self.A)
        return out + (self.scale * nn.functional.linear(low, self.B)).to(out.dtype)


@module("lora")
def lora(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make a low-rank addition; options: alpha."""
    A, B = _two(tensors, "A", "B", "lora")
    return Lora(A, B, float(options.get("alpha", A.shape[0])) / A.shape[0])


class MetaNet(nn.Module):
    """A context for each image: every vector of it is moved by a small network of the image (arXiv:2203.05557).

    `down`: (bottleneck, features), `up`: (text width, bottleneck), with their biases.
    """

    def __init__(self, down: Tensor, down_bias: Tensor, up: Tensor, up_bias: Tensor) -> None:
        super().__init__()
        self.down, self.down_bias = nn.Parameter(down), nn.Parameter(down_bias)
        self.up, self.up_bias = nn.Parameter(up), nn.Parameter(up_bias)

    def forward(self, context: Tensor, images: Tensor) -> Tensor:
        """Return contexts (images, 1, M, d) of one context (M, d) and the unit vectors of images (images, features)."""
        inner = nn.functional.linear(images.to(self.down.dtype), self.down, self.down_bias).relu()
        moved = nn.functional.linear(inner, self.up, self.up_bias)
        return (context + moved[:, None]).unsqueeze(1)


@module("meta-net")
def meta_net(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make a network that moves a context by the image; no options."""
    names = ("down", "down_bias", "up", "up_bias")
    if absent := [name for name in names if name not in tensors]:
        raise ArtifactError(f"module 'meta-net' lacks its tensor {absent[0]!r}")
    down, down_bias, up, up_bias = (tensors[name].to(torch.float32) for name in names)
    if (
        down.dim() != 2
        or up.dim() != 2
        or len(down) != up.shape[1]
        or (len(down_bias), len(up_bias))
        != (
            len(down),
            len(up),
        )
    ):
        raise ArtifactError("module 'meta-net': its tensors have no bottleneck in common")
    return MetaNet(down, down_bias, up, up_bias)


class Adapter(nn.Module):
    """A small addition of what a linear layer gives, behind it: out + B f(A out), A: (r, out), B: (out, r).

    `relu`: f is a ReLU (Houlsby et al., arXiv:1902.00751); without it f is the identity, so that the addition can be
    merged into the layer (LiST, arXiv:2110.06274).
    """

    def __init__(self, A: Tensor, B: Tensor, relu: bool = False) -> None:
        super().__init__()
        self.A, self.B, self.relu = nn.Parameter(A), nn.Parameter(B), relu

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """Return the layer's output (..., out) with the addition."""
        low = nn.functional.linear(out.to(self.A.dtype), self.A)
        low = nn.functional.relu(low) if self.relu else low
        return out + nn.functional.linear(low, self.B).to(out.dtype)


@module("adapter")
def adapter(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make an adapter; options: relu."""
    A, B = _two(tensors, "A", "B", "adapter")
    return Adapter(A, B, bool(options.get("relu", False)))


def _two(tensors: Mapping[str, Tensor], first: str, second: str, name: str) -> tuple[Tensor, Tensor]:
    try:
        A, B = tensors[first], tensors[second]
    except KeyError as error:
        raise ArtifactError(f"module {name!r} lacks its tensor {error}") from None
    ranks = (A.shape[1], B.shape[0]) if name == "offsets" else (A.shape[0], B.shape[1])
    if A.dim() != 2 or B.dim() != 2 or ranks[0] != ranks[1]:
        raise ArtifactError(f"module {name!r}: shapes {tuple(A.shape)} and {tuple(B.shape)} have no rank in common")
    return A.to(torch.float32), B.to(torch.float32)
