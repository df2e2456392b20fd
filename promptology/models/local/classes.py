"""Models in this process, by kind: what `pt.model` gives for a transformers folder, hub id or object.

Nothing of torch is imported before a model is used.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptology.errors import UsageError
from promptology.models.access import Injected, Outcome, Request, Vectors
from promptology.models.local.folder import (
    NOUNS,
    check_code,
    check_hash,
    fingerprint,
    has_chat,
    kind_of,
    kind_of_names,
    left_out,
    locate,
    pooling_of,
    read_config,
)
from promptology.zoo import folders

if TYPE_CHECKING:
    from promptology.models.local.answering import Answering
    from promptology.models.local.body import Body
    from promptology.models.local.counting import Counter

log = logging.getLogger("promptology")


class LocalModel:
    """A frozen transformers model: what every kind offers. The weights are loaded at the first use.

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
        self._inside: Answering | None = None
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
        if self.kind not in ("causal", "seq2seq") or self.chat is False:
            return False
        if self._held is not None:
            return bool(getattr(self._tokenizer, "chat_template", None))
        return has_chat(locate(self.folder))

    def count_tokens(self, text: str) -> int | None:
        """Return the tokens of a text, without special ones and without loading the weights; None where unknown."""
        if self._counter is None:
            from promptology.models.local.counting import Counter

            self._counter = Counter(self.folder if self._held is None else self._tokenizer)
        return self._counter.count(text)

    @property
    def context(self) -> int | None:
        """The longest input in tokens that model or user state, None where nobody does."""
        from promptology.models.local.counting import stated_limit
        from promptology.models.local.reading import limit_of

        if self._held is not None:
            return limit_of(self._held, self._tokenizer, self.max_tokens)
        return stated_limit(locate(self.folder), self.max_tokens)

    def frozen(self) -> Body:
        """Return the loaded model with its tokenizer and sites."""
        return self._answering().body

    def movable(self) -> tuple[str, ...]:
        """Return the names of the floating-point weights; quantised ones cannot move."""
        return self.frozen().movable()

    def states(self, texts: Sequence[str], injected: Injected | None = None, layers: int = 0) -> Vectors:
        """Return pooled hidden states, float32, shape (len(texts), width), under learned parts where given.

        `layers`: the maximum over so many last ones; see `State`.
        """
        return self._answering().states(texts, injected, layers)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32, shape (len(texts), dimension)."""
        return self._answering().embed(texts)

    def _answering(self) -> Answering:
        with self._lock:
            if self._inside is None:
                self._inside = self._open()
            return self._inside

    def _open(self) -> Answering:
        from promptology.models.local.answering import Answering
        from promptology.models.local.body import Body

        model, tokenizer, pooling, most = self._held, self._tokenizer, "", self.max_tokens
        if model is None:
            model, tokenizer, pooling, most = self._load()
        elif self.device:
            from promptology.models.local.loading import pick_device

            model.to(pick_device(self.device))
        if self.chat and not getattr(tokenizer, "chat_template", None):
            raise UsageError(f"{self.name} has no chat template; leave chat out")
        body = Body(model, tokenizer, self.kind, self.name, chat=self._templated(), pooling=pooling, max_tokens=most)
        self._say(body)
        return Answering(body)

    def _load(self) -> tuple[Any, Any, str, int]:
        from promptology.models.local.loading import load, pick_device, pick_dtype

        device = pick_device(self.device)
        folder = locate(self.folder, whole=True)
        if self._sha256:
            check_hash(folder / "model.safetensors", self._sha256)
        loaded = load(
            folder,
            self.kind,
            device=device,
            dtype=pick_dtype(self.dtype, device),
            bits=self.bits,
            trust_code=self.trust_code,
        )
        if left := left_out(folder):
            log.warning("%s: %s of its folder is not applied", self.name, " and ".join(left))
        pooling = pooling_of(folder)
        return loaded.model, loaded.tokenizer, pooling.how, self.max_tokens or pooling.max_tokens

    def _say(self, body: Body) -> None:
        """Say once what was chosen."""
        count = body.parameters()
        size = f"{count / 1e9:.1f} G" if count >= 1e9 else f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}"
        dtype = str(body.dtype).removeprefix("torch.") + (f" over {self.bits} bits" if self.bits else "")
        note = f"{self.name}: {type(self).__name__} on {body.device}, {dtype}, {size} parameters"
        self.notes.append(note)
        log.warning(note)

    def __reduce__(self) -> Any:
        options: dict[str, Any] = {"device": self.device, "dtype": self.dtype, "bits": self.bits, "chat": self.chat}
        options |= {"trust_code": self.trust_code, "name": self.name, "max_tokens": self.max_tokens}
        source = self.folder if self._held is None else self._held
        return _again, (type(self), source, self._tokenizer, {**options, "sha256": self._sha256})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class _Generating(LocalModel):
    """Generation and scores, of causal models and encoder-decoders alike."""

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) as answers finish; a continuation is scored, learned parts are shown to their rows."""
        if requests:
            yield from self._answering().answers(requests)

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return log p(choice | prompt) in nats, summed over the choice's tokens."""
        return _scores(self._answering(), prompts, choices)


class CausalModel(_Generating):
    """A causal language model (GPT-2, Llama, ...): generates, scores, embeds, and can be looked into."""

    kind = "causal"


class Seq2SeqModel(_Generating):
    """An encoder-decoder (T5, BART, ...): generates, scores, embeds, and can be looked into."""

    kind = "seq2seq"


class MaskedModel(LocalModel):
    """A masked language model (BERT, RoBERTa, ...): scores label words at a mask, embeds, and can be looked into."""

    kind = "masked"

    def score(self, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return log p(label word | prompt) at the prompt's mask token, or at one put behind it.

        Raises UsageError for a label word of several tokens.
        """
        return _scores(self._answering(), prompts, choices)

    def scored(self, requests: Sequence[Request]) -> Iterator[tuple[int, Outcome]]:
        """Yield the log-probability of each request's continuation, under learned parts where it has some."""
        yield from self._answering().answers(requests)


class EncoderModel(LocalModel):
    """An encoder without a language-model head: embeds, and can be looked into."""

    kind = "encoder"


CLASSES: dict[str, type[LocalModel]] = {c.kind: c for c in (CausalModel, MaskedModel, Seq2SeqModel, EncoderModel)}
assert set(CLASSES) == set(NOUNS)


def open_local(source: str | Path, **options: Any) -> LocalModel:
    """Return the model of a folder, hub id or "zoo:NAME", by what its configuration says; options: `LocalModel`."""
    folder = locate(str(source))
    config = read_config(folder)
    if not options.get("trust_code"):
        check_code(folder, config)
    return CLASSES[kind_of(folder, config)](str(source), **options)


def wrap(model: Any, tokenizer: Any = None, **options: Any) -> LocalModel:
    """Return a loaded transformers model, with its tokenizer, as a model here; see `LocalModel` for the options."""
    if tokenizer is None:
        raise UsageError(f"{type(model).__name__} needs its tokenizer: pt.model(model, tokenizer)")
    config = model.config
    if hasattr(config, "vision_config"):
        raise UsageError(f"{type(model).__name__} takes images; tasks with images come later")
    kind = kind_of_names([type(model).__name__], bool(getattr(config, "is_encoder_decoder", False)))
    return CLASSES[kind](model, tokenizer, **options)


def _scores(inside: Answering, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
    from promptology.models.access import Failure

    asked = [Request.user(p, continuation=c) for p, some in zip(prompts, choices, strict=True) for c in some]
    found = dict(inside.answers(asked)) if asked else {}
    values: list[float] = []
    for n in range(len(asked)):
        outcome = found[n]
        if isinstance(outcome, Failure):
            raise UsageError(outcome.reason)
        values.append(float(outcome.logprob or 0.0))
    came = iter(values)
    return [[next(came) for _ in some] for some in choices]


def _again(cls: type[LocalModel], source: Any, tokenizer: Any, options: Mapping[str, Any]) -> LocalModel:
    return cls(source, tokenizer, **options)


def _name_of(source: Any) -> str:
    if isinstance(source, str | Path):
        return Path(source).name or str(source)
    path = str(getattr(source.config, "_name_or_path", "") or "")
    return Path(path).name or type(source).__name__


def _fingerprint_held(model: Any, tokenizer: Any) -> str:
    """Return what tells a held model from another: its configuration, tokenizer and a sample of every parameter."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(model.config.to_json_string().encode())
    digest.update(f"{type(model).__name__}:{len(tokenizer)}:{getattr(tokenizer, 'chat_template', None)}".encode())
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].float().cpu().numpy()
        digest.update(f"{name}:{tuple(parameter.shape)}".encode() + sample.tobytes())
    return digest.hexdigest()
