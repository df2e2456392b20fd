"""Tokens and longest input of a model in this process, read from its files without loading its weights."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from promptology.models.local.folder import locate
from promptology.models.local.reading import POSITIONS, STATED, clean


class Counter:
    """Counts by the tokenizer of a model folder, or by a tokenizer that is loaded already."""

    def __init__(self, source: Any) -> None:
        self._of_file: Any = None
        self._loaded: Any = None if isinstance(source, str) else source
        if isinstance(source, str) and (path := locate(source) / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            # A file that this library cannot read is no reason to lose a run: its tokens are then estimated.
            with contextlib.suppress(Exception):
                self._of_file = Tokenizer.from_file(str(path))
                self._of_file.no_truncation()

    def tokens(self, text: str) -> list[int] | None:
        """Return the tokens of a text without special ones; None where the folder has no tokenizer.json."""
        if self._of_file is not None:
            return list(self._of_file.encode(clean(text), add_special_tokens=False).ids)
        if self._loaded is not None:
            return list(self._loaded(clean(text), add_special_tokens=False, verbose=False)["input_ids"])
        return None


def stated_limit(folder: Path, asked: int = 0) -> int | None:
    """Return the longest input in tokens that a folder's files, or the user, state; None where nobody does."""
    config, tokenizer = (_read(folder / name) for name in ("config.json", "tokenizer_config.json"))
    stated = [config.get(name) for name in POSITIONS]
    found = [n for n in stated if isinstance(n, int) and n > 0][:1]
    said = asked or tokenizer.get("model_max_length")
    found += [said] if isinstance(said, int) and 0 < said < STATED else []
    return min(found) if found else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
