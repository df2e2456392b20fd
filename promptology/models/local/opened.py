"""A model of transformers in this process before it is loaded: what it is made of, named and told from others."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptology.errors import UsageError
from promptology.models.local.folder import fingerprint, locate
from promptology.zoo import folders

if TYPE_CHECKING:
    from promptology.models.local.counting import Counter


class Opened:
    """What every kind of local model has: source, settings, name, identity. The weights are loaded at the first use.

    `source`: a folder, a hub id, "zoo:NAME", or a loaded model with its `tokenizer`. `device`: "cpu", "cuda",
    "cuda:1", "mps", or "auto" (a GPU where there is one); `dtype`: "float32", "bfloat16", "float16", or "auto"
    (bfloat16 on a GPU that computes in it). `bits`: 4 or 8 holds the weights quantised, by bitsandbytes. `chat`: False
    leaves a chat template out; by default it is used where there is one. `trust_code`: run code that comes with the
    folder. `max_tokens`: longest input, by default the model's own. A held model is put into evaluation mode and its
    parameters need no gradient any more; nothing else in it changes.
    """

    kind = ""
    local = True
    simulated = False

    def __init__(
        self,
        source: Any,
        tokenizer: Any = None,
        *,
        device: str = "",
        dtype: str = "",
        bits: int = 0,
        chat: bool | None = None,
        trust_code: bool = False,
        name: str | None = None,
        max_tokens: int = 0,
        sha256: str = "",
    ) -> None:
        self._held = None if isinstance(source, str | Path) else source
        self._tokenizer = tokenizer
        self.folder = "" if self._held is not None else str(source)
        self.name = name or _name_of(source)
        self.device, self.dtype, self.bits, self.chat, self.max_tokens = device, dtype, bits, chat, max_tokens
        self.trust_code, self._sha256 = trust_code, sha256
        self.notes: list[str] = []
        self._lock = threading.Lock()
        self._counter: Counter | None = None
        self._identity = ""
        if self._held is not None and (dtype or bits):
            raise UsageError("a model that is loaded already keeps its dtype; load it in the one that you want")

    @property
    def identity(self) -> str:
        """What tells this model from another: its weights, dtype, longest input, and whether it reads by a template."""
        if not self._identity:
            self._identity = self._identify()
        return self._identity

    def _identify(self) -> str:
        if self._held is not None:
            mark, dtype = _fingerprint_held(self._held, self._tokenizer), str(self._held.dtype).removeprefix("torch.")
        else:
            mark, dtype = self._mark(), self._dtype()
        parts = [self.kind, mark, dtype, "chat" if self._templated() else "plain"]
        parts += [f"{self.bits}bit"] * bool(self.bits) + [str(self.max_tokens)] * bool(self.max_tokens)
        return ":".join(parts)

    def _mark(self) -> str:
        if self.folder.startswith(folders.PREFIX):
            return folders.mark(self.folder.removeprefix(folders.PREFIX))
        folder = locate(self.folder)
        if Path(self.folder).expanduser().is_dir():
            return fingerprint(folder)
        # Of the hub: the commit. Its weights may not be here yet.
        return hashlib.blake2b(f"{self.folder}@{folder.name}".encode(), digest_size=8).hexdigest()

    def _dtype(self) -> str:
        from promptology.models.local.loading import pick_device, pick_dtype

        return pick_dtype(self.dtype, pick_device(self.device) if self.dtype in ("", "auto") else None)

    def _templated(self) -> bool:
        """Whether messages go through a chat template."""
        return False

    def count_tokens(self, text: str) -> int | None:
        """Return how many tokens a text has, without special ones; None where unknown. No weights are loaded."""
        found = self.tokens(text)
        return None if found is None else len(found)

    def tokens(self, text: str) -> list[int] | None:
        """Return the tokens of a text, without special ones; None where unknown. No weights are loaded."""
        if self._counter is None:
            from promptology.models.local.counting import Counter

            self._counter = Counter(self.folder if self._held is None else tokenizer_of(self._tokenizer))
        return self._counter.tokens(text)

    @property
    def context(self) -> int | None:
        """The longest input in tokens that model or user state, None where nobody does."""
        from promptology.models.local.counting import stated_limit
        from promptology.models.local.reading import limit_of

        if self._held is not None:
            return limit_of(self._held, self._tokenizer, self.max_tokens)
        return stated_limit(locate(self.folder), self.max_tokens)

    def __reduce__(self) -> Any:
        options: dict[str, Any] = {"device": self.device, "dtype": self.dtype, "bits": self.bits, "chat": self.chat}
        options |= {"trust_code": self.trust_code, "name": self.name, "max_tokens": self.max_tokens}
        source = self.folder if self._held is None else self._held
        return _again, (type(self), source, self._tokenizer, {**options, "sha256": self._sha256})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


def _again(cls: type[Opened], source: Any, tokenizer: Any, options: Mapping[str, Any]) -> Opened:
    return cls(source, tokenizer, **options)


def _name_of(source: Any) -> str:
    if isinstance(source, str | Path):
        return Path(source).name or str(source)
    path = str(getattr(source.config, "_name_or_path", "") or "")
    return Path(path).name or type(source).__name__


def tokenizer_of(brought: Any) -> Any:
    """Return the tokenizer of what was given with a loaded model: itself, or the one in a processor."""
    return getattr(brought, "tokenizer", brought)


def _fingerprint_held(model: Any, tokenizer: Any) -> str:
    """Return what tells a held model from another: its configuration, tokenizer and a sample of every parameter."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(model.config.to_json_string().encode())
    names = tokenizer_of(tokenizer)
    digest.update(f"{type(model).__name__}:{len(names)}:{getattr(names, 'chat_template', None)}".encode())
    images = getattr(tokenizer, "image_processor", None)
    digest.update(b"" if images is None else images.to_json_string().encode())
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].float().cpu().numpy()
        digest.update(f"{name}:{tuple(parameter.shape)}".encode() + sample.tobytes())
    return digest.hexdigest()
