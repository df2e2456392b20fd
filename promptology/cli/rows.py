"""Rows that a prompt is applied to: texts and images of the command line, or a file's columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptology.data.folders import pictures_in
from promptology.data.images import Image, as_image
from promptology.data.items import Signature
from promptology.errors import UsageError

Row = tuple[dict[str, Any], dict[str, Any]]
"""A row as it is written, and the values of the prompt's fields in it."""


def given_rows(
    signature: Signature, given: Sequence[str] | None, path: Path | None, text: str | None, image: str | None
) -> list[Row]:
    """Return the rows of a file, or of texts, images and folders of images on the command line.

    `text`, `image`: columns, in the order of the prompt's fields of that kind. Raises UsageError.
    """
    if path is not None:
        return _rows(path, text, image, signature)
    if not given:
        raise UsageError(f"apply needs {'images' if signature.images else 'texts'} or --input FILE")
    names = [f.name for f in signature.fields]
    if len(names) != 1:
        raise UsageError(f"this prompt takes {len(names)} fields ({', '.join(names)}); give them with --input FILE")
    if not signature.images:
        return [({names[0]: value}, {names[0]: value}) for value in given]
    images = [picture for value in given for picture in _pictures(value)]
    return [({names[0]: picture.name}, {names[0]: picture}) for picture in images]


def _pictures(value: str) -> list[Image]:
    """Return the image of a file, or all below a folder."""
    path = Path(value)
    if not path.is_dir():
        return [as_image(value)]
    found = [Image(p) for p in pictures_in(path)]
    if not found:
        raise UsageError(f"{path} holds no images")
    return found


def _rows(path: Path, text: str | None, image: str | None, signature: Signature) -> list[Row]:
    """Return each row of a file with the values of the prompt's fields."""
    from promptology.data.loaders import read_rows

    rows = read_rows(path)
    columns: dict[str, str] = {}
    for flag, told, fields in (
        ("--image", image, list(signature.images)),
        ("--text", text, [f.name for f in signature.fields if f.kind != "image"]),
    ):
        named = [c.strip() for c in told.split(",")] if told else fields
        if len(named) != len(fields):
            there = ", ".join(fields) or "none"
            raise UsageError(f"{flag} names {len(named)} columns; the prompt takes {len(fields)}: {there}")
        columns |= dict(zip(fields, named, strict=True))
    known = list(dict.fromkeys(key for row in rows for key in row))
    for field, column in columns.items():
        if column not in known:
            flag = "--image" if field in signature.images else "--text"
            raise UsageError(f"{path}: no column {column}; there are {', '.join(known)}; name them with {flag}")
    return [(row, _values(row, columns, signature, f"{path} row {n}", path.parent)) for n, row in enumerate(rows, 1)]


def _values(
    row: dict[str, Any], columns: dict[str, str], signature: Signature, where: str, base: Path
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in (f.name for f in signature.fields):
        value = row.get(columns[field])
        if field in signature.images:
            value = as_image(value, where, base)
        elif not isinstance(value, str | int | float | list):
            what = "nothing" if value is None else f"a {type(value).__name__}"
            raise UsageError(f"{where}: column {columns[field]!r} holds {what}; it must hold a text")
        values[field] = value
    return values
