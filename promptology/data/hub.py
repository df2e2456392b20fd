"""Data sets of the hub, and folders of the `datasets` library. It comes with the extra `data`."""

from __future__ import annotations

import functools
import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptology.data.extras import require
from promptology.data.files import ALIASES, HUB, SUFFIXES, Loaded, Table
from promptology.data.images import lazy
from promptology.data.parquet import arrow_table
from promptology.errors import UsageError

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.\w+$")
PATIENCE = 5.0
"""Seconds until the hub counts as out of reach."""


def saved_by_datasets(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`, or holds shards (NAME-00000-of-00001.CSV) and no train file."""
    if any((folder / marker).is_file() for marker in ("dataset_dict.json", "state.json")):
        return True
    own = any((folder / f"train{suffix}").is_file() for suffix in SUFFIXES)
    return not own and any(_SHARD.search(p.name) for depth in ("*", "*/*") for p in folder.glob(depth))


def load_hub(source: str) -> Loaded:
    """Return the splits of "hf:NAME", "hf:NAME:CONFIG", "hf:ORG/NAME/CONFIG", or of a folder in place of the name.

    Raises UsageError with one line where the name is unknown, the hub is out of reach or nothing can be read.
    """
    datasets = require("datasets", "data", f"task {source}")
    name, config = split_name(source)
    with _quiet(datasets):
        data = _load(datasets, name, config, source)
    splits = dict(data) if isinstance(data, dict) else {"train": data}
    return _splits(splits, source)


def split_name(source: str) -> tuple[str, str | None]:
    """Return name and configuration; a folder that exists is a name as a whole."""
    rest = source.removeprefix(HUB)
    if not rest:
        raise UsageError("hf: names no data set; write hf:NAME, hf:NAME:CONFIG or hf:FOLDER")
    if Path(rest).expanduser().is_dir():
        return str(Path(rest).expanduser()), None
    name, colon, config = rest.rpartition(":")
    if colon:
        folder = Path(name).expanduser()
        return (str(folder) if folder.is_dir() else name), config or None
    parts = rest.split("/")
    if len(parts) == 3 and all(parts) and not rest.startswith((".", "~")):
        return "/".join(parts[:2]), parts[2]
    return rest, None


def _load(datasets: Any, name: str, config: str | None, source: str) -> Any:
    folder = Path(name)
    try:
        if folder.is_dir() and ((folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()):
            return datasets.load_from_disk(name)
        if folder.is_dir():
            return datasets.load_dataset(name, config)
        if folder.is_absolute() or name.startswith((".", "~")):
            raise UsageError(f"{source}: the folder {name} does not exist")
        with _offline(datasets, not _reachable()):
            return datasets.load_dataset(name, config)
    except UsageError:
        raise
    except Exception as error:  # datasets raises its own, OSError, ValueError and what its readers raise
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        if isinstance(error, ConnectionError):
            reason = f"the hub cannot be reached, and no copy of it is on this machine ({reason})"
        raise UsageError(f"{source} cannot be loaded: {reason}") from None


def _reachable() -> bool:
    """Whether the hub answers a connection; asked first, because its client tries for half a minute."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if urllib.request.getproxies():  # then only the proxy knows
        return True
    url = urllib.parse.urlsplit(endpoint)
    try:
        with socket.create_connection(
            (url.hostname or "", url.port or (80 if url.scheme == "http" else 443)), PATIENCE
        ):
            return True
    except (OSError, ValueError):
        return False


@contextmanager
def _offline(datasets: Any, offline: bool) -> Iterator[None]:
    """Let `datasets` look only at what was loaded before, while the hub is out of reach."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Keep bars and warnings of `datasets` off the terminal, and code that a data set brings from running."""
    if hasattr(datasets.config, "HF_DATASETS_TRUST_REMOTE_CODE"):  # gone since 4.0, which runs none
        datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False
    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _splits(splits: Mapping[str, Any], source: str) -> Loaded:
    notes: list[str] = []
    if len(splits) == 1 and "train" not in splits:
        (only,) = splits
        notes.append(f"{source} has one split, {only!r}: train, validation and test are drawn from it")
        splits = {"train": splits[only]}
    tables: dict[str, Table] = {}
    origin: dict[str, str] = {}
    for name, data in splits.items():
        split = ALIASES.get(str(name))
        if split is None:
            notes.append(f"{source}: split {name!r} is left out")
            continue
        if split in tables:
            raise UsageError(f"{source}: splits {origin[split]!r} and {name!r} are both {split}; load one as a file")
        table = _table(data, source if split == "train" else f"{source} [{name}]")
        if table is None:
            notes.append(f"{source}: split {name!r} has no labels and is left out")
            continue
        tables[split], origin[split] = table, str(name)
    if "train" not in tables:
        raise UsageError(f"{source} has no split 'train'; there are {', '.join(map(str, splits))}")
    return Loaded(tables, tuple(notes))


def _table(data: Any, name: str) -> Table | None:
    """Return a split as rows, numbers of classes replaced by their names; None where every label is hidden (-1)."""
    pictures = [column for column, feature in data.features.items() if type(feature).__name__ == "Image"]
    plain = [column for column in data.features if column not in pictures]
    if not plain and pictures:
        table = Table(name, (), [{} for _ in range(len(data))], list(range(1, len(data) + 1)))
    else:
        table = arrow_table(data.select_columns(plain).with_format("arrow")[:], name)
    for column in pictures:
        table = _with_images(table, data, column)
    for column, feature in data.features.items():
        names = _names(feature)
        if names is None:
            continue
        values = [row[column] for row in table.rows]
        if all(value == -1 for value in values):
            return None
        for row, line in zip(table.rows, table.lines, strict=True):
            row[column] = _named(row[column], names, f"{name} row {line}: column {column!r}")
    return table


def _with_images(table: Table, data: Any, column: str) -> Table:
    """Return rows with images of a column, each read from the data set's own files when it is looked at."""
    held = data.select_columns([column]).with_format(None)
    held = held.cast_column(column, require("datasets", "data", table.name).Image(decode=False))

    for n, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        row[column] = lazy(functools.partial(_encoded, held, column, n), f"{table.name} row {line}")
    return table._replace(columns=tuple(c for c in data.features if c in table.columns or c == column))


def _encoded(held: Any, column: str, n: int) -> Any:
    cell = held[n][column]
    return Path(cell["path"]).read_bytes() if cell["bytes"] is None else cell["bytes"]


def _names(feature: Any) -> list[str] | None:
    """Return the class names of a feature, or of the lists it holds."""
    inner = getattr(feature, "feature", feature)
    if isinstance(feature, list) and len(feature) == 1:
        inner = feature[0]
    names = getattr(inner, "names", None)
    return list(names) if isinstance(names, list) else None


def _named(value: Any, names: list[str], where: str) -> Any:
    if isinstance(value, list):
        return [_named(v, names, where) for v in value]
    if value is None or value == -1:
        return None
    if not (isinstance(value, int) and 0 <= value < len(names)):
        raise UsageError(f"{where} holds {value!r}; there are {len(names)} classes")
    return names[value]
