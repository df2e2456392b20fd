"""Loading tasks: files, folders of splits, data sets of the hub, bundled tasks, Python rows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptology.data.columns import Columns, choose_columns, make_items
from promptology.data.files import ALIASES, HUB, SUFFIXES, Loaded, Table, read_rows, read_splits, read_table, table_of
from promptology.data.folders import OF_IMAGES, holds_images, read_folder
from promptology.data.generated import WORDLAND, wordland_task
from promptology.data.images import is_image
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.parcels import SIMULATED, parcels_task
from promptology.data.signatures import make_signature, read_kind
from promptology.data.splits import DEFAULT_SHARES, hold_out
from promptology.data.task import SPLITS, Task
from promptology.data.toyland import TOYLAND, toyland_task
from promptology.errors import UsageError

__all__ = ["bundled_tasks", "load_task", "read_rows"]

BUNDLED = Path(__file__).parent / "bundled"
MADE_UP = {WORDLAND: wordland_task, TOYLAND: toyland_task, SIMULATED: parcels_task}
"""Tasks made up on the spot, by how their names begin."""


def bundled_tasks() -> tuple[str, ...]:
    """Return the names of the tasks that come with the package."""
    return tuple(sorted(p.stem for p in BUNDLED.glob("*.jsonl")))


def load_task(
    source: Any,
    *,
    text: str | Sequence[str] | None = None,
    image: str | Sequence[str] | None = None,
    label: str | None = None,
    test: Any = None,
    validation: Any = None,
    unlabeled: Any = None,
    metric: Any = None,
    output: str | None = None,
    classes: Sequence[str | ClassLabel] | None = None,
    instruction: str = "",
    system: str = "",
    name: str | None = None,
    split_seed: int = 0,
) -> Task:
    """Load a task.

    `source`: a CSV, TSV, JSON, JSONL or Parquet file; a folder with train, validation, test, unlabeled files; a folder
    of images with a sub-folder for each class (`promptology.data.folders.read_folder`); "hf:NAME", "hf:NAME:CONFIG" or
    "hf:FOLDER" for what the `datasets` library loads; a bundled name; "wordland:KIND", "toyland:KIND" or
    "simulated:WORLD", made up on the spot (parameters: `wordland_task`, `toyland_task` and `parcels_task` in
    `promptology.data`); or rows (mappings, (input, label) pairs, items, a pandas DataFrame), or a mapping of splits to
    rows. `text`: input columns; `image`: input columns of images, as paths, bytes or pixels; `label`: label column, ""
    for data without labels. Columns not named are guessed only where the guess is unique,
    and told in `task.notes`. `output`: what a label is, where the labels leave it open: class (by default, labels that
    repeat), classes (several apply: lists, or texts with ; | or ,), text (a list: several right answers), spans (texts
    that stand in the input), ranking (the candidates of an input column in the right order, or their positions).
    `test`, `validation`, `unlabeled`: further files or rows; without `test`, splits are drawn. Without labels all
    inputs go to `unlabeled`, but for 40 % held out as `test`. Raises UsageError.
    """
    more = {"test": test, "validation": validation, "unlabeled": unlabeled}
    found = _tables(source, more)
    if found is None:
        given = {"text": text, "image": image, "label": label, **more, "output": output, "classes": classes}
        task = _ready_made(str(source), given, name, metric)
        return task.with_prompt(instruction or None, system or None) if instruction or system else task
    main = found.tables["train"]
    if found.classes or main.columns == OF_IMAGES:  # a folder of images, which says itself what it holds
        image, label = image or "image", ("label" if found.classes else "") if label is None else label
        classes, output = classes or found.classes or None, output or ("class" if found.classes else None)
    if isinstance(source, Sequence) and all(isinstance(row, Item) for row in source):
        # Items say themselves what is input and what is label.
        text = tuple(source[0].inputs) if text is None else text
        label = ("label" if "label" in main.columns else "") if label is None else label
    columns = choose_columns(main, text, label, image)
    rows, signature, said = _read(found.tables, columns, output, classes, instruction, system)
    if not columns.label:
        rows = _without_labels(rows, split_seed)
    return Task(
        **rows,  # type: ignore[arg-type]
        signature=signature,
        metric=metric,
        name=name or _name(source),
        split_seed=split_seed,
        notes=(*found.notes, *columns.notes, *said, *_leaks(rows)),
    )


def _read(
    tables: Mapping[str, Table],
    columns: Columns,
    output: str | None,
    classes: Sequence[str | ClassLabel] | None,
    instruction: str,
    system: str,
) -> tuple[dict[str, list[Item]], Signature, tuple[str, ...]]:
    """Return the items of each split, the signature, and what was found out about the labels."""
    reading = read_kind(tables, columns, output, classes)
    rows = {split: make_items(table, columns, split, reading) for split, table in tables.items()}
    return rows, make_signature(rows, columns, tables, reading, classes, instruction, system), reading.notes


def _without_labels(rows: dict[str, list[Item]], seed: int) -> dict[str, list[Item]]:
    """Return splits of inputs alone: nothing to train or validate on, fresh inputs in `test`."""
    inputs = [*rows["train"], *rows.get("validation", [])]
    test = rows.get("test")
    if test is None:
        inputs, test = hold_out(inputs, DEFAULT_SHARES["test"], seed)
    return {"train": [], "validation": [], "unlabeled": [*inputs, *rows.get("unlabeled", [])], "test": test}


def _name(source: Any) -> str:
    if isinstance(source, str) and source.startswith(HUB):
        return source.removeprefix(HUB).rstrip("/").rpartition("/")[2] or "task"
    return Path(source).stem if isinstance(source, str | Path) else "task"


def _tables(source: Any, more: Mapping[str, Any]) -> Loaded | None:
    """Return a table per split; None where it is the name of a bundled or made-up task."""
    extra = {split: _table(given, split) for split, given in more.items() if given is not None}
    if isinstance(source, Mapping):
        _check_splits(source, "the mapping given as task")
        return Loaded({**{split: _table(rows, split) for split, rows in source.items()}, **extra}, ())
    if not isinstance(source, str | Path):
        return Loaded({"train": _table(source, "train"), **extra}, ())
    path = Path(source)
    if str(source).startswith(HUB) or path.is_dir():
        from promptology.data.hub import load_hub, saved_by_datasets

        if not path.is_dir() or saved_by_datasets(path):
            loaded = load_hub(str(source))
        else:
            loaded = read_folder(path) if holds_images(path) else Loaded(_folder(path), ())
        return loaded._replace(tables={**loaded.tables, **extra})
    if path.is_file():
        splits = read_splits(path)
        _check_splits(splits or ["train"], str(path))
        return Loaded({**(splits or {"train": read_table(path)}), **extra}, ())
    if str(source) in bundled_tasks() or str(source).startswith(tuple(MADE_UP)):
        return None
    if path.suffix or len(path.parts) > 1:
        raise _no_file(path, "task")
    near = difflib.get_close_matches(str(source), bundled_tasks(), 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    there = ", ".join(bundled_tasks())
    raise UsageError(
        f"unknown task {str(source)!r}: {hint}give a file, a folder, hf:NAME, wordland:KIND, toyland:KIND, "
        f"simulated:WORLD or a bundled task ({there})"
    )


def _check_splits(splits: Iterable[Any], where: str) -> None:
    names = list(splits)
    for name in names:
        if name not in SPLITS:
            raise UsageError(f"{where}: there is no split {name!r}; use {', '.join(SPLITS)}")
    if "train" not in names:
        raise UsageError(f"{where} has no split 'train'; there are {', '.join(map(repr, names)) or 'none'}")


def _no_file(path: Path, what: str) -> UsageError:
    if path.is_dir():
        return UsageError(f"{what} {path} is a folder; give a file")
    # By the name alone: a shared suffix makes any two files look alike.
    there = {p.stem: p for p in path.parent.iterdir() if p.is_file()} if path.parent.is_dir() else {}
    near = difflib.get_close_matches(path.stem, there, 1, 0.6)
    hint = f"did you mean {str(there[near[0]])!r}?" if near else "check the path"
    return UsageError(f"{what} file {path} does not exist; {hint}")


def _folder(path: Path) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for split in SPLITS:
        names = [split, *(name for name, known in ALIASES.items() if known == split != name)]
        files = [p for name in names for suffix in SUFFIXES if (p := path / f"{name}{suffix}").is_file()]
        if len(files) > 1:
            there = ", ".join(f.name for f in files)
            raise UsageError(f"{path}: more than one file for {split}: {there}; leave one there")
        if files:
            tables[split] = read_table(files[0])
    if "train" not in tables:
        raise UsageError(
            f"{path} has no train file; a folder holds train{{{','.join(SUFFIXES)}}} and further splits, or images "
            "with a sub-folder for each class"
        )
    return tables


def _table(given: Any, split: str) -> Table:
    if isinstance(given, str | Path):
        path = Path(given)
        if path.is_dir() and holds_images(path):
            return read_folder(path).tables["train"]
        if not path.is_file():
            raise _no_file(path, split)
        return read_table(path)
    if hasattr(given, "to_dict") or hasattr(given, "to_dicts"):
        given = _records(given)
    if not isinstance(given, Iterable):
        raise UsageError(f"{split}: a {type(given).__name__} is not a task; give a file, a folder, a name or rows")
    return table_of([_row(row) for row in given], split)


def _records(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a frame by what it offers, so that no library of frames is imported."""
    if hasattr(frame, "to_dicts"):  # polars
        return list(frame.to_dicts())
    if hasattr(frame, "columns"):  # pandas
        return list(frame.to_dict("records"))
    columns = frame.to_dict()  # datasets
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _row(row: Any) -> Any:
    if isinstance(row, Item):
        return {"id": row.id, **row.inputs, **({"label": row.target} if row.labelled else {})}
    if isinstance(row, tuple) and len(row) == 2:
        inputs = {"image" if is_image(row[0]) else "text": row[0]}
        return {**(row[0] if isinstance(row[0], Mapping) and not is_image(row[0]) else inputs), "label": row[1]}
    if is_image(row):
        return {"image": row}
    return {"text": row} if isinstance(row, str) else row


def _leaks(rows: dict[str, list[Item]]) -> tuple[str, ...]:
    """Warn of test inputs that training data holds too."""
    seen = {tuple(i.inputs.values()) for split in ("train", "validation") for i in rows.get(split, [])}
    shared = sum(tuple(i.inputs.values()) in seen for i in rows.get("test", []))
    if not shared:
        return ()
    what = f"{shared} of {len(rows['test'])} test inputs also stand in the training data"
    return (f"{what}: the test is easier than it looks",)


def _ready_made(source: str, given: Mapping[str, Any], name: str | None, metric: Any) -> Task:
    """Return a bundled or made-up task; raises UsageError where something is given that it brings itself."""
    if extra := [key for key, value in given.items() if value is not None]:
        raise UsageError(f"task {source!r} brings its own columns, classes and splits; leave out {', '.join(extra)}")
    make = next((make for mark, make in MADE_UP.items() if source.startswith(mark)), _bundled)
    return make(source, name, metric)


def _bundled(source: str, name: str | None, metric: Any) -> Task:
    about = json.loads((BUNDLED / f"{source}.json").read_text(encoding="utf-8"))
    output = about.get("output", "class")
    label = "labels" if output == "classes" else "label"
    splits: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    for line in (BUNDLED / f"{source}.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            target = tuple(row[label]) if output == "classes" else row[label]
            meta = {key: value for key, value in row.items() if key not in ("id", "split", "text", label)}
            splits[row["split"]].append(Item(row["id"], {"text": row["text"]}, target, meta))
    classes = tuple(ClassLabel(c["name"], c.get("description", "")) for c in about["classes"])
    signature = Signature((Field("text"),), output, classes, about.get("instruction", ""))
    return Task(
        splits["train"],
        splits["validation"],
        splits["test"],
        signature=signature,
        metric=metric,
        name=name or source,
    )
