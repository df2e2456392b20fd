"""What the tests of the docs share: the scripts that make them, and all pages, written and made."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def script():
    """Return a function that imports a module of scripts/."""

    def load(name):
        sys.path.insert(0, str(ROOT / "scripts"))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(str(ROOT / "scripts"))

    return load


@pytest.fixture(scope="session")
def pages(script):
    """Return all Markdown by its path in the docs, what is generated at build included, and the files at the root."""
    written = {str(path.relative_to(ROOT / "docs")): path for path in (ROOT / "docs").rglob("*.md")}
    found = {name: path.read_text(encoding="utf-8") for name, path in written.items()}
    found |= {f"../{name}": (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
    made = script("docs_pages").generated()
    return {**found, **{name: text for name, text in made.items() if name.endswith(".md")}}
