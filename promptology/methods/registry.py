"""The decorator that registers a method, its card, and the catalogue of all methods."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar, get_args

from promptology.errors import UsageError
from promptology.models.access import PROTOCOLS
from promptology.plugins import load_methods

FAMILIES = ("soft", "vision", "search", "weights", "people", "generation", "strategies")
M = TypeVar("M", bound=type)


@dataclasses.dataclass(frozen=True)
class Card:
    """What a method declares: where it comes from, what it learns, what it needs per role.

    `needs` and `optional` map a role to the alternatives allowed, each the name of a protocol. `kinds`: the kinds of
    model in this process that do as "model", such as masked and causal; empty where all do. `outputs`: the outputs of
    a task that do (class, classes, text, ...); empty where all do.
    """

    slug: str
    family: str
    learns: str
    paper: str
    needs: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]]
    labels: bool
    help: str
    cls: type
    kinds: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[dataclasses.Field[Any], ...]:
        """The fields of the method: its hyper-parameters."""
        return dataclasses.fields(self.cls)


_CARDS: dict[str, Card] = {}
_found = False


def method(
    slug: str,
    *,
    family: str,
    learns: str,
    needs: Mapping[str, Any],
    paper: str = "",
    optional: Mapping[str, Any] | None = None,
    labels: bool = True,
    kinds: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Callable[[M], M]:
    """Register a frozen dataclass with `fit(run)` as a method.

    `needs` maps a role to a protocol, or to several joined by | where any will do; the engine hands out no other
    access. `labels`: whether it needs labelled items. `kinds`, `outputs`: see `Card`; `fit` itself refuses others.
    """

    def register(cls: M) -> M:
        if family not in FAMILIES:
            raise UsageError(f"method {slug!r}: unknown family {family!r}; use one of {', '.join(FAMILIES)}")
        known = _CARDS.get(slug)
        if known and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UsageError(f"method {slug!r} is there already, in {known.cls.__module__}; choose another name")
        summary = (cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else ""
        roles = _access(needs), _access(optional or {})
        card = Card(slug, family, learns, paper, *roles, labels, summary, cls, tuple(kinds), tuple(outputs))
        cls.card = card  # type: ignore[attr-defined]
        _CARDS[slug] = card
        return cls

    return register


def _access(needs: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    names = {protocol: name for name, protocol in PROTOCOLS.items()}
    return {
        role: tuple(names[p] for p in (get_args(kind) if isinstance(kind, types.UnionType) else (kind,)))
        for role, kind in needs.items()
    }


def catalogue() -> dict[str, Card]:
    """Return the cards of all methods by slug, built in and from entry points.

    A plug-in that cannot be imported is left out, with a `PluginWarning` that names its package.
    """
    global _found
    if not _found:
        package = importlib.import_module("promptology.methods")
        for family in pkgutil.iter_modules(package.__path__):
            if family.ispkg:
                folder = importlib.import_module(f"promptology.methods.{family.name}")
                for file in pkgutil.iter_modules(folder.__path__):
                    importlib.import_module(f"promptology.methods.{family.name}.{file.name}")
        _found = True
        load_methods()
    return dict(sorted(_CARDS.items()))


def card_of(name: str) -> Card:
    """Return a card by slug; raises UsageError with the nearest known name."""
    cards = catalogue()
    if name in cards:
        return cards[name]
    near = difflib.get_close_matches(name, cards, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown method {name!r}: {hint}there are {', '.join(cards)}")


def create(name: Any, settings: Mapping[str, Any] | None = None) -> Any:
    """Return a method from its slug or an instance of its class, with settings given as values or as text.

    Raises UsageError for an unknown setting or a value of the wrong type.
    """
    if not isinstance(name, str):
        if not dataclasses.is_dataclass(name) or not hasattr(name, "card"):
            raise UsageError(f"{name!r} is not a method; give a name or an instance of a registered class")
        return dataclasses.replace(name, **settings) if settings else name  # type: ignore[type-var]
    card = card_of(name)
    known = {f.name: f for f in card.settings}
    values: dict[str, Any] = {}
    for key, value in (settings or {}).items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise UsageError(f"method {name!r} has no setting {key!r}; its settings: {there}")
        values[key] = _convert(name, known[key], value)
    unset = [f.name for f in card.settings if _required(f) and f.name not in values]
    if unset:
        raise UsageError(f"method {name!r} needs a value for {', '.join(unset)}: --set {unset[0]}=VALUE")
    try:
        return card.cls(**values)
    except ValueError as error:
        raise UsageError(f"method {name!r}: {error}") from None


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def planned(method: Any, task: Any, model: Any = None) -> Any:
    """Return the cost that a method predicts for learning, None where it predicts none.

    `plan(task)` is asked, or `plan(task, model)` where what it costs depends on the model.
    """
    plan = getattr(method, "plan", None)
    if plan is None:
        return None
    return plan(task, model) if len(inspect.signature(plan).parameters) > 1 else plan(task)


def setting_help(cls: type, name: str) -> str:
    """Return the text that stands under a field in the source: its meaning and where its default comes from."""
    # The class that declares the field, which may be one it inherits from.
    owner = next((c for c in cls.__mro__ if name in vars(c).get("__annotations__", {})), cls)
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    except (OSError, SyntaxError):
        return ""
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, text in pairwise(statements):
        is_field = isinstance(field, ast.AnnAssign) and getattr(field.target, "id", "") == name
        if is_field and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            return " ".join(str(text.value.value).split())
    return ""


def _convert(slug: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """Turn the text of a setting into the type of its default."""
    kind = type(field.default)
    if not isinstance(value, str) or kind is str:
        return value
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        return kind(value)  # type: ignore[misc]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"method {slug!r}: setting {field.name} takes a {kind.__name__}, got {value!r}") from None
