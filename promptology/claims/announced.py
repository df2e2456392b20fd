"""The announced effects: the package's copy of the claims, one TOML file per family, checked before it is believed.

`announced/SHA256SUMS`, as `sha256sum *.toml` writes it there, names every file: an entry is never edited to make it
pass, so a file that is not the released one is refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptology.claims.rules import Term, parse
from promptology.errors import UsageError
from promptology.zoo.folders import sha256

FOLDER = Path(__file__).parent / "announced"
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Entry:
    """One announced effect, as its file has it; the words are explained in the README of the claims."""

    id: str
    method: str
    says: str
    card: str
    fixture: str
    arms: Mapping[str, str]
    equal: str
    metric: str
    rule: str
    seeds: int
    minutes: float
    placebo: str = ""
    family: str = ""
    """Name of the file that it stands in."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """The rule, read."""
        return parse(self.rule, self.arms)


FIELDS = {f.name: f for f in dataclasses.fields(Entry) if f.name != "family"}
KINDS: Mapping[str, tuple[type, ...]] = {"card": (str, int), "arms": (dict,), "seeds": (int,), "minutes": (int, float)}


def entries(folder: Path | None = None) -> tuple[Entry, ...]:
    """Return all entries, in the order of the files' names and of the tables in them.

    Raises UsageError, one line, where a file is missing, altered or not listed, and for an entry that is not complete:
    an unknown, missing or mistyped field, an id that stands twice, a rule outside the grammar or about an unknown arm,
    a placebo that is no arm.
    """
    folder = folder or FOLDER
    found = [entry for name in _checked(folder) for entry in _read(folder / name)]
    seen: dict[str, Entry] = {}
    for entry in found:
        if entry.id in seen:
            raise UsageError(f"claims: {entry.id!r} stands in {seen[entry.id].family}.toml and in {entry.family}.toml")
        seen[entry.id] = entry
    return tuple(found)


def select(known: Sequence[Entry], names: Iterable[str] = (), family: str = "") -> list[Entry]:
    """Return the entries of these methods (or with these ids) and of this family, all where none is named.

    Raises UsageError, with the nearest name, for one that no entry has.
    """
    wanted = list(names)
    methods = list(dict.fromkeys(entry.method for entry in known))
    for name in wanted:
        if name not in methods and not any(entry.id == name for entry in known):
            near = difflib.get_close_matches(name, [*methods, *(entry.id for entry in known)], 1, 0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"nothing is announced of a method {name!r}: {hint}there are {', '.join(methods)}")
    families = list(dict.fromkeys(entry.family for entry in known))
    if family and family not in families:
        raise UsageError(f"no claims of a family {family!r}; there are {', '.join(families)}")
    return [
        entry
        for entry in known
        if (not wanted or entry.method in wanted or entry.id in wanted) and family in ("", entry.family)
    ]


def _checked(folder: Path) -> list[str]:
    """Return the names of the files, each as it was released."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").split("\n")
        sums = {name.lstrip("*"): digest for digest, name in (line.split(maxsplit=1) for line in lines if line)}
    except FileNotFoundError:
        raise _fault(folder, f"{SUMS} is missing") from None
    except (OSError, ValueError):
        raise _fault(folder, f"{SUMS} cannot be read") from None
    for name in sorted({*sums, *(path.name for path in folder.glob("*.toml"))}):
        if name not in sums:
            raise _fault(folder, f"{name} is not one of the released files")
        if not (folder / name).is_file():
            raise _fault(folder, f"{name} is missing")
        if sha256(folder / name) != sums[name]:
            raise _fault(folder, f"{name} was altered (its sha256 differs)")
    return sorted(sums)


def _fault(folder: Path, what: str) -> UsageError:
    return UsageError(f"claims in {folder}: {what}; reinstall promptology")


def _read(path: Path) -> list[Entry]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        tables = document.pop("claim")
        if document or not isinstance(tables, list):
            raise ValueError("it holds something else than [[claim]] tables")
        return [_entry(table, path) for table in tables]
    except (ValueError, KeyError) as error:
        raise UsageError(f"claims: {path.name} cannot be read: {error}") from None


def _entry(table: Mapping[str, Any], path: Path) -> Entry:
    where = f"claims: {path.name}, {str(table.get('id', '(no id)'))!r}"
    for name, value in table.items():
        if name not in FIELDS:
            raise UsageError(f"{where}: unknown field {name!r}; there are {', '.join(FIELDS)}")
        kinds = KINDS.get(name, (str,))
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UsageError(f"{where}: {name} is a {type(value).__name__}, not {kinds[0].__name__}")
    missing = [n for n, f in FIELDS.items() if n not in table and f.default is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{where}: field {missing[0]} is missing")
    entry = Entry(**{**table, "card": str(table["card"]), "arms": dict(table["arms"]), "family": path.stem})
    if entry.seeds < 2 or entry.minutes <= 0:
        raise UsageError(f"{where}: seeds are 2 at least, and minutes more than 0")
    if entry.placebo and entry.placebo not in entry.arms:
        raise UsageError(f"{where}: placebo {entry.placebo!r} is none of the arms {', '.join(entry.arms)}")
    try:
        _ = entry.terms
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return entry
