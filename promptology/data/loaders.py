"""Loading tasks: files, folders of splits, bundled tasks, Python rows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptology.data.files import (
    SUFFIXES,
    Table,
    cell,
    is_missing,
    read_rows,
    read_splits,
    read_table,
    table_of,
)
from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.task import Task, looks_like_classes
from promptology.errors import UsageError

__all__ = ["bundled_tasks", "load_task", "read_rows"]

LABEL_NAMES = (
    "label",
    "labels",
    "target",
    "class",
    "category",
    "intent",
    "sentiment",
    "answer",
    "output",
    "y",
)
TEXT_NAMES = (
    "text",
    "sentence",
    "message",
    "input",
    "question",
    "content",
    "review",
    "document",
    "body",
    "x",
)
BUNDLED = Path(__file__).parent / "bundled"


def bundled_tasks() -> tuple[str, ...]:
    """Return the names of the tasks that come with the package."""
    return tuple(sorted(p.stem for p in BUNDLED.glob("*.jsonl")))


def load_task(
    source: Any,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    test: Any = None,
    validation: Any = None,
    unlabeled: Any = None,
    metric: Any = None,
    classes: Sequence[str | ClassLabel] | None = None,
    instruction: str = "",
    system: str = "",
    name: str | None = None,
    split_seed: int = 0,
) -> Task:
    """Load a task.

    `source`: a CSV, TSV, JSON or JSONL file; a folder with train, validation, test, unlabeled files; a bundled name;
    or rows (mappings, (input, label) pairs, a pandas DataFrame). `text`: input columns; `label`: label column, ""
    for data without labels. Columns not named are guessed only where the guess is unique, and told in `task.notes`.
    `test`, `validation`, `unlabeled`: further files or rows; without `test`, splits are drawn. Raises UsageError.
    """
    tables = _tables(source, {"test": test, "validation": validation, "unlabeled": unlabeled})
    if tables is None:
        task = _bundled(str(source))
        changed = task.with_metric(metric) if metric is not None else task
        return changed.with_prompt(instruction or None, system or None) if instruction or system else changed
    main = tables["train"]
    columns = _choose_columns(main, text, label)
    labelled = columns.label != ""
    rows = {split: _items(table, columns, labelled and split != "unlabeled") for split, table in tables.items()}
    signature = _signature(rows, columns, tables, classes, instruction, system)
    if not labelled and "test" not in rows:
        from promptology.data.splits import DEFAULT_SHARES, hold_out

        rest, held = hold_out(rows["train"], DEFAULT_SHARES["test"], split_seed)
        rows = {"train": [], "unlabeled": rest, "test": held, "validation": []}
    return Task(
        rows["train"],
        rows.get("validation"),
        rows.get("test"),
        rows.get("unlabeled", []),
        signature=signature,
        metric=metric,
        name=name or _name(source),
        split_seed=split_seed,
        notes=(*columns.notes, *_leaks(rows)),
    )


class _Columns:
    """Which columns hold the inputs and the label, and what was guessed."""

    def __init__(self, text: tuple[str, ...], label: str, notes: tuple[str, ...]) -> None:
        self.text = text
        self.label = label
        self.notes = notes


def _name(source: Any) -> str:
    return Path(source).stem if isinstance(source, str | Path) else "task"


def _tables(source: Any, more: dict[str, Any]) -> dict[str, Table] | None:
    """Return a table per split; None where the source is the name of a bundled task."""
    extra = {split: _table(given, split) for split, given in more.items() if given is not None}
    if not isinstance(source, str | Path):
        return {"train": _table(source, "train"), **extra}
    path = Path(source)
    if path.is_dir():
        return {**_folder(path), **extra}
    if path.is_file():
        splits = read_splits(path)
        return {**(splits or {"train": read_table(path)}), **extra}
    if str(source) in bundled_tasks():
        return None
    if path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        raise UsageError(f"task file {source} does not exist")
    near = difflib.get_close_matches(str(source), bundled_tasks(), 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    there = ", ".join(bundled_tasks())
    raise UsageError(f"unknown task {str(source)!r}: {hint}give a file, a folder, or a bundled task ({there})")


def _folder(path: Path) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for split in ("train", "validation", "test", "unlabeled"):
        files = [path / f"{split}{suffix}" for suffix in SUFFIXES if (path / f"{split}{suffix}").is_file()]
        if len(files) > 1:
            raise UsageError(f"{path}: more than one file for {split}: {', '.join(f.name for f in files)}")
        if files:
            tables[split] = read_table(files[0])
    if "train" not in tables:
        raise UsageError(f"{path} has no train file; a folder holds train{{{','.join(SUFFIXES)}}} and further splits")
    return tables


def _table(given: Any, split: str) -> Table:
    if isinstance(given, str | Path):
        path = Path(given)
        if not path.is_file():
            raise UsageError(f"{split} file {given} does not exist")
        return read_table(path)
    if hasattr(given, "to_dict"):  # a pandas DataFrame, or a datasets table
        records = given.to_dict("records") if hasattr(given, "columns") else given.to_list()
        return table_of([{str(k): v for k, v in r.items()} for r in records], split)
    rows = []
    for row in given:
        if isinstance(row, Item):
            rows.append({"id": row.id, **row.inputs, **({"label": row.target} if row.labelled else {})})
        elif isinstance(row, tuple) and len(row) == 2:
            rows.append({**(row[0] if isinstance(row[0], dict) else {"text": row[0]}), "label": row[1]})
        else:
            rows.append({"text": row} if isinstance(row, str) else row)
    return table_of(rows, split)


def _choose_columns(table: Table, text: str | Sequence[str] | None, label: str | None) -> _Columns:
    there = ", ".join(table.columns)
    wanted = tuple(c.strip() for c in text.split(",")) if isinstance(text, str) else tuple(text or ())
    for flag, names in (("--text", wanted), ("--label", (label,) if label else ())):
        for name in names:
            if name not in table.columns:
                raise UsageError(f"{table.name}: no column {name!r} for {flag}; there are {there}")
    guessed: list[str] = []
    if label is None:
        label = _guess(table, LABEL_NAMES, wanted, "label", "--label COL (or an empty one for data without labels)")
        guessed.append(f"label={label}")
    if not wanted:
        left = [c for c in table.columns if c not in (label, "id")]
        wanted = (left[0],) if len(left) == 1 else (_guess(table, TEXT_NAMES, (label,), "text", "--text COL"),)
        guessed.insert(0, f"text={wanted[0]}")
    if label in wanted:
        raise UsageError(f"{table.name}: column {label!r} is given both as input and as label")
    return _Columns(wanted, label, (f"columns guessed: {', '.join(guessed)}",) if guessed else ())


def _guess(table: Table, known: Sequence[str], taken: Sequence[str], what: str, flag: str) -> str:
    found = [c for c in table.columns if c.casefold() in known and c not in taken]
    if len(found) == 1:
        return found[0]
    why = f"several could be the {what} column ({', '.join(found)})" if found else f"no column looks like the {what}"
    raise UsageError(f"{table.name}: {why}; name it with {flag}; there are {', '.join(table.columns)}")


def _items(table: Table, columns: _Columns, labelled: bool) -> list[Item]:
    needed = [*columns.text, *([columns.label] if labelled else [])]
    for name in needed:
        if name not in table.columns:
            raise UsageError(f"{table.name}: no column {name!r}; there are {', '.join(table.columns)}")
    items: list[Item] = []
    seen: dict[str, int] = {}
    stem = Path(table.name).stem
    for row, line in zip(table.rows, table.lines, strict=True):
        where = f"{table.name} line {line}"
        for name in columns.text:
            if not cell(row.get(name)).strip():
                raise UsageError(f"{where}: column {name!r} is empty")
        target = None
        if labelled:
            if is_missing(row.get(columns.label)):
                given = cell(row.get(columns.label))
                raise UsageError(f"{where}: the label in column {columns.label!r} is missing ({given!r})")
            target = cell(row[columns.label]).strip()
        id = cell(row["id"]) if "id" in row and "id" not in columns.text else f"{stem}-{line}"
        if id in seen:
            raise UsageError(f"{where}: id {id!r} already stands in line {seen[id]}; ids must be unique")
        seen[id] = line
        rest = {k: v for k, v in row.items() if k not in (*needed, "id")}
        items.append(Item(id, {c: cell(row[c]) for c in columns.text}, target, {**rest, "line": line}))
    return items


def _signature(
    rows: dict[str, list[Item]],
    columns: _Columns,
    tables: dict[str, Table],
    classes: Sequence[str | ClassLabel] | None,
    instruction: str,
    system: str,
) -> Signature:
    fields = tuple(Field(c) for c in columns.text)
    known = [i for split in ("train", "validation") for i in rows.get(split, []) if i.labelled]
    names = sorted({str(i.target) for i in known})
    if classes is None and not (names and looks_like_classes(names, len(known))):
        return Signature(fields, "text", (), instruction, system)
    labels = tuple(c if isinstance(c, ClassLabel) else ClassLabel(str(c)) for c in classes or names)
    told = {c.name for c in labels}
    if len(labels) < 2:
        raise UsageError(
            f"{tables['train'].name}: every label in column {columns.label!r} is {labels[0].name!r}; "
            "a classification task needs at least two classes"
        )
    for split, items in rows.items():
        for item in items:
            if item.labelled and item.target not in told:
                raise UsageError(
                    f"{tables[split].name} line {item.meta['line']}: label {item.target!r} does not occur in "
                    f"{tables['train'].name}; the classes are {', '.join(sorted(told)[:8])}"
                )
    return Signature(fields, "class", labels, instruction, system)


def _leaks(rows: dict[str, list[Item]]) -> tuple[str, ...]:
    """Warn of test inputs that training data holds too."""
    seen = {tuple(i.inputs.values()) for split in ("train", "validation") for i in rows.get(split, [])}
    shared = sum(tuple(i.inputs.values()) in seen for i in rows.get("test", []))
    return (
        (f"{shared} test inputs also stand in the training data: the test is easier than it looks",) if shared else ()
    )


def _bundled(name: str) -> Task:
    about = json.loads((BUNDLED / f"{name}.json").read_text(encoding="utf-8"))
    splits: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    for line in (BUNDLED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        splits[row["split"]].append(Item(row["id"], {"text": row["text"]}, row["label"]))
    classes = tuple(ClassLabel(c["name"], c["description"]) for c in about["classes"])
    signature = Signature((Field("text"),), "class", classes, about.get("instruction", ""))
    return Task(splits["train"], splits["validation"], splits["test"], signature=signature, name=name)
