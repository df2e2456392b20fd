"""From messages to tokens: chat templates, special tokens, continuations, label words, the longest input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptology.errors import ModelError, UsageError
from promptology.models.access import Message
from promptology.models.local.folder import one_line

NO_LIMIT = 4096
"""Longest input, in tokens, of a model that states none: its memory grows with the square."""
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
STATED = 1_000_000
"""A tokenizer's length above this says that nobody stated one."""
TAIL = 24
"""Characters before a continuation that decide how it falls into tokens."""
REMEMBERED = 100_000


def clean(text: str) -> str:
    """Return text without half surrogate pairs, which broken files hold and tokenizers refuse for a whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class Reader:
    """The tokenizer of a model, used as the model wants it.

    `chat`: messages go through the chat template; a plain text never does. `limit`: longest input in tokens.
    """

    def __init__(self, tokenizer: Any, kind: str, *, name: str, chat: bool, limit: int) -> None:
        self.tokenizer, self.kind, self.name, self.chat, self.limit = tokenizer, kind, name, chat, limit
        ends = tokenizer.eos_token_id
        probe = tokenizer("a")["input_ids"]
        # Some causal tokenizers close every text with the end token, behind which nothing is left to say.
        self._closes = kind == "causal" and ends is not None and len(probe) > 1 and probe[-1] == ends
        self._continued: dict[tuple[str, str], list[int]] = {}
        candidates = (tokenizer.bos_token_id, ends, tokenizer.pad_token_id, 0)
        self.first = next(int(token) for token in candidates if token is not None)
        pads = (tokenizer.pad_token_id, ends, 0)
        self.pad = next(int(token) for token in pads if token is not None)

    def render(self, messages: Sequence[Message]) -> str:
        """Return messages as one text: by the chat template, else their contents parted by blank lines."""
        if not self.chat:
            return "\n\n".join(clean(content) for _, content in messages)
        turns = [{"role": role, "content": clean(content)} for role, content in messages]
        last = bool(turns) and turns[-1]["role"] == "assistant"
        options = {"continue_final_message": True} if last else {"add_generation_prompt": True}
        fault: Exception | None = None
        for form in (turns, _folded(turns)):
            try:
                return str(self.tokenizer.apply_chat_template(form, tokenize=False, **options))
            except Exception as error:  # templates raise what they like
                fault = fault or error
        assert fault is not None
        raise UsageError(
            f"{self.name}: its chat template refuses these messages ({one_line(fault)[:100]}); chat=False leaves it out"
        )

    def ids(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        """Return the tokens of plain texts, at least one each, never cut."""
        if not texts:
            return []
        rows = self.tokenizer([clean(text) for text in texts], add_special_tokens=special, verbose=False)["input_ids"]
        if self._closes and special:
            rows = [row[:-1] for row in rows]
        return [list(row) or [self.first] for row in rows]

    def encode_all(self, prompts: Sequence[Sequence[Message] | str]) -> list[list[int]]:
        """Return the tokens of prompts, never cut: messages rendered, texts as they are."""
        texts = [prompt if isinstance(prompt, str) else self.render(prompt) for prompt in prompts]
        templated = [self.chat and not isinstance(prompt, str) for prompt in prompts]
        rows: list[list[int]] = [[] for _ in texts]
        for with_template in (False, True):
            members = [n for n, flag in enumerate(templated) if flag is with_template]
            # A chat template writes the special tokens itself.
            for n, row in zip(members, self.ids([texts[n] for n in members], special=not with_template), strict=True):
                rows[n] = row
        return rows

    def cut(self, row: list[int], limit: int | None = None) -> list[int]:
        """Return a row cut to the longest input; what closes it (a separator) stays."""
        most = self.limit if limit is None else limit
        if len(row) <= most:
            return row
        closing = row[-1:] if self.kind != "causal" and row[-1] in self._special() else []
        return row[: most - len(closing)] + closing

    def too_long(self, tokens: int, more: str = "") -> str:
        """Return the line that says that a prompt does not fit."""
        return (
            f"{self.name}: the prompt has {tokens} tokens{more}, and the model reads {self.limit}; "
            "shorten the prompt or its texts"
        )

    def continuation(self, messages: Sequence[Message] | str, text: str, *, end: bool = False) -> list[int]:
        """Return the tokens that a text adds behind a prompt; of an encoder-decoder, of the text by itself.

        `end`: with the end token, where the model has one.
        """
        closing = [int(self.tokenizer.eos_token_id)] if end and self.tokenizer.eos_token_id is not None else []
        if self.kind == "masked":
            return [self.label(text)]
        if self.kind == "seq2seq":
            row = list(self.tokenizer(text_target=clean(text), add_special_tokens=False)["input_ids"])
            return [*row, *closing]
        before = messages if isinstance(messages, str) else self.render(messages)
        return [*self._behind(before[-TAIL:], clean(text)), *closing]

    def _behind(self, tail: str, text: str) -> list[int]:
        """Return the tokens of a text behind another's end: those that both together have more than the first."""
        key = (tail, text)
        if key not in self._continued:
            if len(self._continued) >= REMEMBERED:
                self._continued.clear()
            tail = clean(tail)
            both, before, alone = self.tokenizer([tail + text, tail, text], add_special_tokens=False)["input_ids"]
            joined = both[: len(before)] == before
            self._continued[key] = list(both[len(before) :] if joined else alone)
        return self._continued[key]

    def label(self, word: str) -> int:
        """Return the one token of a label word, as it stands behind a space; raises UsageError where it has several."""
        text = clean(word).strip()
        found: list[int] = []
        for form in (f" {text}", text):
            found = list(self.tokenizer(form, add_special_tokens=False)["input_ids"])
            if len(found) == 1 and found[0] != self.tokenizer.unk_token_id:
                return int(found[0])
        tokens = ", ".join(repr(str(t)) for t in self.tokenizer.convert_ids_to_tokens(found))
        what = f"falls into {len(found)} tokens ({tokens})" if len(found) > 1 else "is not in its vocabulary"
        raise UsageError(
            f"{self.name}: the label word {word!r} {what}; one mask takes one token: name another word, or read the "
            "model by --readout nearest-label"
        )

    def masked(self, row: list[int]) -> tuple[list[int], int]:
        """Return a row that holds one mask token, put behind its text where it has none, and the mask's position."""
        mask = self.tokenizer.mask_token_id
        places = [n for n, token in enumerate(row) if token == mask]
        if len(places) > 1:
            raise UsageError(f"{self.name}: the prompt holds {len(places)} mask tokens; a label stands at one")
        if places:
            if places[0] >= self.limit - 1 and len(row) > self.limit:
                raise UsageError(self.too_long(len(row), " and its mask stands behind the end"))
            return self.cut(row), places[0]
        closing = row[-1:] if row and row[-1] in self._special() else []
        body = row[: len(row) - len(closing)][: self.limit - 1 - len(closing)]
        return [*body, int(mask), *closing], len(body)

    def _special(self) -> tuple[int | None, ...]:
        return (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id)

    def check(self) -> None:
        """Raise ModelError where the tokenizer lacks what this kind of model needs."""
        if self.kind == "masked" and self.tokenizer.mask_token_id is None:
            raise ModelError(
                f"{self.name}: its tokenizer has no mask token, so no label word can be scored; "
                "set tokenizer.mask_token, or take a causal model"
            )


def _folded(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return turns with what the system says at the head of the first user turn, for templates without a system."""
    system = "\n\n".join(t["content"] for t in turns if t["role"] == "system")
    rest = [dict(t) for t in turns if t["role"] != "system"]
    if not system:
        return rest
    if rest and rest[0]["role"] == "user":
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
        return rest
    return [{"role": "user", "content": system}, *rest]


def limit_of(model: Any, tokenizer: Any, asked: int = 0) -> int:
    """Return the longest input in tokens: what a model's positions allow, and what its tokenizer or the user says."""
    config = model.config
    stated = [getattr(config, name, None) for name in POSITIONS]
    limits = [int(n) for n in stated if isinstance(n, int) and n > 0][:1]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            # RoBERTa counts positions from behind the padding token.
            limits = [int(module.num_embeddings) - int(module.padding_idx) - 1]
    said = asked or getattr(tokenizer, "model_max_length", None)
    if isinstance(said, int) and 0 < said < STATED:
        limits.append(said)
    return min(limits) if limits else NO_LIMIT
