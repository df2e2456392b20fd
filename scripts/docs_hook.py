"""What mkdocs asks for while it builds: pages made from the code, and a nav that holds what is there.

Nothing that is made here is kept in the repository, and nothing needs torch, a model or a network.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
try:
    import docs_commands
    import docs_methods
except ImportError as error:
    raise PluginError(
        f"the docs are made from the package, which cannot be imported: {error}; install it with pip install -e ."
    ) from None

NEEDED = "methods/index.md"


def on_config(config: Any) -> Any:
    """Put the pages of the methods into the nav, and leave out pages that are not there yet."""
    found = docs_methods.families(docs_methods.cards())
    sections = [
        {docs_methods.TITLES[family]: [{card.slug: f"methods/{card.slug}.md"} for card in cards]}
        for family, cards in found.items()
    ]
    made = set(generated())
    config.nav = _kept(config.nav, Path(config.docs_dir), made, sections)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what is made from the code."""
    for path, text in generated().items():
        files.append(File.generated(config, path, content=text))
    return files


def generated() -> dict[str, str]:
    """Return the generated files by their path in the docs folder."""
    cards, claims = docs_methods.cards(), docs_methods.announced()
    pages = {f"methods/{slug}.md": docs_methods.page(card, claims.get(slug, ())) for slug, card in cards.items()}
    return {
        NEEDED: docs_methods.overview(cards),
        **pages,
        "cli.md": docs_commands.reference(),
        "cookbook/messages.csv": messages(),
    }


def messages() -> str:
    """Return the table of the cookbook: the training and validation messages of the bundled tickets."""
    from promptology.data.loaders import load_task

    task = load_task("tickets")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("message", "queue"))
    writer.writerows((*item.inputs.values(), item.target) for item in (*task.train, *task.validation))
    return text.getvalue()


def _kept(nav: list[Any], docs: Path, made: set[str], sections: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for entry in nav:
        (title, target), *_ = entry.items()
        if isinstance(target, list):
            inner = _kept(target, docs, made, sections)
            kept.append({title: [*inner, *sections] if {"Overview": NEEDED} in inner else inner})
        elif target in made or (docs / target).is_file():
            kept.append(entry)
    return kept
