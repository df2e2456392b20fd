"""Parquet files and Arrow tables as rows. pyarrow comes with the extra `data`."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

from promptology.data.extras import require
from promptology.data.files import Table
from promptology.errors import UsageError


def read_parquet(path: Path) -> Table:
    """Return the rows of a Parquet file; raises UsageError where it cannot be read or holds no rows."""
    parquet = require("pyarrow.parquet", "data", f"the Parquet file {path}")
    try:
        with path.open("rb") as file:
            # By this thread alone: one of its pool that still ends as the process ends aborts it.
            table = parquet.ParquetFile(file, pre_buffer=False).read(use_threads=False)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except Exception as error:  # pyarrow raises its own, OSError and ValueError, by what is broken
        raise UsageError(f"{path} is not a readable Parquet file: {_line(error)}") from None
    return arrow_table(table, str(path))


def arrow_table(table: Any, name: str) -> Table:
    """Return an Arrow table as rows: lists as Python lists, dates and decimals as text.

    Raises UsageError where it has no rows, a column twice, or a column whose values Python cannot hold.
    """
    columns = tuple(str(c).strip() for c in table.column_names)
    if not table.num_rows:
        raise UsageError(f"{name} has columns and no rows")
    if len(set(columns)) < len(columns):
        twice = next(c for c in columns if columns.count(c) > 1)
        raise UsageError(f"{name}: column {twice!r} appears twice")
    cells: list[list[Any]] = []
    for column, values in zip(columns, table.columns, strict=True):
        try:
            cells.append([_plain(value) for value in values.to_pylist()])
        except Exception as error:  # whatever a conversion raises: overflow, unknown time zone, no Python value
            raise UsageError(
                f"{name}: column {column!r} of type {values.type} cannot be read: {_line(error)}"
            ) from None
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
    return Table(name, columns, rows, list(range(1, len(rows) + 1)))


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold; bytes stay, and are refused where they are asked for as text."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value


def _line(error: BaseException) -> str:
    """Return the first line of an error: pyarrow's messages go on with a trace of its own."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
