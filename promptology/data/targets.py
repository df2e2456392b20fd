"""Targets that hold more than one text: several classes, spans of the input, a ranking, several right answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from promptology.data.files import cell
from promptology.errors import UsageError

SEPARATORS = (";", "|", ",")
NOTHING = ("none", "[]")
"""How a cell says that no class or span applies."""


class Reading(NamedTuple):
    """How the cells of a label column are read.

    `output`: a kind of output, None where labels are one class or one text each; `separator`: what parts the classes
    of a text cell; `candidates`: the input column of a ranking's candidates; `classes`: their names where they were
    given; `notes`: what was found out, for the user.
    """

    output: str | None = None
    separator: str = ""
    candidates: str = ""
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def listed(value: Any) -> list[Any] | None:
    """Return a list, tuple, set or array as a list; None for anything else."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    shape = getattr(value, "shape", None)
    return list(value.tolist()) if isinstance(shape, tuple) and len(shape) == 1 else None


def as_list(value: Any) -> list[Any] | None:
    """Return a list, also one that stands as JSON in a text; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return listed(value)


def read_target(value: Any, reading: Reading, inputs: Mapping[str, Any], where: str) -> Any:
    """Return a label in the form that its kind of output has; raises UsageError where it cannot be one."""
    if reading.output == "classes":
        return _classes(value, reading, where)
    if reading.output == "spans":
        return in_order(_spans(value, inputs, where), inputs)
    if reading.output == "ranking":
        return _ranking(value, inputs[reading.candidates], where)
    several = listed(value)
    if reading.output == "text" and several is not None:
        if not several:
            raise UsageError(f"{where}: the list of right answers is empty; give at least one")
        return _texts(several, "a right answer", where)
    return value


def _texts(values: Iterable[Any], what: str, where: str) -> tuple[str, ...]:
    """Return texts, each once, in order."""
    found: list[str] = []
    for value in values:
        if isinstance(value, list | tuple | dict | bytes):
            raise UsageError(f"{where}: {what} is a {type(value).__name__}; it must be one text or number")
        text = cell(value).strip()
        if not text:
            raise UsageError(f"{where}: {what} is empty; take it out of the list")
        found.append(text)
    return tuple(dict.fromkeys(found))


def _classes(value: Any, reading: Reading, where: str) -> tuple[str, ...]:
    parts = as_list(value)
    if parts is None:
        text = cell(value).strip()
        if text.casefold() in NOTHING and text not in reading.classes:
            return ()
        one = not reading.separator or text in reading.classes
        parts = [text] if one else [p for p in text.split(reading.separator) if p.strip()]
    return _texts(parts, "a class", where)


def _spans(value: Any, inputs: Mapping[str, Any], where: str) -> tuple[str, ...]:
    parts = as_list(value)
    if parts is None:
        text = cell(value).strip()
        if text.casefold() in NOTHING and not stands_in(text, inputs):
            return ()
        ways = [[text], *([p.strip() for p in text.split(s) if p.strip()] for s in ("\n", *SEPARATORS))]
        parts = next((way for way in ways if way and all(stands_in(p, inputs) for p in way)), [text])
    spans = _texts(parts, "a span", where)
    for span in spans:
        if not stands_in(span, inputs):
            raise UsageError(f"{where}: span {span!r} does not stand in its input; copy it from there word for word")
    return spans


def flat(text: Any) -> str:
    """Return a text without case and extra spaces."""
    return " ".join(str(text).casefold().split())


def stands_in(span: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a span stands in one of the inputs, whatever its case and spaces."""
    wanted = flat(span)
    return any(wanted in flat(value) for value in inputs.values())


def in_order(spans: Sequence[str], inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return spans in the order in which they stand in the inputs, each once; those that do not stand there last."""
    text = "\n".join(flat(value) for value in inputs.values())
    once = {flat(span): span for span in reversed(spans)}
    places = {span: text.find(span) for span in once}
    return tuple(once[span] for span in sorted(once, key=lambda s: (places[s] < 0, places[s], s)))


def read_candidates(value: Any, name: str, where: str) -> tuple[str, ...]:
    """Return a ranking's candidates; raises UsageError for fewer than two, or one that stands there twice."""
    parts = as_list(value)
    if parts is None:
        raise UsageError(f"{where}: column {name!r} holds no list of candidates; write it as a JSON list")
    texts = _texts(parts, f"a candidate in column {name!r}", where)
    if len({flat(t) for t in texts}) < len(parts):
        raise UsageError(f"{where}: column {name!r} holds a candidate twice; each must stand there once")
    if len(texts) < 2:
        raise UsageError(f"{where}: column {name!r} holds {len(texts)} candidates; a ranking needs at least two")
    return texts


def _ranking(value: Any, candidates: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the candidates in the right order, told by their texts or by their positions, from 0 or from 1."""
    parts = as_list(value)
    if parts is None:
        parts = [p for p in re.split(r"[\s,;|>]+", cell(value)) if p]
    said = [cell(part).strip() for part in parts]
    if sorted(said) == sorted(candidates):
        return tuple(said)
    n = len(candidates)
    if all(re.fullmatch(r"\d+", s) for s in said):
        order = [int(s) for s in said]
        for first in (0, 1):
            if sorted(order) == list(range(first, n + first)):
                return tuple(candidates[i - first] for i in order)
    shown = ", ".join(said[:6]) + (", ..." if len(said) > 6 else "")
    raise UsageError(
        f"{where}: the ranking ({shown}) is no order of its {n} candidates; name each once, by its text or its position"
    )


def find_separator(cells: Sequence[str], classes: Sequence[str] = ()) -> list[str]:
    """Return the separators by which text cells can be lists of classes; none, one, or several that compete.

    With the classes' names given, every part must be one; without, every part of a list must occur in another cell
    too, so that "New York, NY" stays one name.
    """
    distinct = list(dict.fromkeys(c.strip() for c in cells))
    known = set(classes)
    found: list[str] = []
    for separator in SEPARATORS:
        parts = {c: [p.strip() for p in c.split(separator)] for c in distinct if c not in known}
        several = {c: p for c, p in parts.items() if len(p) > 1}
        if not several or any("" in p or len(set(p)) < len(p) for p in several.values()):
            continue
        if known:
            fits = all(p in known for one in several.values() for p in one)
        else:
            holders: dict[str, int] = {}
            for one in parts.values():
                for part in one:
                    holders[part] = holders.get(part, 0) + 1
            fits = all(holders[p] > 1 for one in several.values() for p in one)
        found += [separator] if fits else []
    return found
