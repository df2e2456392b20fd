"""Reading tables: CSV, TSV, JSON, JSONL and Parquet into rows, each fault one line with file and line number."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from promptology.errors import UsageError

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
HUB = "hf:"
# As data sets and folders name their splits.
ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "test": "test",
    **dict.fromkeys(("unlabeled", "unlabelled", "unsupervised"), "unlabeled"),
}


class Table(NamedTuple):
    """Rows of a file with the line each came from, and the column names in order."""

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    lines: list[int]


class Loaded(NamedTuple):
    """Tables by split, what a user should know about them, and the names of the classes where the source has them."""

    tables: dict[str, Table]
    notes: tuple[str, ...]
    classes: tuple[str, ...] = ()


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV, TSV, JSON, JSONL or Parquet file; raises UsageError where it cannot be read."""
    return read_table(path).rows


def read_table(path: str | Path) -> Table:
    """Return the rows of a file with their line numbers; raises UsageError with file, line and reason."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: files of type {path.suffix or '(none)'} are not read; use {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".parquet":
        from promptology.data.parquet import read_parquet

        return read_parquet(path)
    text = _text(path)
    if not text.strip():
        raise UsageError(f"{path} is empty")
    if path.suffix.lower() in (".csv", ".tsv"):
        table = _delimited(path, text, "\t" if path.suffix.lower() == ".tsv" else ",")
    elif path.suffix.lower() == ".jsonl":
        table = _json_lines(path, text)
    else:
        table = _json(path, text)
    if not table.rows:
        raise UsageError(f"{path} has a header and no rows")
    return table


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        bad = data[error.start]
        raise UsageError(f"{path} line {line}: byte 0x{bad:02x} is not UTF-8; save the file as UTF-8") from None


def _delimited(path: Path, text: str, delimiter: str) -> Table:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    try:
        columns = tuple(c.strip() for c in next(reader))
        if len(set(columns)) < len(columns) or "" in columns:
            twice = next((c for c in columns if columns.count(c) > 1), "")
            what = f"column {twice!r} appears twice" if twice else "a column has no name"
            raise UsageError(f"{path} line 1: {what}")
        at = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(columns):
                raise UsageError(f"{path} line {at}: {len(cells)} cells, the header has {len(columns)}")
            if cells:
                rows.append(dict(zip(columns, cells, strict=True)))
                lines.append(at)
            at = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path} line {reader.line_num}: {error}") from None
    return Table(str(path), columns, rows, lines)


def _json_lines(path: Path, text: str) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    # Not splitlines: that also splits at separators which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append(_object(path, _parse(path, line, number), number))
            lines.append(number)
    return Table(str(path), _columns(rows), rows, lines)


def _json(path: Path, text: str) -> Table:
    return table_of(_parse(path, text, 1), str(path))


def read_splits(path: Path) -> dict[str, Table] | None:
    """Return the tables of a JSON file {"train": [...], ...}; None where the file is not of that form."""
    if path.suffix.lower() != ".json":
        return None
    doc = _parse(path, _text(path) or "null", 1)
    if not isinstance(doc, dict) or "train" not in doc:
        return None
    return {str(split): table_of(rows, f"{path} [{split}]") for split, rows in doc.items()}


def table_of(rows: Any, name: str) -> Table:
    """Return a table from a list of objects."""
    if not isinstance(rows, list):
        raise UsageError(f"{name}: expected a list of objects, found {_kind(rows)}")
    objects = [_object(Path(name), row, n) for n, row in enumerate(rows, 1)]
    if not objects:
        raise UsageError(f"{name} is empty")
    return Table(name, _columns(objects), objects, list(range(1, len(objects) + 1)))


def _parse(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        at = line + getattr(error, "lineno", 1) - 1
        raise UsageError(f"{path} line {at}: not JSON: {getattr(error, 'msg', error)}") from None


def _object(path: Path, row: Any, number: int) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise UsageError(f"{path} entry {number}: expected an object with named fields, found {_kind(row)}")
    return {str(k): v for k, v in row.items()}


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", dict: "an object", type(None): "null", bool: "true or false"}.get(
        type(value), "a number" if isinstance(value, int | float) else type(value).__name__
    )


def _columns(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for row in rows for key in row))


def cell(value: Any) -> str:
    """Return a cell as text, the way a CSV would hold it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
