"""Kind `rewriter`: a helper model writes a text for each input, which the model then sees beside that input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from promptology.errors import ArtifactError
from promptology.prompts.arrays import Tensors
from promptology.prompts.learned import kind

BYTES = 8
"""Bytes that a token of a helper's text has at most in the mean; what is longer is cut."""


@kind("rewriter")
@dataclass(frozen=True)
class Rewriter:
    """A helper that writes one text (a hint) for each input: what it reads, how far it writes, how the model sees it.

    `reads`: what the helper is asked, with {input} where the input stands; `shown`: what stands behind the input in
    the model's prompt, with {hint} for the text, nothing where the helper wrote nothing; `max_tokens`: longest text.
    It is written greedily. `role`: of the helper, whose learned weights are parts of kind `weights` with that role;
    `of`: the model that they were learned for. Raises ArtifactError where a template lacks its place.
    """

    kind: ClassVar[str]
    reads: str
    shown: str
    max_tokens: int = 64
    role: str = "policy"
    of: str = ""

    def __post_init__(self) -> None:
        for name, place in (("reads", "{input}"), ("shown", "{hint}")):
            if place not in getattr(self, name):
                raise ArtifactError(f"rewriter: {name} lacks {place}, the place where the text stands")
        if self.max_tokens < 1 or not self.role or self.role == "model":
            raise ArtifactError(
                f"rewriter: max_tokens is {self.max_tokens} and the role {self.role!r}; a helper of a role of its own "
                "that writes at least one token is due"
            )

    @property
    def longest(self) -> int:
        """Bytes that a text has at most."""
        return BYTES * self.max_tokens

    def cut(self, text: str) -> str:
        """Return a text as it is shown: without blanks at its ends, and not too long."""
        text = text.strip()
        whole = text.encode("utf-8", "replace")
        return text if len(whole) <= self.longest else whole[: self.longest].decode("utf-8", "ignore").rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return everything: the weights are parts of their own."""
        return asdict(self)

    def tensors(self) -> Tensors:
        """Return nothing: the weights are parts of their own."""
        return {}

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Rewriter:
        """Rebuild the part."""
        texts = {name: str(doc[name]) for name in ("reads", "shown", "role")}
        return cls(max_tokens=int(doc["max_tokens"]), of=str(doc.get("of", "")), **texts)

    def lines(self) -> list[str]:
        """Return who writes, what it reads, and what the model sees of it."""
        who = f"{self.role} ({self.of})" if self.of else self.role
        seen = " ".join(self.shown.split())
        return [f"[rewriter] {who} reads: {' '.join(self.reads.split())}", f"[rewriter] the model sees: {seen}"]
