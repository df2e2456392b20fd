"""Where the embedded models lie, and whether their files are whole.

A model lies in the package as it was released (`weights/NAME` beside this file), or in the user's own folder as it was
built there (`zoo/NAME` in PROMPTOLOGY_HOME). The released one comes first: what "zoo:NAME" means must not depend on
what somebody once built. A build elsewhere (`promptology zoo build NAME --out FOLDER`) is opened as "hf:FOLDER".

A folder holds a `card.json` that names every file with its bytes and sha256; README.md, made from it, is for people.
Nothing here needs torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from promptology.errors import UsageError
from promptology.places import home

RELEASED = Path(__file__).parent / "weights"
CARD = "card.json"
README = "README.md"
PREFIX = "zoo:"


class Model(NamedTuple):
    """What is known of an embedded model before it is there: its class in transformers, and what it is for."""

    cls: str
    says: str


MODELS: dict[str, Model] = {
    "toy-clip": Model("CLIPModel", "matches drawn scenes with captions"),
    "word-icl": Model("LlamaForCausalLM", "learns what labels mean from demonstrations in its input"),
    "word-instruct": Model("LlamaForCausalLM", "follows instructions in a chat, on text tasks in everyday words"),
    "word-mlm": Model("BertForMaskedLM", "fills the gap in a cloze with a label word"),
    "word-steps": Model("LlamaForCausalLM", "computes better when it writes the steps down first"),
    "word-t5": Model("T5ForConditionalGeneration", "reads a text task with its encoder and writes the answer"),
}
"""Every embedded model by name."""

_whole: dict[Path, tuple[tuple[str, int, int], ...]] = {}
# Folders whose checksums were right, with sizes and times of their files then.


def known(name: str) -> Model:
    """Return what is known of a model; raises UsageError, with the nearest name, where there is none of that name."""
    if name not in MODELS:
        raise unknown(name, MODELS)
    return MODELS[name]


def unknown(name: str, names: Iterable[str]) -> UsageError:
    """Return the error of a name that is none of these."""
    near = difflib.get_close_matches(name, names := list(names), 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown zoo model {name!r}: {hint}there are {', '.join(names)}")


def own(name: str) -> Path:
    """Return the folder of a build of the user's own, whether it is there or not."""
    return home() / "zoo" / name


def find(name: str) -> Path | None:
    """Return the folder of a model, unchecked, None where it is not there. Raises UsageError for an unknown name."""
    known(name)
    return next((folder for folder in (RELEASED / name, own(name)) if folder.is_dir()), None)


def locate(name: str) -> Path:
    """Return the folder of a model, every file of it as its card says.

    Raises UsageError, one line, for an unknown name, a model that is not there, and a file that is missing, cut short
    or another one.
    """
    folder = find(name)
    if folder is None:
        raise UsageError(f"zoo model {name!r} is not there; build it with `promptology zoo build {name}`")
    check(folder, name)
    return folder


def card(folder: Path, name: str) -> dict[str, Any]:
    """Return the card of a model folder; raises UsageError where it cannot be read."""
    try:
        read = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if all(
            isinstance(about["bytes"], int) and isinstance(about["sha256"], str) for about in read["files"].values()
        ):
            return dict(read)
    except FileNotFoundError:
        raise _fault(folder, name, f"{CARD} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    raise _fault(folder, name, f"{CARD} cannot be read")


def check(folder: Path, name: str) -> None:
    """Raise UsageError where a file of a folder is missing, cut short or another one than its card says.

    Checksums are computed once a process, and again where a file's size or time has changed.
    """
    files = card(folder, name)["files"]
    seen = [(CARD, 0, (folder / CARD).stat().st_mtime_ns)]
    for file, about in files.items():
        path = folder / file
        if not path.is_file():
            raise _fault(folder, name, f"{file} is missing")
        stat = path.stat()
        if stat.st_size != about["bytes"]:
            raise _fault(folder, name, f"{file} has {stat.st_size:,} bytes and should have {about['bytes']:,}")
        seen.append((file, stat.st_size, stat.st_mtime_ns))
    if _whole.get(folder) == tuple(seen):
        return
    for file, about in files.items():
        if sha256(folder / file) != about["sha256"]:
            raise _fault(folder, name, f"{file} is not the file of its card (its sha256 differs)")
    _whole[folder] = tuple(seen)


def mark(name: str) -> str:
    """Return what tells a model's weights from others', wherever they lie: 16 hexadecimal digits."""
    files = card(locate(name), name)["files"]
    listed = "\n".join(f"{file} {files[file]['sha256']}" for file in sorted(files))
    return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(folder: Path, name: str, what: str) -> UsageError:
    cure = "reinstall promptology"
    if folder != RELEASED / name:
        cure = f"build it anew with `promptology zoo build {name} --again`"
    return UsageError(f"zoo model {name!r} in {folder}: {what}; {cure}")
