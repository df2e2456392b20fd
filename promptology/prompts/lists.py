"""Reading answers that are lists, tolerantly: several classes, spans of the input, an order of candidates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from promptology.data.targets import flat, in_order, stands_in
from promptology.prompts.parsing import json_fields, mentioned, normal_name, tagged

NONE = frozenset(("", "none", "no", "nothing", "empty", "n/a", "na", "none apply", "none applies", "none of them"))
NONE |= {"none of the above", "none of these", "none of the classes", "no class", "no classes", "no class applies"}
FIELDS: tuple[str, ...] = (
    "answer",
    "answers",
    "labels",
    "classes",
    "label",
    "class",
    "categories",
    "category",
    "tags",
    "topics",
)
FIELDS += ("spans", "entities", "texts", "ranking", "order", "output", "result")
_ANSWER_LINE = re.compile(
    r"^\W*(?:final )?(?:answers?|labels?|class(?:es)?|categor(?:y|ies)|tags?|topics?|spans?|ranking|order|outputs?)"
    r"\W*\s*[:=]\s*(.+?)\s*$",
    re.I | re.M,
)
_BULLET = re.compile(r"^\s*(?:[-*•–+]|\(?\d{1,3}[.):]|\(?[a-z][.)])\s+", re.I)
_PARTS = re.compile(r"[,;|]|\s(?:and|&)\s|^and\s")
_NUMBER = re.compile(r"^\D{0,40}?(\d+)\W*$")


def parse_classes(text: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the classes that an answer names, in the order of `names`; () where it says none; None where unreadable.

    In this order: a tagged, JSON or "Answer:" value; the whole answer, where all of it is class names; the list at its
    end; the names among its parts; the classes that its last line, else the whole of it, mentions. Unknown names are
    left out.
    """
    known = {normal_name(name): name for name in names}
    values = list(_values(text))
    for value in values:
        found = _all_known(value, known)
        if found is not None:
            return _sorted(found, names)
    listing = _closing_list(text, known, names)
    if listing is not None:
        return _sorted(listing, names)
    for value in values:
        parts = [known[p] for p in map(normal_name, _parts(value, known)) if p in known]
        if parts:
            return _sorted(parts + _opening(value, names), names)
    if any(normal_name(part) in NONE for value in values for part in _parts(value)):
        return ()
    lines = [line for line in text.splitlines() if line.strip()]
    for part in (lines[-1] if lines else "", text):
        found = mentioned(part, names)
        if found:
            return _sorted(found, names)
    return None


def _sorted(found: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in found)


def _values(text: str) -> Iterator[Any]:
    """Yield what may be the answer proper, the most explicit first: tags, JSON, an "Answer:" line, all of it."""
    for tag in ("answer", "labels", "label"):
        if (value := tagged(text, tag)) is not None:
            as_json = list(_json_lists(value))
            yield as_json[-1] if as_json else value
    lists = list(_json_lists(text))
    if lists:
        yield lists[-1]
    answers = _ANSWER_LINE.findall(text)
    if answers:
        yield answers[-1]
    yield text


def _json_lists(text: str) -> Iterator[Any]:
    """Yield the lists that stand as JSON in a text, alone or as a field of an object, in order."""
    decoder = json.JSONDecoder()
    at = 0
    while match := re.compile(r"[\[{]").search(text, at):
        try:
            value, at = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            at = match.end()
            continue
        if isinstance(value, dict):
            fields = json_fields(value)
            value = next((fields[name] for name in FIELDS if name in fields), None)
        if isinstance(value, list):
            yield value
        elif isinstance(value, str | int):
            yield [value]


def _parts(value: Any, known: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Return the entries of a list, or of a text parted by lines, commas, semicolons, bars; bullets are taken off.

    Known names that hold such a sign themselves stay whole.
    """
    if isinstance(value, list):
        return [str(v) for v in value if isinstance(v, str | int | float)]
    whole = sorted((n for n in known.values() if _PARTS.search(n)), key=len, reverse=True)
    for i, name in enumerate(whole):
        value = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", f"\0{i}\0", value, flags=re.I)
    parts = [_BULLET.sub("", part) for line in value.splitlines() for part in _PARTS.split(line)]
    shown = [re.sub("\0(\\d+)\0", lambda m: whole[int(m[1])] if int(m[1]) < len(whole) else "", p) for p in parts]
    return [part for part in shown if part.strip()]


def _all_known(value: Any, known: Mapping[str, str]) -> list[str] | None:
    """Return the classes of a value that is nothing but class names, or "none"; a list may hold unknown names too."""
    whole = known.get(normal_name(value)) if isinstance(value, str) else None
    if whole is not None:
        return [whole]
    parts = [normal_name(part) for part in _parts(value, known)]
    found = [known[p] for p in parts if p in known]
    if isinstance(value, list):
        return found if found or all(p in NONE for p in parts) else None
    if parts and all(p in known for p in parts):
        return found
    return [] if parts and all(p in NONE for p in parts) else None


def _closing_list(text: str, known: Mapping[str, str], names: Sequence[str]) -> list[str] | None:
    """Return the classes of the list that ends an answer: bulleted lines, or lines of nothing but short names."""
    width = max(len(normal_name(name).split()) for name in names) + 1
    found: list[str] = []
    bulleted = False
    for line in reversed([line for line in text.splitlines() if line.strip()]):
        bullet = bool(_BULLET.match(line))
        parts = [normal_name(p) for p in (*_parts(line, known), _BULLET.sub("", line))]
        here = [known[p] for p in parts if p in known]
        short = all(len(p.split()) <= width for p in parts[:-1])
        if not (bullet or (here and short and not bulleted)):
            break
        bulleted |= bullet
        found += here
    return found or None


def _opening(value: Any, names: Sequence[str]) -> list[str]:
    """Return the class with which the words before the first comma end, as in "It is about billing, refund"."""
    if not isinstance(value, str):
        return []
    first = re.split(r"[,;|\n]", value, maxsplit=1)[0]
    if re.search(r"\b(?:not|no|never|without|neither|except)\b|n't\b", first, re.I):
        return []
    ends = [n for n in mentioned(first, names) if normal_name(first).endswith(normal_name(n))]
    return ends[:1]


def parse_spans(text: str, inputs: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the spans that an answer lists, in the order of the input; () where it says none; None where unreadable.

    A JSON list counts as it is. Lines, bullets, quotes or separated parts count where one of them stands in the input.
    """
    values = list(_values(text))
    for value in values:
        if isinstance(value, list):
            texts = [str(v).strip() for v in value if isinstance(v, str | int | float) and str(v).strip()]
            if texts or not value:
                return in_order(texts, inputs)
    for value in values:
        if isinstance(value, str):
            ways = [[_bare(value)], [_bare(_BULLET.sub("", line)) for line in value.splitlines()]]
            ways += [[_bare(p) for p in re.split(mark, value)] for mark in (r"[;\n]", r"[|\n]", r"[,\n]")]
            ways += [[a or b for a, b in re.findall(r'"([^"\n]+)"|“([^”\n]+)”', value)]]
            best = max(ways, key=lambda way: sum(bool(p) and stands_in(p, inputs) for p in way) / max(1, len(way)))
            spans = [p for p in best if p]
            if any(stands_in(p, inputs) for p in spans):
                return in_order(spans, inputs)
            if normal_name(value) in NONE - {""}:
                return ()
    return None


def _bare(text: str) -> str:
    return text.strip().strip("\"'`“”*").strip()


def parse_ranking(text: str, candidates: Sequence[str]) -> tuple[str, ...] | None:
    """Return the candidates in the order of an answer, by their numbers or texts; None where it names not all of them.

    One that is left out comes last; two cannot be placed.
    """
    by_text = {_name(c): c for c in candidates}
    for value in _values(text):
        for way in _orders(value):
            order = [_candidate(part, by_text, candidates) for part in way if str(part).strip()]
            if (found := _complete(order, candidates)) is not None:
                return found
    lowered = flat(text)
    places = {c: lowered.find(flat(c)) for c in candidates}
    return tuple(sorted(candidates, key=lambda c: places[c])) if min(places.values()) >= 0 else None


def _orders(value: Any) -> list[list[Any]]:
    """Return the ways to part an answer into candidates: its entries, its lines, its parts, its bare numbers."""
    if isinstance(value, list):
        return [value]
    numbers = [] if re.search("[a-z]", value, re.I) else [re.findall(r"\d+", value)]
    return [value.splitlines(), re.split(r"[,;|>→\n]", value), *numbers]


def _name(text: Any) -> str:
    return flat(_bare(str(text))).rstrip(".")


def _candidate(part: Any, by_text: Mapping[str, str], candidates: Sequence[str]) -> str | None:
    """Return the candidate that a part of an answer names by its text (a number may precede it) or its number."""
    bare = _BULLET.sub("", str(part))
    for said in (str(part), bare):
        if _name(said) in by_text:
            return by_text[_name(said)]
    match = _NUMBER.match(bare)
    number = int(match[1]) if match else 0
    return candidates[number - 1] if 1 <= number <= len(candidates) else None


def _complete(order: Sequence[str | None], candidates: Sequence[str]) -> tuple[str, ...] | None:
    """Return the order with the one candidate that it leaves out; None where it is no order, or a part is unclear."""
    said = [c for c in order if c is not None]
    left = [c for c in candidates if c not in said]
    whole = len(set(said)) == len(said) and (not left or (len(left) == 1 < len(said) and len(said) == len(order)))
    return (*said, *left) if whole else None
