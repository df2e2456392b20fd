"""Kinds of parts that live inside a model: tensors at a site, a module at a site, weights.

A part holds numpy arrays and plain JSON, so that a prompt is made, saved, shown and compared without torch; what they
become inside a model is `promptology.prompts.injected`. A part is checked when it is made and never changes after.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from promptology.errors import ArtifactError, UsageError
from promptology.injection.sites import Site
from promptology.prompts.arrays import Array, Tensors, fingerprint, fixed, fixed_all, shape_text, unaltered
from promptology.prompts.learned import Summary, kind

MODULES = ("offsets", "lora", "adapter", "meta-net")
"""Types of modules that ship; their code and that of others stands in the registry `promptology.injection.modules`."""
_PAIR = (4, "2 x length x heads x width of a head")
SHAPES = {
    "input": (2, "length x width"),
    "layer": (2, "length x width"),
    "last_position": (1, "width"),
    "key_value": _PAIR,
    "cross_key_value": _PAIR,
    "context": (2, "length x width, or texts x length x width"),
}
"""Sites that take a tensor: how many dimensions it has, and which."""
_TAKES = {"weight": "weights of type full", "linear": "weights of type lora or adapter"}


def read_site(text: str) -> Site:
    """Return the parts of a site; raises ArtifactError where it is none."""
    try:
        return Site.parse(text)
    except UsageError as error:
        raise ArtifactError(str(error)) from None


class AddedTokens(NamedTuple):
    """Words that a vocabulary gains: texts, their rows of the input embeddings and, where given, of the output head.

    `inputs` and `outputs`: floats, shape (words, width).
    """

    strings: tuple[str, ...]
    inputs: Array
    outputs: Array | None = None


@kind("tensors")
@dataclass(frozen=True, eq=False)
class SiteTensors:
    """Vectors at a site of a frozen model.

    `values`: float32 or float16. At `input` (virtual tokens) and `layer[i]` (what takes their place there) the
    shape is (length, width), at `context[i]` (length, width) for all texts or images, or (texts, length, width), at
    `key_value[i]` and `cross_key_value[i]` (2, length, key/value heads, width of a head) with keys first, as they
    enter the cache, at `last_position[i]` (width,). `role` names the model that they enter. `tokens` are words
    added to the vocabulary. Raises ArtifactError for another shape, NaN or an unknown site.
    """

    kind: ClassVar[str]
    site: str
    values: Array
    role: str = "model"
    tokens: AddedTokens | None = None

    def __post_init__(self) -> None:
        place = read_site(self.site).place
        values = fixed(self.values, f"the tensor at {self.site}")
        if place not in SHAPES:
            raise ArtifactError(f"no tensor can stand at {self.site}: it takes {_TAKES.get(place, 'a module')}")
        dimensions, words = SHAPES[place]
        more = place == "context" and values.ndim == 3
        if (values.ndim != dimensions and not more) or (dimensions == 4 and values.shape[0] != 2):
            raise ArtifactError(f"the tensor at {self.site} has shape {shape_text(values)}; it must be {words}")
        object.__setattr__(self, "values", values)
        if self.tokens is not None:
            object.__setattr__(self, "tokens", _tokens(self.tokens))

    @property
    def place(self) -> tuple[str, ...]:
        """What tells this part from others of its kind."""
        return (self.role, self.site)

    @cached_property
    def digest(self) -> str:
        """Hash of the tensors."""
        return fingerprint(self.tensors())

    def to_json(self) -> dict[str, Any]:
        """Return site, role, shape and hash of the values, and the texts of added tokens."""
        doc: dict[str, Any] = {"site": self.site, "role": self.role, "shape": list(self.values.shape)}
        if self.tokens is not None:
            doc["tokens"] = list(self.tokens.strings)
        return {**doc, "digest": self.digest}

    def tensors(self) -> Tensors:
        """Return the values, and the rows of added tokens."""
        found = {"values": self.values}
        if self.tokens is not None:
            found["token_inputs"] = self.tokens.inputs
            if self.tokens.outputs is not None:
                found["token_outputs"] = self.tokens.outputs
        return found

    def summary(self) -> Summary:
        """Return site and shape."""
        words = "" if self.tokens is None else f", with {len(self.tokens.strings)} added tokens"
        return Summary(*_where("tensors", self.role, self.site), shape_text(self.values) + words)

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> SiteTensors:
        """Rebuild the part; raises ArtifactError where the tensor is missing or of another shape than was saved."""
        values = _present(tensors, "values", f"the part at {doc['site']}")
        if list(values.shape) != list(doc["shape"]):
            wanted = " x ".join(map(str, doc["shape"]))
            raise ArtifactError(f"the tensor at {doc['site']} has shape {shape_text(values)}; {wanted} was saved")
        tokens = None
        if "tokens" in doc:
            inputs = _present(tensors, "token_inputs", f"the part at {doc['site']}")
            tokens = AddedTokens(tuple(map(str, doc["tokens"])), inputs, tensors.get("token_outputs"))
        return unaltered(cls(str(doc["site"]), values, str(doc.get("role", "model")), tokens), doc)


def _tokens(tokens: AddedTokens) -> AddedTokens:
    inputs = fixed(tokens.inputs, "the input rows of added tokens")
    outputs = None if tokens.outputs is None else fixed(tokens.outputs, "the output rows of added tokens")
    for rows, which in ((inputs, "input"), (outputs, "output")):
        if rows is not None and (rows.ndim != 2 or len(rows) != len(tokens.strings)):
            raise ArtifactError(f"the {which} rows of {len(tokens.strings)} added tokens have shape {shape_text(rows)}")
    return AddedTokens(tuple(map(str, tokens.strings)), inputs, outputs)


def _present(tensors: Tensors, name: str, what: str) -> Array:
    if name not in tensors:
        raise ArtifactError(f"{what} lacks its tensor {name!r}")
    return tensors[name]


@kind("module")
@dataclass(frozen=True, eq=False)
class SiteModule:
    """A small learned module at a site of a frozen model.

    `type` names its code in the registry `promptology.injection.modules`, `options` are its settings (plain JSON) and
    `arrays` its tensors. Raises ArtifactError for an unknown site, a type that is no name, and NaN.
    """

    kind: ClassVar[str]
    site: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    role: str = "model"

    def __post_init__(self) -> None:
        read_site(self.site)
        check_type(self.type)
        object.__setattr__(self, "options", dict(self.options))
        object.__setattr__(self, "arrays", fixed_all(self.arrays, f"module {self.type} at {self.site}: tensor"))

    @property
    def place(self) -> tuple[str, ...]:
        """What tells this part from others of its kind."""
        return (self.role, self.site, self.type)

    @cached_property
    def digest(self) -> str:
        """Hash of the tensors."""
        return fingerprint(self.tensors())

    def to_json(self) -> dict[str, Any]:
        """Return site, type, options, role and a hash of the tensors."""
        doc = {"site": self.site, "type": self.type, "options": dict(self.options), "role": self.role}
        return {**doc, "shapes": _shapes(self.arrays), "digest": self.digest}

    def tensors(self) -> Tensors:
        """Return the module's tensors."""
        return dict(self.arrays)

    def summary(self) -> Summary:
        """Return site, type and shapes."""
        shapes = ", ".join(f"{name} {shape_text(array)}" for name, array in self.arrays.items())
        return Summary(*_where("module", self.role, self.site), f"{self.type} {shapes}".rstrip())

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> SiteModule:
        """Rebuild the part; raises ArtifactError where tensors are missing or of other shapes than were saved."""
        _check_shapes(tensors, doc["shapes"], f"module {doc['type']} at {doc['site']}")
        part = cls(str(doc["site"]), str(doc["type"]), doc.get("options", {}), tensors, str(doc.get("role", "model")))
        return unaltered(part, doc)


@kind("weights")
@dataclass(frozen=True, eq=False)
class Weights:
    """Weights that stand in for, or are added to, those of a model while it is used; the base never changes.

    Type `lora` (Hu et al. 2021, arXiv:2106.09685): for every linear module PATH, arrays `PATH.A`, shape (rank, in), and
    `PATH.B`, shape (out, rank); x goes to out + (alpha / rank) B A x with option `alpha` (`alphas` holds those that
    differ, by path). Type `adapter`: arrays `PATH.A`, shape (rank, out), and `PATH.B`, shape (out, rank); what the
    module gives goes to out + B f(A out), f a ReLU with option `relu`, else nothing. Type `full`: arrays by their names
    in the state dict. Raises ArtifactError for another type, missing halves, ranks that do not fit, and NaN.
    """

    kind: ClassVar[str]
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    role: str = "model"

    def __post_init__(self) -> None:
        if self.type not in ("lora", "adapter", "full"):
            raise ArtifactError(f"unknown type of weights {self.type!r}; this version knows adapter, full, lora")
        if not self.arrays:
            raise ArtifactError(f"weights of type {self.type} hold no tensors")
        object.__setattr__(self, "options", dict(self.options))
        object.__setattr__(self, "arrays", fixed_all(self.arrays, f"weights {self.type}: tensor"))
        for name in self.arrays:
            read_site(f"weight:{name}")
        if self.type != "full":
            for path in self.paths:
                self._check_halves(path)

    @property
    def place(self) -> tuple[str, ...]:
        """What tells this part from others of its kind."""
        return (self.role, self.type)

    @cached_property
    def digest(self) -> str:
        """Hash of the tensors."""
        return fingerprint(self.tensors())

    @property
    def paths(self) -> tuple[str, ...]:
        """The linear modules that lora and adapters change, as their tensors stand; ArtifactError for a lone half."""
        halves: dict[str, set[str]] = {}
        for name in self.arrays:
            path, _, half = name.rpartition(".")
            halves.setdefault(path, set()).add(half)
        for path, found in halves.items():
            if found != {"A", "B"} or not path:
                raise ArtifactError(
                    f"{self.type} at {path or '?'} holds {', '.join(sorted(found))}; it must hold A and B"
                )
        return tuple(halves)

    def alpha(self, path: str) -> float:
        """Return alpha of one module of type lora."""
        alpha = (self.options.get("alphas") or {}).get(path, self.options.get("alpha"))
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise ArtifactError(f"lora at {path} has alpha {alpha!r}; it must be a number")
        return float(alpha)

    def _check_halves(self, path: str) -> None:
        if self.type == "lora":
            self.alpha(path)
        a, b = self.arrays[f"{path}.A"], self.arrays[f"{path}.B"]
        fits = a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1]
        if not fits or (self.type == "adapter" and a.shape != b.shape[::-1]):
            due = "rank x in and out x rank" if self.type == "lora" else "rank x out and out x rank"
            raise ArtifactError(
                f"{self.type} at {path} has A of {shape_text(a)} and B of {shape_text(b)}; it needs {due}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return type, options, role and a hash of the tensors."""
        doc = {"type": self.type, "options": dict(self.options), "role": self.role}
        return {**doc, "shapes": _shapes(self.arrays), "digest": self.digest}

    def tensors(self) -> Tensors:
        """Return the weights."""
        return dict(self.arrays)

    def summary(self) -> Summary:
        """Return how many weights there are."""
        numbers = sum(array.size for array in self.arrays.values())
        tensors = f"{len(self.arrays)} tensor{'s' if len(self.arrays) > 1 else ''}"
        return Summary(f"[weights] {_of(self.role)}{self.type}", None, f"{tensors}, {numbers:,} numbers")

    @classmethod
    def from_json(cls, doc: Mapping[str, Any], tensors: Tensors) -> Weights:
        """Rebuild the part; raises ArtifactError where tensors are missing or of other shapes than were saved."""
        _check_shapes(tensors, doc["shapes"], f"weights {doc['type']}")
        return unaltered(cls(str(doc["type"]), doc.get("options", {}), tensors, str(doc.get("role", "model"))), doc)


def _of(role: str) -> str:
    return "" if role == "model" else f"{role}: "


def _where(kind: str, role: str, text: str) -> tuple[str, int | None]:
    """Return a site in words up to its layer, and the layer."""
    site = read_site(text)
    layer = None if site.layer < 0 else site.layer
    return f"[{kind}] {_of(role)}{text.partition('[')[0]}", layer


def check_type(name: str) -> None:
    """Raise ArtifactError where no code for this type of module is known.

    What ships is known by name, so that a folder is checked without torch; the registry, which loads it, is asked only
    about other names.
    """
    if name in MODULES:
        return
    try:
        known = {*MODULES, *importlib.import_module("promptology.injection.modules").MODULES}
    except ImportError:
        known = {*MODULES}
    if name not in known:
        raise ArtifactError(f"unknown type of module {name!r}; this version knows {', '.join(sorted(known))}")


def _shapes(arrays: Mapping[str, Array]) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in arrays.items()}


def _check_shapes(tensors: Tensors, shapes: Mapping[str, Any], what: str) -> None:
    if {*tensors} != {*shapes}:
        name = sorted({*tensors} ^ {*shapes})[0]
        raise ArtifactError(f"{what} {'lacks its tensor' if name in shapes else 'has a tensor too many:'} {name!r}")
    for name, array in tensors.items():
        if list(array.shape) != list(shapes[name]):
            wanted = " x ".join(map(str, shapes[name]))
            raise ArtifactError(f"{what}: tensor {name!r} has shape {shape_text(array)}; {wanted} was saved")
