"""Prompts that a helper writes for each input: written before the model is asked, shown to it beside the input."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from promptology.data.items import Item, Signature
from promptology.errors import ArtifactError
from promptology.models.access import Answer, Injected, Message, Request
from promptology.prompts.injected import injected_of
from promptology.prompts.learned import Learned
from promptology.prompts.render import WRITTEN, fill, frame, input_text
from promptology.prompts.rewriter import Rewriter
from promptology.run.cost import ZERO, Cost
from promptology.run.handles import INSIDE, Handle

log = logging.getLogger("promptology")


class Writer:
    """Writes a text for each input, greedily and in one batch; what it wrote once, it does not write again."""

    def __init__(self, part: Rewriter, handle: Handle, injected: Injected | None, signature: Signature) -> None:
        self.part, self.handle, self.injected, self.signature = part, handle, injected, signature
        self.found: dict[str, tuple[str | None, Cost]] = {}
        """Texts with what each cost, by the text of the input; None where none came."""

    def write(self, items: Sequence[Item]) -> None:
        """Write what is not written yet."""
        new = [text for text in dict.fromkeys(map(self._input, items)) if text not in self.found]
        outcomes = self.handle.outcomes(self._requests(new)) if new else []
        for text, outcome in zip(new, outcomes, strict=True):
            came = isinstance(outcome, Answer)
            self.found[text] = (
                self.part.cut(outcome.text) if isinstance(outcome, Answer) else None,
                self.handle.cost_of(outcome) if isinstance(outcome, Answer) else ZERO,
            )
            if not came:
                log.warning("%s wrote nothing for an input: %s", self.handle.name, getattr(outcome, "reason", ""))

    def hint(self, item: Item) -> str | None:
        """Return what was written for an item, None where no answer came."""
        return self.found[self._input(item)][0]

    def cost(self, item: Item) -> Cost:
        """Return what writing for an item costs on a cold cache."""
        return self.found[self._input(item)][1]

    def show(self, asked: Sequence[Message], item: Item) -> tuple[Message, ...]:
        """Return the messages of an item with the text for it; the longest there may be where none is written yet."""
        text = self._input(item)
        hint = self.found[text][0] if text in self.found else "x" * self.part.longest
        return shown(self.part, asked, hint or "")

    def most(self, items: Sequence[Item], known: set[Any]) -> Cost:
        """Return the most that writing for these items can cost."""
        new = [text for item in items if (text := self._input(item)) not in self.found]
        return self.handle.worst(self._requests(new), [], known) if new else ZERO

    def _input(self, item: Item) -> str:
        return input_text(item.inputs, self.signature)

    def _requests(self, texts: Sequence[str]) -> list[Request]:
        inside: dict[str, Any] = {"injected": self.injected} if self.injected else {}
        asked = [read(self.part, text, self.handle) for text in texts]
        return self.handle.requests(asked, temperature=0.0, max_tokens=self.part.max_tokens, **inside)


def writer_of(learned: Learned, handles: Mapping[str, Handle], signature: Signature) -> Writer | None:
    """Return who writes for each input of a prompt, None where nobody does.

    Raises ArtifactError where the prompt is read in a way in which the model sees no words.
    """
    part = learned.part(Rewriter)
    if part is None:
        return None
    if learned.readout.type not in WRITTEN:
        raise ArtifactError(f"a rewriter's text stands in a prompt, and readout {learned.readout.type!r} shows none")
    if part.role not in handles:
        raise ArtifactError(f"this prompt is written by a model in the role {part.role!r}, which its roles lack")
    return Writer(part, handles[part.role], injected_of(learned, part.role), signature)


def shown(part: Rewriter, asked: Sequence[Message], hint: str) -> tuple[Message, ...]:
    """Return messages with a text behind the input, framed so that it cannot pass for anything else; without where it
    is empty.
    """
    if not hint:
        return tuple(asked)
    *before, (role, content) = asked
    return (*before, (role, f"{content}\n\n{frame(part.shown, {'hint': hint})}"))


def read(part: Rewriter, text: str, handle: Handle) -> str:
    """Return what a helper is asked about an input; of what a model in this process cannot read whole, the beginning.

    How often that happens is said by `Body.cut_short`.
    """
    whole = fill(part.reads, {"input": text})
    if not {*INSIDE} & {*handle.access}:
        return whole
    body = handle.frozen()
    most = body.max_tokens - (part.max_tokens if body.kind == "causal" else 0)
    length = len(_tokens(body, whole))
    if length <= most:
        return whole
    body.cut_short([length], most)
    tokens = body.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    keep = len(tokens)
    while length > most and keep:
        keep = max(0, keep - (length - most))
        whole = fill(part.reads, {"input": str(body.tokenizer.decode(tokens[:keep], skip_special_tokens=True))})
        length = len(_tokens(body, whole))
    return whole


def _tokens(body: Any, text: str) -> list[int]:
    (row,) = body.reader.encode_all([(("user", text),)])
    found: list[int] = row
    return found
