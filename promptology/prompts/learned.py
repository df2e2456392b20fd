"""What a method returns: an ordered list of parts of closed kinds, found in a registry and never by an import path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptology.data.items import Signature
from promptology.errors import ArtifactError
from promptology.prompts.arrays import Tensors, fingerprint, fixed_all, shape_text, unaltered


class Part(Protocol):
    """One part of what was learned. `kind` is its name in the registry."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return everything but tensors."""
        ...

    def tensors(self) -> Tensors:
        """Return arrays that are saved beside the JSON."""
        ...

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Part:
        """Rebuild the part."""
        ...


class Summary(NamedTuple):
    """A part that nobody can read, in words: at `where`, in layer `layer` if in one, stands `what`."""

    where: str
    layer: int | None
    what: str


@runtime_checkable
class Summed(Protocol):
    """A part inside a model: shown by where it stands and by its shapes."""

    def summary(self) -> Summary:
        """Return what stands where."""
        ...


@runtime_checkable
class Listed(Protocol):
    """A part that is shown as lines of text."""

    def lines(self) -> list[str]:
        """Return the lines."""
        ...


KINDS: dict[str, type[Part]] = {}
P = TypeVar("P", bound=type)


def kind(name: str) -> Callable[[P], P]:
    """Register a class of parts under a kind."""

    def register(cls: P) -> P:
        cls.kind = name  # type: ignore[attr-defined]
        KINDS[name] = cls
        return cls

    return register


@kind("text")
@dataclass(frozen=True)
class Text:
    """An instruction, with an optional system prompt. `{field}` in it stands for an input field."""

    kind: ClassVar[str]
    instruction: str
    system: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the two texts."""
        return {"instruction": self.instruction, "system": self.system}

    def tensors(self) -> Tensors:
        """Return nothing: a text has no tensors."""
        return {}

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Text:
        """Rebuild the part."""
        return cls(str(doc["instruction"]), str(doc.get("system", "")))


@dataclass(frozen=True)
class Example:
    """A demonstration: input fields and the right output."""

    inputs: Mapping[str, Any]
    output: str


@kind("demonstrations")
@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Worked examples. `vectors` are their embeddings by the model `vectors_of`, float32, shape (n, dimension)."""

    kind: ClassVar[str]
    examples: tuple[Example, ...]
    vectors: NDArray[np.float32] | None = None
    vectors_of: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the examples."""
        examples = [{"inputs": dict(e.inputs), "output": e.output} for e in self.examples]
        return {"examples": examples, "vectors_of": self.vectors_of}

    def tensors(self) -> Tensors:
        """Return the examples' vectors where they were kept."""
        return {} if self.vectors is None else {"vectors": self.vectors}

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Demonstrations:
        """Rebuild the part."""
        examples = tuple(Example(dict(e["inputs"]), str(e["output"])) for e in doc["examples"])
        return cls(examples, tensors.get("vectors"), str(doc.get("vectors_of", "")))


@kind("readout")
@dataclass(frozen=True, eq=False)
class Readout:
    """How a model's output becomes a prediction: `type` names the code, `options` its settings.

    Types: answer (parse a generated text), label-likelihood (the likeliest class name after the prompt), nearest-label
    (nearest label embedding), neighbour-vote (k nearest demonstrations). A readout is bound to the classes of the task
    at hand, so it holds templates, not class names. `arrays` are the tensors of a trained head, floats; a readout
    without one has none.
    """

    kind: ClassVar[str]
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", fixed_all(self.arrays, f"readout {self.type}: tensor"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Readout):
            return NotImplemented
        return self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # options may hold lists

    @cached_property
    def digest(self) -> str:
        """Hash of the tensors."""
        return fingerprint(self.arrays)

    def to_json(self) -> dict[str, Any]:
        """Return type and options, and where there are tensors, their hash."""
        doc: dict[str, Any] = {"type": self.type, "options": dict(self.options)}
        return {**doc, "digest": self.digest} if self.arrays else doc

    def tensors(self) -> Tensors:
        """Return the tensors of a trained head."""
        return dict(self.arrays)

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Readout:
        """Rebuild the part."""
        return unaltered(cls(str(doc["type"]), dict(doc.get("options", {})), tensors), doc)


L = TypeVar("L")


@dataclass(frozen=True, eq=False)
class Learned:
    """An ordered list of parts, the signature they were learned for, and the access they need per role."""

    parts: tuple[Part, ...]
    signature: Signature
    roles: Mapping[str, str] = field(default_factory=lambda: {"model": "generates"})
    method: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def part(self, cls: type[L]) -> L | None:
        """Return the first part of a class, None where there is none."""
        return next((p for p in self.parts if isinstance(p, cls)), None)

    @property
    def instruction(self) -> str:
        """The instruction text, empty where nothing of kind text was learned."""
        text = self.part(Text)
        return text.instruction if text else ""

    @property
    def readout(self) -> Readout:
        """The readout; raises ArtifactError where it is missing."""
        found = self.part(Readout)
        if found is None:
            raise ArtifactError("this prompt has no readout, so nothing says how to read the model's output")
        return found

    def with_parts(self, *parts: Part) -> Learned:
        """Return a copy in which these parts replace those of their kind and place, or are added in front.

        Parts with a site have a place: role, site and, for modules, type; a prompt at another layer stays.
        """
        given: dict[tuple[str, ...], list[Part]] = {}
        for part in parts:
            given.setdefault(_place(part), []).append(part)
        kept: list[Part] = []
        done: set[tuple[str, ...]] = set()
        for old in self.parts:
            place = _place(old)
            if place not in given:
                kept.append(old)
            elif place not in done:
                kept += given[place]
                done.add(place)
        added = [new for new in parts if _place(new) not in done]
        return replace(self, parts=(*added, *kept))

    def with_instruction(self, instruction: str) -> Learned:
        """Return a copy with another instruction and the same system prompt."""
        text = self.part(Text) or Text("")
        return self.with_parts(replace(text, instruction=instruction))

    def same_as(self, other: Learned) -> bool:
        """Whether both predict alike: equal parts, tensors included."""
        if self.to_json()["parts"] != other.to_json()["parts"]:
            return False
        pairs = [(a.tensors(), b.tensors()) for a, b in zip(self.parts, other.parts, strict=True)]
        return all(a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a) for a, b in pairs)

    def as_text(self) -> str:
        """Return what was learned as a person reads it."""
        lines: list[str] = []
        for part in self.parts:
            if isinstance(part, Text):
                lines += [f"[system] {part.system}"] if part.system else []
                lines += [part.instruction] if part.instruction else []
            elif isinstance(part, Demonstrations):
                lines += _show_examples(part.examples)
            elif isinstance(part, Listed):
                lines += part.lines()
            elif isinstance(part, Readout):
                if part.type != "answer":
                    lines += [f"[{part.type}] {name}: {value}" for name, value in part.options.items()]
                lines += [f"[{part.type}] {name}: {shape_text(array)}" for name, array in part.arrays.items()]
        lines += show_inside([part.summary() for part in self.parts if isinstance(part, Summed)])
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return everything but tensors as plain JSON."""
        return {
            "parts": [{"kind": p.kind, **p.to_json()} for p in self.parts],
            "signature": self.signature.to_json(),
            "roles": dict(self.roles),
            "method": self.method,
            "meta": dict(self.meta),
        }

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Mapping[str, Tensors] | None = None) -> Learned:
        """Rebuild from JSON and tensors by part number; raises ArtifactError for an unknown kind or a missing entry."""
        parts: list[Part] = []
        try:
            for n, entry in enumerate(doc["parts"]):
                if entry["kind"] not in KINDS:
                    raise ArtifactError(
                        f"unknown kind of part {entry['kind']!r}; this version knows {', '.join(sorted(KINDS))}"
                    )
                parts.append(KINDS[entry["kind"]].from_json(entry, dict((tensors or {}).get(str(n), {}))))
            signature = Signature.from_json(doc["signature"])
            roles, method, meta = dict(doc["roles"]), str(doc.get("method", "")), dict(doc.get("meta", {}))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(f"not a saved prompt: {type(error).__name__} {error}") from None
        return cls(tuple(parts), signature, roles, method, meta)

    def bind(self, model: Any, helpers: Mapping[str, Any] | None = None, signature: Signature | None = None) -> Any:
        """Return a predictor of this prompt on a model: `learned.bind(model).predict([...])`."""
        # By name, because predictors stand above prompts and nothing here may import them.
        return importlib.import_module("promptology.predict").bind(self, model, helpers or {}, signature)

    def save(self, folder: Any) -> Any:
        """Write the prompt folder; see `promptology.prompts.saving.save`."""
        return importlib.import_module("promptology.prompts.saving").save(self, folder)

    def export(self, to: str = "text", out: Any = None, *, base: str = "", task_type: str = "") -> Any:
        """Return the prompt as text or messages, or write a PEFT folder; see `promptology.prompts.export.export`."""
        exporting = importlib.import_module("promptology.prompts.export")
        return exporting.export(self, to, out, base=base, task_type=task_type)

    def __repr__(self) -> str:
        kinds = ", ".join(p.kind for p in self.parts)
        return f"Learned({self.method or 'by hand'}: {kinds})"


def _place(part: Part) -> tuple[str, ...]:
    return (part.kind, *getattr(part, "place", ()))


def show_inside(summaries: Sequence[Summary]) -> list[str]:
    """Return what stands inside models: one line for each part, and one for parts that differ only by their layer."""
    layers: dict[tuple[str, str], list[int]] = {}
    for where, layer, what in summaries:
        layers.setdefault((where, what), []).extend(() if layer is None else (layer,))
    return [f"{where}{_range(found)}: {what}" for (where, what), found in layers.items()]


def _range(layers: Sequence[int]) -> str:
    first, last = min(layers, default=0), max(layers, default=0)
    if len(layers) > 2 and sorted(layers) == list(range(first, last + 1)):
        return f"[{first} to {last}]"
    return f"[{', '.join(map(str, sorted(layers)))}]" if layers else ""


def _show_examples(examples: Sequence[Example], most: int = 12) -> list[str]:
    lines = [f"[example] {' | '.join(str(v) for v in e.inputs.values())} -> {e.output}" for e in examples[:most]]
    rest = len(examples) - most
    return [*lines, f"[and {rest} more examples]"] if rest > 0 else lines
