"""How long a prompt is, in tokens: what is sent with every item beside the item itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from promptology.prompts.learned import Learned
from promptology.prompts.render import WRITTEN, messages


class Length(NamedTuple):
    """Tokens of a prompt; `exact`: counted by the model's own tokenizer, else estimated."""

    tokens: int
    exact: bool


def tokens(text: str) -> int:
    """Return the tokens of a text: four bytes each, the usual figure for English."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def prompt_text(learned: Learned) -> str:
    """Return what is sent with every item: system prompt, instruction, classes, demonstrations; no input.

    Empty where nothing is sent: the wordings of an embedding model are no prompt, and a head reads the input alone.
    """
    if learned.roles.get("model") == "embeds" or learned.readout.type not in WRITTEN:
        return ""
    blank = {f.name: "" for f in learned.signature.fields}
    return "\n\n".join(content for _, content in messages(learned, blank, learned.signature)).strip()


def length_of(learned: Learned, model: Any) -> Length:
    """Return the length of a prompt in tokens of a model.

    A model in this process counts by its tokenizer (`count_tokens`), without what a chat template adds; of any other
    the count is an estimate. Virtual tokens inside a model are no text and are not counted.
    """
    count: Callable[[str], int | None] | None = getattr(model, "count_tokens", None)
    text = prompt_text(learned)
    counted = count(text) if count is not None else None
    return Length(tokens(text), False) if counted is None else Length(counted, True)
