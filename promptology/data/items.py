"""What a task is made of: items, their typed fields, classes and the signature that binds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from promptology.errors import SealedSplitError, UsageError

FIELD_KINDS: Final = ("text", "list", "image", "video", "table")
OUTPUT_KINDS: Final = ("class", "classes", "text", "spans", "ranking", "image", "mask", "boxes", "none")
SEPARATORS: Final = {",": "commas", ";": "semicolons", "|": "vertical bars", "\n": "line breaks"}
"""What may part several class names in an answer, and how an instruction calls it."""


class _Sealed:
    """Stands where the label of a test item would be."""

    def __repr__(self) -> str:
        return "<sealed>"

    def __reduce__(self) -> str:
        return "SEALED"


SEALED: Final = _Sealed()


class Item:
    """One example: typed input fields, a typed target and whatever else came with the row.

    Reading `target` of a sealed test item raises `SealedSplitError`; only evidence opens a test split.
    """

    __slots__ = ("_target", "id", "inputs", "meta")

    def __init__(
        self, id: str, inputs: Mapping[str, Any], target: Any = None, meta: Mapping[str, Any] | None = None
    ) -> None:
        self.id = id
        self.inputs = inputs
        self.meta = meta or {}
        self._target = target

    @property
    def target(self) -> Any:
        """The right answer; None where the item has no label.

        By the signature's output: class, the class's name; classes, a tuple of names in the signature's order, empty
        where none applies; text, a text, or a tuple of texts of which each is right; spans, a tuple of texts that stand
        in the input; ranking, a tuple of the candidates, the best first.
        """
        if self._target is SEALED:
            raise SealedSplitError(f"the label of test item {self.id!r} is sealed: only evidence opens it")
        return self._target

    @property
    def sealed(self) -> bool:
        """Whether the label is sealed."""
        return self._target is SEALED

    @property
    def labelled(self) -> bool:
        """Whether the item has a label, sealed or not."""
        return self._target is not None

    def with_target(self, target: Any) -> Item:
        """Return a copy with another target."""
        return Item(self.id, self.inputs, target, self.meta)

    def __repr__(self) -> str:
        return f"Item({self.id!r}, {dict(self.inputs)!r}, {self._target!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Item):
            return NotImplemented
        return (self.id, dict(self.inputs), self._target) == (other.id, dict(other.inputs), other._target)

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class Field:
    """An input field: its name and its kind (text, list, image, video or table).

    A list holds the candidates of a ranking, each a text.
    """

    name: str
    kind: str = "text"

    def __post_init__(self) -> None:
        if self.kind not in FIELD_KINDS:
            raise UsageError(f"field {self.name!r}: unknown kind {self.kind!r}; use one of {', '.join(FIELD_KINDS)}")


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """A class: the name that is the label, a one-sentence description, terms that belong to it."""

    name: str
    description: str = ""
    terms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Fields in, what comes out, class names with descriptions, and the instruction a user has today.

    `separator`: what parts several class names in an answer: a comma, a semicolon, a vertical bar or a line break;
    empty: the first of these that no name contains.
    """

    fields: tuple[Field, ...] = (Field("text"),)
    output: str = "text"
    classes: tuple[ClassLabel, ...] = ()
    instruction: str = ""
    system: str = ""
    separator: str = ""

    def __post_init__(self) -> None:
        if self.output not in OUTPUT_KINDS:
            raise UsageError(f"unknown output kind {self.output!r}; use one of {', '.join(OUTPUT_KINDS)}")
        if self.output in ("class", "classes") and not self.classes:
            raise UsageError("a signature that outputs classes needs their names")
        if self.output == "ranking" and not self.candidates:
            raise UsageError("a signature that outputs a ranking needs a field of kind list: its candidates")
        if self.separator and (self.output != "classes" or self.separator not in SEPARATORS):
            signs = ", ".join(map(repr, SEPARATORS))
            raise UsageError(f"separator {self.separator!r}: several classes in an answer are parted by one of {signs}")
        if self.separator and any(self.separator in name for name in self.class_names):
            raise UsageError(f"separator {self.separator!r} stands in the name of a class; take another one")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order that fixes label indices."""
        return tuple(c.name for c in self.classes)

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the fields that hold images."""
        return tuple(f.name for f in self.fields if f.kind == "image")

    @property
    def candidates(self) -> str:
        """Name of the field that holds a ranking's candidates; empty where there is none."""
        return next((f.name for f in self.fields if f.kind == "list"), "")

    def with_prompt(self, instruction: str | None = None, system: str | None = None) -> Signature:
        """Return a copy that starts from this prompt."""
        return replace(
            self,
            instruction=self.instruction if instruction is None else instruction,
            system=self.system if system is None else system,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, read back by `from_json`."""
        parted = {"separator": self.separator} if self.separator else {}
        return {
            "fields": [{"name": f.name, "kind": f.kind} for f in self.fields],
            "output": self.output,
            "classes": [{"name": c.name, "description": c.description, "terms": list(c.terms)} for c in self.classes],
            "instruction": self.instruction,
            "system": self.system,
            **parted,
        }

    @classmethod
    def from_json(cls, doc: Mapping[str, Any]) -> Signature:
        """Rebuild a signature; raises UsageError where the document does not describe one."""
        try:
            return cls(
                fields=tuple(Field(f["name"], f.get("kind", "text")) for f in doc["fields"]),
                output=doc["output"],
                classes=tuple(
                    ClassLabel(c["name"], c.get("description", ""), tuple(c.get("terms", ()))) for c in doc["classes"]
                ),
                instruction=doc.get("instruction", ""),
                system=doc.get("system", ""),
                separator=doc.get("separator", ""),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"not a signature: {error!r} in {str(doc)[:80]}") from None


def identity(value: Any) -> str:
    """Return what tells a value that JSON does not know from another: its digest where it has one, as an image has."""
    return str(getattr(value, "digest", value))


def digest(value: Any) -> str:
    """Short stable hash (16 hexadecimal digits) of a JSON-like value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=identity)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
