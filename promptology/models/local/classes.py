"""Models in this process, by kind: what `pt.model` gives for a transformers folder, hub id or object.

Nothing of torch is imported before a model is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptology.errors import UsageError
from promptology.models.access import Injected, Outcome, Request, Vectors
from promptology.models.local.folder import (
    NOUNS,
    check_code,
    check_hash,
    check_towers,
    has_chat,
    kind_of,
    kind_of_names,
    left_out,
    locate,
    pooling_of,
    read_config,
)
from promptology.models.local.opened import Opened
from promptology.models.local.two_tower import TwoTowerModel

if TYPE_CHECKING:
    from promptology.models.local.answering import Answering
    from promptology.models.local.body import Body

log = logging.getLogger("promptology")


class LocalModel(Opened):
    """A frozen transformers model of texts; the weights are loaded at the first use. Settings: see `Opened`."""

    _inside: Answering | None = None

    def _templated(self) -> bool:
        """Whether messages go through a chat template."""
        if self.kind not in ("causal", "seq2seq") or self.chat is False:
            return False
        if self._held is not None:
            return bool(getattr(self._tokenizer, "chat_template", None))
        return has_chat(locate(self.folder))

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


CLASSES: dict[str, type[Opened]] = {
    c.kind: c for c in (CausalModel, MaskedModel, Seq2SeqModel, EncoderModel, TwoTowerModel)
}
assert set(CLASSES) == set(NOUNS)


def open_local(source: str | Path, **options: Any) -> Opened:
    """Return the model of a folder, hub id or "zoo:NAME", by what its configuration says; options: `Opened`."""
    folder = locate(str(source))
    config = read_config(folder)
    if not options.get("trust_code"):
        check_code(folder, config)
    return CLASSES[kind_of(folder, config)](str(source), **options)


def wrap(model: Any, tokenizer: Any = None, **options: Any) -> Opened:
    """Return a loaded transformers model, with its tokenizer, as a model here; see `Opened` for the options."""
    if tokenizer is None:
        raise UsageError(f"{type(model).__name__} needs its tokenizer: pt.model(model, tokenizer)")
    config = model.config
    if hasattr(config, "vision_config"):
        check_towers(type(model).__name__, config.model_type, type(model).__name__)
        return TwoTowerModel(model, tokenizer, **options)
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
