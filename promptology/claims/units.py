"""Units of a claim's work and their records: what one arm gave on one seed, kept so that it is measured once.

A record is one small JSON file under `claims/METHOD` in PROMPTOLOGY_HOME, written whole or not at all. Its name is a
digest of everything that the figure depends on: method, fixture, the arm's text, the metric's text, seed, and the mark
below. Entries that name the same arm on the same fixture therefore share it, an interrupted claim goes on from there,
and a change of the code measures anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

from promptology.claims.announced import Entry
from promptology.claims.measuring import Measurement
from promptology.data.items import digest
from promptology.errors import UsageError
from promptology.places import home
from promptology.run.rows import no_place
from promptology.zoo.folders import mark as mark_of

T = TypeVar("T")
PACKAGE = Path(__file__).parents[1]
SOURCES = (".py", ".json", ".jsonl", ".txt")
"""Files of the package that figures may depend on: code, bundled data, word lists."""
MACHINERY = ("announced", "child", "methods/", "record", "rules", "running", "units", "wording")
APART = ("api/", "cli/", "evidence/documents", "evidence/report", "testing/", "zoo/recipes/", "zoo/weights/")
"""Those that no figure depends on: what stands above the claims, what shows results, how a zoo model was trained (its
weights count by themselves), the machinery of claims, other claims' files. What claims share lies beside `measuring`.
"""
LIBRARIES = ("numpy", "scipy", "torch", "transformers")
"""Libraries whose version may move a figure."""


def mark(measurement: Measurement) -> str:
    """Return what tells the code that measures from other code: 16 hexadecimal digits.

    It covers the package's sources but those apart and the machinery of claims, the measurement's own file, the
    versions of the libraries that matter, and the weights of the zoo models that it needs.
    """
    own = Path(inspect.getsourcefile(measurement.measure) or "").resolve()
    files = [path for path in sorted(PACKAGE.rglob("*")) if _counts(path)]
    hashed = hashlib.blake2b(digest_size=8)
    for path in [*files, own]:
        hashed.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    weights = [mark_of(name) for name in measurement.needs]
    return digest([hashed.hexdigest(), versions(), weights])


def _counts(path: Path) -> bool:
    apart = (*APART, *(f"claims/{name}" for name in MACHINERY))
    return path.suffix in SOURCES and not path.relative_to(PACKAGE).as_posix().startswith(apart)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that matter, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Records:
    """Records of one entry's units as the code stands; raises StoreError where they cannot be written."""

    def __init__(self, entry: Entry, mark: str) -> None:
        self.entry = entry
        self.folder = home() / "claims" / entry.method
        self._common = [entry.method, entry.fixture, mark]

    def path(self, *parts: Any) -> Path:
        """Return where the record of a unit lies, or will lie."""
        return self.folder / f"{digest([*self._common, *parts])}.json"

    def unit(self, arm: str, seed: int) -> Path:
        """Return the place of an arm's unit on a seed; without an arm, of all arms measured together."""
        arms = self.entry.arms
        return self.path("unit", arms[arm] if arm else dict(arms), self.entry.metric, seed)

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return a record, None where there is none or it cannot be read: then it is measured again."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and {"value", "seconds"} <= set(found) else None

    def write(self, path: Path, record: Mapping[str, Any]) -> None:
        """Make a record durable."""
        draft = path.with_name(f".{path.stem}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(record, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except OSError as error:
            raise no_place(self.folder, error) from None
        finally:
            draft.unlink(missing_ok=True)


class RecordedBench:
    """The bench of one entry: choices that hold for all seeds are made once and found again."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.used: dict[str, float] = {}
        """Processor seconds of the choices that were used, whenever they were made."""
        self.making = 0.0
        """Processor seconds that this process spent on making them."""

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` gives, plain JSON, computed once for all seeds, arms and attempts."""
        path = self.records.path("once", name)
        record = self.records.read(path)
        if record is None:
            began, inner = time.process_time(), self.making
            made = json.loads(json.dumps(make(), allow_nan=False))
            spent = time.process_time() - began
            own, self.making = spent - (self.making - inner), inner + spent
            record = {"method": self.records.entry.method, "once": name, "value": made, "seconds": round(own, 3)}
            self.records.write(path, record)
        self.used[name] = float(record["seconds"])
        return cast(T, record["value"])


def figures(value: Any, where: str) -> dict[str, float]:
    """Return an arm's figures by metric; one figure alone is named "value". Raises UsageError for what is no number."""
    named = value if isinstance(value, Mapping) else {"value": value}
    try:
        found = {str(name): float(figure) for name, figure in named.items()}
    except (TypeError, ValueError):
        raise UsageError(f"{where}: measured {value!r}, not a number or numbers by metric") from None
    for name, figure in found.items():
        if not math.isfinite(figure):
            raise UsageError(f"{where}: {name} is {figure}")
    if not found:
        raise UsageError(f"{where}: nothing was measured")
    return found
