"""Which columns of a table are inputs and label, and the items its rows make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promptology.data.files import Table, cell
from promptology.data.images import Image, as_image, is_image
from promptology.data.items import Item
from promptology.data.targets import Reading, listed, read_candidates, read_target
from promptology.errors import UsageError

LABEL_NAMES = ("label", "labels", "target", "class", "category", "intent", "sentiment", "answer", "output", "y")
TEXT_NAMES = ("text", "sentence", "message", "input", "question", "content", "review", "document", "body", "x")
# As CSV writers spell a missing value. "none" and "n/a" are class names that people use.
NO_LABEL = ("", "nan", "null")
LISTS = ("classes", "spans", "ranking", "text")
"""Kinds of output whose labels may be lists."""


class Columns(NamedTuple):
    """Input columns, label column ("" where there are no labels), what was guessed, and input columns of images."""

    text: tuple[str, ...]
    label: str
    notes: tuple[str, ...]
    image: tuple[str, ...] = ()


def choose_columns(
    table: Table, text: str | Sequence[str] | None, label: str | None, image: str | Sequence[str] | None = None
) -> Columns:
    """Return the columns named, or guessed where the guess is unique; raises UsageError with the columns there are.

    Where images are named, no text is guessed beside them; where neither is, a column that holds images is the input.
    """
    wanted, pictures = _named(table, text), _named(table, image)
    there = ", ".join(table.columns)
    for flag, names in (("--text", wanted), ("--image", pictures), ("--label", (label,) if label else ())):
        for name in names:
            if name not in table.columns:
                raise UsageError(f"{table.name}: no column {name!r} for {flag}; there are {there}")
    guessed: list[str] = []
    if label is None:
        label = _guess(table, LABEL_NAMES, wanted, "label", "--label COL (or an empty one for data without labels)")
        guessed.append(f"label={label}")
    if not wanted and not pictures:
        held = [c for c in table.columns if table.rows and is_image(table.rows[0].get(c))]
        pictures = (held[0],) if len(held) == 1 else ()
        guessed[:0] = [f"image={c}" for c in pictures]
    if not wanted and not pictures:
        left = [c for c in table.columns if c not in (label, "id")]
        wanted = (left[0],) if len(left) == 1 else (_guess(table, TEXT_NAMES, (label,), "text", "--text COL"),)
        guessed.insert(0, f"text={wanted[0]}")
    for name, flags in ((label, "--text and --label"), *((c, "--text and --image") for c in pictures)):
        if name in wanted:
            raise UsageError(f"{table.name}: column {name!r} is both {flags}; name another one for either")
    notes = (f"columns guessed: {', '.join(guessed)}",) if guessed else ()
    return Columns(wanted, label, notes, pictures)


def _named(table: Table, text: str | Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(text, str):
        # A column's own name may hold a comma.
        return (text,) if text in table.columns else tuple(c.strip() for c in text.split(",") if c.strip())
    return tuple(text or ())


def _guess(table: Table, known: Sequence[str], taken: Sequence[str], what: str, flag: str) -> str:
    found = [c for c in table.columns if c.casefold() in known and c not in taken]
    if len(found) == 1:
        return found[0]
    why = f"several could be the {what} column ({', '.join(found)})" if found else f"no column looks like the {what}"
    raise UsageError(f"{table.name}: {why}; name it with {flag}; there are {', '.join(table.columns)}")


def place(table: Table, line: int) -> str:
    """Return where a row stands, for messages: a line of a file, an entry of a JSON list, a row given in Python."""
    suffix = Path(table.name).suffix.lower()
    unit = "line" if suffix in (".csv", ".tsv", ".jsonl") else "entry" if suffix.startswith(".json") else "row"
    return f"{table.name} {unit} {line}"


def make_items(table: Table, columns: Columns, split: str, reading: Reading) -> list[Item]:
    """Return an item per row; raises UsageError, with the line, for missing cells and ids that appear twice."""
    labelled = columns.label != "" and split != "unlabeled"
    needed = (*columns.image, *columns.text, *((columns.label,) if labelled else ()))
    for name in needed:
        if name not in table.columns:
            raise UsageError(f"{table.name}: no column {name!r}; there are {', '.join(table.columns)}")
    stem = Path(table.name.partition(" [")[0]).stem
    # Two files of one name, and the lists of one JSON file, must not give items of two splits the same id.
    prefix = stem if split in ("train", stem) else f"{stem}-{split}"
    base = Path(table.name.partition(" [")[0]).parent
    items: list[Item] = []
    seen: dict[str, int] = {}
    for row, line in zip(table.rows, table.lines, strict=True):
        where = place(table, line)
        inputs: dict[str, Any] = {name: _image(row.get(name), name, where, base) for name in columns.image}
        inputs |= {
            name: read_candidates(row.get(name), name, where)
            if name == reading.candidates
            else _input(row.get(name), name, where)
            for name in columns.text
        }
        target = _label(row.get(columns.label), columns.label, where, reading, inputs) if labelled else None
        id = f"{prefix}-{line}"
        if "id" in table.columns and "id" not in needed:
            id = cell(row.get("id")).strip()
            if _absent(row.get("id")):
                raise UsageError(f"{where}: the id is missing; give every row one, or none")
        if id in seen:
            raise UsageError(f"{where}: id {id!r} already stands in {place(table, seen[id])}; ids must be unique")
        seen[id] = line
        # The label is no meta either, or an unlabelled split would carry it past the seal.
        rest = {k: v for k, v in row.items() if k not in (*needed, columns.label, "id")}
        items.append(Item(id, inputs, target, {**rest, "line": line}))
    return items


def _image(value: Any, name: str, where: str, base: Path) -> Image:
    if not is_image(value) and not isinstance(value, dict) and _absent(value):
        raise UsageError(f"{where}: column {name!r} is empty; give an image or delete the row")
    return as_image(value, where, base)


def _input(value: Any, name: str, where: str) -> str:
    if _absent(value):
        raise UsageError(f"{where}: column {name!r} is empty; fill it in or delete the row")
    return _text(value, name, where)


def _label(value: Any, name: str, where: str, reading: Reading, inputs: Mapping[str, Any]) -> Any:
    if reading.output in LISTS and listed(value) is not None:
        return read_target(value, reading, inputs, f"{where}, column {name!r}")
    if _absent(value) or cell(value).strip().casefold() in NO_LABEL:
        none = ", write none where nothing applies," if reading.output in ("classes", "spans") else ""
        raise UsageError(
            f"{where}: the label in column {name!r} is missing ({cell(value)!r}); fill it in{none} or delete the row"
        )
    if reading.output in ("classes", "spans", "ranking"):
        return read_target(value, reading, inputs, f"{where}, column {name!r}")
    return _text(value, name, where).strip()


def _text(value: Any, name: str, where: str) -> str:
    if isinstance(value, bytes | bytearray | memoryview) or (isinstance(value, dict) and _bytes(value)):
        raise UsageError(
            f"{where}: column {name!r} holds bytes, which are no text; where they are images, name it with --image"
        )
    if isinstance(value, list | tuple | dict):
        raise UsageError(f"{where}: column {name!r} holds a {type(value).__name__}; it must hold one text or number")
    return cell(value)


def _bytes(value: dict[Any, Any]) -> bool:
    return any(isinstance(v, bytes | bytearray) for v in value.values())


def _absent(value: Any) -> bool:
    """Whether a cell holds nothing: null, a blank text, a float that is no number, pandas' NA and NaT."""
    if isinstance(value, float):
        return value != value
    return type(value).__name__ in ("NAType", "NaTType") or not cell(value).strip()
