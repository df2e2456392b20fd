"""Folders of images, one sub-folder a class, as tables: class names made readable, splits kept where there are some."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptology.data.files import ALIASES, SUFFIXES, Loaded, Table
from promptology.data.images import SUFFIXES as PICTURES
from promptology.data.images import Image
from promptology.errors import UsageError

INDEX = re.compile(r"(?:n\d{8}|\d+)[\s._-]+(?=\S)")
"""A number before a name, such as "001." or a synset of WordNet: dropped where every class has one."""
CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])")
SHOWN = 8
OF_IMAGES = ("id", "image")
"""The first columns of tables made from folders of images."""


def holds_images(folder: Path) -> bool:
    """Whether a folder is one of images rather than of tables: no file of rows in it, an image somewhere below."""
    try:
        rows = any(p.suffix.lower() in SUFFIXES and p.stem in ALIASES for p in folder.iterdir())
    except OSError:
        return False
    return not rows and (next(pictures_in(folder), None) is not None or _like_classes(folder))


def _like_classes(folder: Path) -> bool:
    """Whether a folder has nothing but sub-folders, all of them empty."""
    names = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return bool(names) and all(p.is_dir() and not any(p.iterdir()) for p in names)


def read_folder(folder: Path) -> Loaded:
    """Return the images of a folder: a sub-folder is a class, or a split (train, val, test, unlabeled) of such classes.

    Images that lie in the folder itself have no class. Class names are made readable by `readable`. Raises UsageError
    for a class without images, a single class, names that two folders would share, and images beside class folders.
    """
    below = _folders(folder)
    if not below:
        return Loaded({"train": _table(folder, [(p, "") for p in pictures_in(folder)], "train")}, ())
    splits = _splits(folder, below)
    found: dict[str, list[tuple[Path, str]]] = {}
    for split, path in splits.items():
        found[split] = [(p, "") for p in pictures_in(path)] if split == "unlabeled" else _labelled(path)
    raw = [name for split, rows in found.items() if split != "unlabeled" for _, name in rows]
    names = readable(dict.fromkeys(raw), folder)
    if len(names) < 2:
        only = next(iter(names), "none")
        raise UsageError(f"{folder}: the only class is {only!r}; a folder of images needs a sub-folder for each class")
    tables = {
        split: _table(folder, [(p, names.get(name, "")) for p, name in rows], split) for split, rows in found.items()
    }
    classes = tuple(sorted(names.values()))
    return Loaded(tables, tuple(_notes(folder, names, classes)), classes)


def readable(folders: Mapping[str, object] | Sequence[str], where: object) -> dict[str, str]:
    """Return a readable class name for each name of a folder.

    Underscores and dots between words become spaces, CamelCase is parted, a number or a synset in front goes where all
    have one; letters of any script stay. Raises UsageError where two folders would give the same name, whatever its
    case.
    """
    indexed = bool(folders) and all(INDEX.match(name) for name in folders)
    names: dict[str, str] = {}
    holders: dict[str, str] = {}
    for name in folders:
        text = INDEX.sub("", name, count=1) if indexed else name
        text = unicodedata.normalize("NFC", CAMEL.sub(" ", text))
        text = " ".join(re.sub(r"_+|(?<=\w{2})\.(?=[^\W\d])", " ", text).split()) or name
        other = holders.setdefault(text.casefold(), name)
        if other != name:
            raise UsageError(
                f"{where}: the folders {other!r} and {name!r} both give the class {text!r}; rename or merge them"
            )
        names[name] = text
    return names


def _splits(folder: Path, below: Mapping[str, Path]) -> dict[str, Path]:
    """Return the folders of splits, train first, where all sub-folders have such names; else the folder as train."""
    if any(name.casefold() not in ALIASES for name in below):
        return {"train": folder}
    splits: dict[str, Path] = {}
    for split in dict.fromkeys(ALIASES.values()):
        named = [name for name in below if ALIASES[name.casefold()] == split]
        if len(named) > 1:
            raise UsageError(f"{folder}: {' and '.join(map(repr, named))} are both {split}; leave one there")
        splits.update((split, below[name]) for name in named)
    if "train" not in splits:
        raise UsageError(f"{folder} has no folder 'train' beside {', '.join(map(repr, below))}")
    return splits


def _labelled(folder: Path) -> list[tuple[Path, str]]:
    """Return the images below each class folder, with the folder's name."""
    if loose := next((p for p in sorted(folder.iterdir()) if _is_picture(p)), None):
        raise UsageError(
            f"{folder}: {loose.name} lies in no class; give each class a sub-folder and move it into its own"
        )
    found: list[tuple[Path, str]] = []
    for name, path in _folders(folder).items():
        images = [(p, name) for p in pictures_in(path)]
        if not images:
            raise UsageError(f"{path} holds no images ({', '.join(PICTURES)}); fill this class or delete its folder")
        found += images
    if not found:
        raise UsageError(f"{folder} holds no class folders with images; give each class a sub-folder")
    return found


def _folders(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")}


def pictures_in(folder: Path) -> Iterator[Path]:
    """Yield the images below a folder, in the order of their names."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (path for name in sorted(files) if _is_picture(path := Path(where, name)))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


def _table(folder: Path, rows: Sequence[tuple[Path, str]], split: str) -> Table:
    """Return a table of images, known by their path below the folder, and their classes where they have some."""
    made: list[dict[str, Any]] = []
    for path, label in rows:
        row = {"id": path.relative_to(folder).as_posix(), "image": Image(path)}
        made.append({**row, "label": label} if label else row)
    labelled = any(label for _, label in rows)
    return Table(
        f"{folder} [{split}]", (*OF_IMAGES, *(("label",) if labelled else ())), made, list(range(1, len(made) + 1))
    )


def _notes(folder: Path, names: Mapping[str, str], classes: Sequence[str]) -> Iterator[str]:
    shown = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
    yield f"{len(classes)} classes: {shown}"
    if changed := [(name, clean) for name, clean in names.items() if name != clean]:
        pairs = ", ".join(f"{name} is {clean!r}" for name, clean in changed[:SHOWN])
        yield f"class names are made from the folders' names: {pairs}{', ...' if len(changed) > SHOWN else ''}"
    others = sum(
        not _is_picture(Path(where, file)) and not file.startswith(".")
        for where, _, files in os.walk(folder)
        for file in files
    )
    if others:
        yield f"{others} files of {folder} are no images ({', '.join(PICTURES)}) and are left out"
