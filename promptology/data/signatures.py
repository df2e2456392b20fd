"""What comes out of a task: the kind of output and the class names, as far as the labels tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from promptology.data.columns import Columns, place
from promptology.data.files import Table, cell
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.targets import SEPARATORS, Reading, as_list, find_separator, listed, stands_in
from promptology.errors import UsageError

OUTPUTS = ("class", "classes", "text", "spans", "ranking")
"""Kinds of output that files can hold."""


def looks_like_classes(names: Sequence[str], rows: int) -> bool:
    """Whether these distinct targets of that many rows are class names rather than free text."""
    return len(names) <= 200 and len(names) * 2 <= rows and all(len(n) <= 60 for n in names)


def read_kind(
    tables: Mapping[str, Table], columns: Columns, output: str | None, classes: Sequence[str | ClassLabel] | None
) -> Reading:
    """Return how the label column is read; raises UsageError where that is asked for and cannot be told."""
    if output is not None and output not in OUTPUTS:
        raise UsageError(f"output is {', '.join(OUTPUTS[:-1])} or {OUTPUTS[-1]}, not {output!r}")
    told = tuple(_names(classes or ()))
    if columns.label == "":
        if output in ("classes", "class") and not told:
            raise UsageError(f"output {output!r} without a label column needs the names of the classes: classes=")
        rows = [row for table in tables.values() for row in table.rows]
        return Reading(output, candidates=_candidates(rows, columns, True) if output == "ranking" else "", classes=told)
    cells = [
        (table, line, row)
        for split, table in tables.items()
        if split != "unlabeled"
        for row, line in zip(table.rows, table.lines, strict=True)
    ]
    labels = [row.get(columns.label) for _, _, row in cells]
    if output == "ranking" or (output is None and any(listed(label) is not None for label in labels)):
        candidates = _candidates([row for _, _, row in cells], columns, output == "ranking")
        if candidates:
            return Reading("ranking", candidates=candidates)
    if output == "classes":
        separator = _one_separator(cells, columns.label, told)
        return Reading("classes", separator, classes=told)
    if output is not None:
        return Reading(output, classes=told)
    if any(listed(label) is not None for label in labels):
        return _lists(cells, columns, told)
    return _texts(labels, columns.label, told)


def _names(classes: Sequence[str | ClassLabel]) -> list[str]:
    return [c.name if isinstance(c, ClassLabel) else str(c) for c in classes]


def _candidates(rows: Sequence[Mapping[str, Any]], columns: Columns, asked: bool) -> str:
    """Return the input column that holds lists; empty where there is none and no ranking was asked for."""
    found = [c for c in columns.text if all(as_list(row.get(c)) is not None for row in rows)]
    if len(found) == 1:
        return found[0]
    if asked or found:
        there = f"{', '.join(found)} do" if found else "none does"
        raise UsageError(f"a ranking needs one --text column that holds lists of candidates (JSON lists); {there}")
    return ""


def _lists(cells: Sequence[tuple[Table, int, Mapping[str, Any]]], columns: Columns, told: tuple[str, ...]) -> Reading:
    """Return the reading of labels that are lists: classes where names repeat, and are not copied from the inputs."""
    if told:
        return Reading("classes", classes=told)
    parts = [(row, cell(part)) for _, _, row in cells for part in as_list(row.get(columns.label)) or []]
    names = sorted({name for _, name in parts})
    copied = bool(parts) and all(stands_in(n, {c: row.get(c, "") for c in columns.text}) for row, n in parts)
    if looks_like_classes(names, len(cells)) and not copied:
        return Reading("classes", notes=("labels are lists: an item may have several classes (--output classes)",))
    table, line, _ = next(c for c in cells if listed(c[2].get(columns.label)) is not None)
    raise UsageError(
        f"{place(table, line)}: column {columns.label!r} holds a list; say what it is with --output: classes (several "
        "apply), spans (copied from the input) or text (several right answers)"
    )


def _texts(labels: Sequence[Any], label: str, told: tuple[str, ...]) -> Reading:
    """Return the reading of labels that are texts: several classes where exactly one separator parts them cleanly."""
    texts = [cell(value).strip() for value in labels]
    as_json = [as_list(text) for text in texts]
    if texts and all(parts is not None for parts in as_json):
        names = {cell(p) for parts in as_json if parts for p in parts}
        if told or looks_like_classes(sorted(names), len(texts)):
            return Reading("classes", classes=told, notes=("labels are JSON lists: an item may have several classes",))
    found = find_separator(texts, told)
    parts = {p.strip() for text in texts for p in (text.split(found[0]) if found else ())}
    if not found or not (told or looks_like_classes(sorted(parts), len(texts))):
        return Reading(None, classes=told)
    if len(found) > 1:
        raise UsageError(
            f"column {label!r}: labels are parted by {' and '.join(map(repr, found))}; use one of them, or JSON lists, "
            "for several classes, or --output class where each label is one class"
        )
    return Reading(
        "classes",
        found[0],
        classes=told,
        notes=(f"labels hold several classes parted by {found[0]!r} (--output class where each is one class)",),
    )


def _one_separator(cells: Sequence[tuple[Table, int, Mapping[str, Any]]], label: str, told: tuple[str, ...]) -> str:
    """Return what parts the classes of text cells, empty where no cell holds more than one."""
    texts = [(t, n, cell(row.get(label)).strip()) for t, n, row in cells if as_list(row.get(label)) is None]
    plain = [text for _, _, text in texts if text not in told]
    there = [s for s in SEPARATORS if any(s in text for text in plain)]
    if len(there) <= 1:
        return there[0] if there else ""
    found = find_separator([text for _, _, text in texts], told)
    if len(found) == 1:
        return found[0]
    table, line, text = next((t, n, x) for t, n, x in texts if any(s in x for s in there) and x not in told)
    raise UsageError(
        f"{place(table, line)}: label {text[:60]!r} in column {label!r}: classes may be parted by "
        f"{' or '.join(map(repr, there))}; use one separator in all rows, or JSON lists"
    )


def make_signature(
    rows: Mapping[str, Sequence[Item]],
    columns: Columns,
    tables: Mapping[str, Table],
    reading: Reading,
    classes: Sequence[str | ClassLabel] | None,
    instruction: str,
    system: str,
) -> Signature:
    """Return the signature of items that were read; raises UsageError for labels that are none of the classes."""
    fields = (
        *(Field(c, "image") for c in columns.image),
        *(Field(c, "list" if c == reading.candidates else "text") for c in columns.text),
    )
    known = [i for split in ("train", "validation") for i in rows.get(split, []) if i.labelled]
    names = sorted({name for i in known for name in _of(i.target)})
    repeated = bool(names) and looks_like_classes(names, len(known))
    kind = reading.output
    if kind is None:
        kind = "class" if classes is not None or repeated else "text"
    elif kind == "text" and classes is not None:
        kind = "class"
    if kind not in ("class", "classes"):
        return Signature(fields, kind, (), instruction, system)
    labels = tuple(
        c if isinstance(c, ClassLabel) else ClassLabel(str(c)) for c in (names if classes is None else classes)
    )
    _check_classes({c.name for c in labels}, names, rows, columns, tables, given=classes is not None)
    return Signature(fields, kind, labels, instruction, system)


def _of(target: Any) -> tuple[str, ...]:
    return target if isinstance(target, tuple) else (str(target),)


def _check_classes(
    told: set[str],
    names: Sequence[str],
    rows: Mapping[str, Sequence[Item]],
    columns: Columns,
    tables: Mapping[str, Table],
    given: bool,
) -> None:
    source = tables["train"].name
    if len(told) < 2:
        why = (
            f"classes= names {', '.join(map(repr, sorted(told))) or 'none'}"
            if given
            else f"every label in column {columns.label!r} is {names[0]!r}"
            if names
            else f"no label in column {columns.label!r} names a class"
        )
        raise UsageError(f"{source}: {why}; a classification task needs at least two classes")
    missing = "is not among classes=" if given else f"does not occur in {source}"
    for split, items in rows.items():
        for item in items:
            unknown = [name for name in _of(item.target) if name not in told] if item.labelled else []
            if unknown:
                raise UsageError(
                    f"{place(tables[split], item.meta['line'])}: label {unknown[0]!r} {missing}; the classes are "
                    f"{', '.join(sorted(told)[:8])}{', ...' if len(told) > 8 else ''}"
                )
