"""The record of claims: what was measured last, of which commit, kept in the package for the docs and for advice."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptology.claims.announced import entries
from promptology.claims.running import NOT_REPRODUCED, REPRODUCED
from promptology.claims.units import PACKAGE, versions
from promptology.errors import UsageError

FILE = "claims/record.json"
RECORD = PACKAGE / FILE
FORMAT = 1


def recorded(path: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return the recorded results by method, in the order of the entries; empty where nothing was recorded.

    A result is that of `promptology claims --json`, with version, commit, date and libraries of its own: results of
    one record may come from several runs. Raises UsageError where the record cannot be read or is of another format.
    """
    by_method: dict[str, list[dict[str, Any]]] = {}
    for result in _read(path or RECORD):
        by_method.setdefault(result["method"], []).append(result)
    return by_method


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = record["format"]
        claims = [dict(result) for result in record["claims"]] if found == FORMAT else []
        if not all({"id", "method", "verdict", "arms", "terms", "rule"} <= set(result) for result in claims):
            raise KeyError("claims")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is no record of claims; write it anew with `promptology claims --save`") from None
    if found != FORMAT:
        raise UsageError(
            f"{path} has the format {found!r} of another version of promptology, this one reads {FORMAT}; delete it "
            "and write it anew with `promptology claims --save`"
        )
    return claims


def source() -> dict[str, Any]:
    """Return what a result was measured with: version, commit where this is a checkout, date, Python, libraries.

    `dirty`: whether the package's files differed from the commit.
    """
    from promptology import __version__

    commit, dirty = _commit()
    return {
        "version": __version__,
        "commit": commit,
        "dirty": dirty,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": versions(),
    }


def _commit() -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that this package lies in, and whether its files differ from it."""
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD").strip()
        apart = f":!{PACKAGE.name}/{FILE}"
        return commit, bool(_git(root, "status", "--porcelain", "--", PACKAGE.name, apart).strip())
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout


def must_take() -> None:
    """Raise UsageError where the record could not take results: no commit stands beside it, or it is not readable."""
    if _commit()[0] is None:
        raise UsageError(
            f"--save writes the record of a checkout, and {PACKAGE.parent} is no git checkout with a commit; "
            "--json gives the same results"
        )
    _read(RECORD)


def save(document: Mapping[str, Any], path: Path | None = None) -> list[str]:
    """Put the measured results of a document into the record and return their ids; other entries keep theirs.

    Each result keeps version, commit, date and libraries of its own. An error or a missing fixture measured nothing,
    and replaces nothing.
    """
    path = path or RECORD
    about = {key: document[key] for key in ("version", "commit", "dirty", "date", "python", "versions")}
    measured = [{**r, **about} for r in document["claims"] if r["verdict"] in (REPRODUCED, NOT_REPRODUCED)]
    known = {result["id"]: result for result in [*_read(path), *measured]}
    order = [entry.id for entry in entries()]
    _write({"format": FORMAT, "claims": [known[id] for id in order if id in known]}, path)
    return [result["id"] for result in measured]


def _write(record: Mapping[str, Any], path: Path) -> None:
    staged = path.with_name(f".{path.name}.part")
    try:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        rows = re.compile(r"(?<=\[)[-+\d.,e\s]+(?=\])")  # a row of figures is a line
        text = rows.sub(lambda found: " ".join(found[0].split()), text)
        staged.write_text(text + "\n", encoding="utf-8")
        os.replace(staged, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    finally:
        staged.unlink(missing_ok=True)


def document(results: Sequence[Mapping[str, Any]], not_landed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the result document of a run of claims."""
    return {"claims": list(results), "not_landed": list(not_landed), **source()}
