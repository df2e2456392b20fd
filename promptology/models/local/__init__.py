"""Models of transformers in this process: causal, masked, encoder-decoder, encoder. The first one loads torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promptology.models.local.classes import (
    CausalModel,
    EncoderModel,
    LocalModel,
    MaskedModel,
    Seq2SeqModel,
    open_local,
    wrap,
)
from promptology.models.local.two_tower import TwoTowerModel

if TYPE_CHECKING:
    from promptology.models.local.body import Body, Hidden
    from promptology.models.local.scoring import score_suffixes
    from promptology.models.local.towers import Towers

__all__ = [
    "Body",
    "CausalModel",
    "EncoderModel",
    "Hidden",
    "LocalModel",
    "MaskedModel",
    "Seq2SeqModel",
    "Towers",
    "TwoTowerModel",
    "open_local",
    "score_suffixes",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in ("Body", "Hidden"):
        from promptology.models.local import body

        return getattr(body, name)
    if name == "score_suffixes":
        from promptology.models.local.scoring import score_suffixes

        return score_suffixes
    if name == "Towers":
        from promptology.models.local.towers import Towers

        return Towers
    raise AttributeError(f"module 'promptology.models.local' has no attribute {name!r}")
