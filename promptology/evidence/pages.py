"""Pages: one self-contained HTML file each, in one style. What a model or a user wrote is text, never markup.

A page is a template beside this file that extends page.html.j2 and fills its block `content`; see `fill`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from promptology.errors import UsageError
from promptology.evidence.wording import cut, format_cost, format_p, visible

FOLD = 4000
"""Characters of a text that are shown unfolded."""


def fill(template: str, **values: Any) -> str:
    """Return a page from a template of this folder; every text that is put into it goes through `visible`.

    `values`: `title`, `sections` (pairs of id and name, for the contents) and what the template itself asks for.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=shown,
    )
    environment.filters.update(cut=cut, cost=format_cost, p=format_p)
    environment.globals.update(fold=FOLD)
    return environment.get_template(template).render(**values)


def write_page(page: str, path: Path) -> None:
    """Write a page, whole or not at all; raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.part")
        staged.write_text(page, encoding="utf-8", errors="replace")
        os.replace(staged, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
