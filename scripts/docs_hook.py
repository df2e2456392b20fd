"""What mkdocs asks for while it builds: pages that are made from the code, and their place in the nav.

Nothing that is made here is kept in the repository, and nothing needs torch, a model or a network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

# mkdocs looks for neither: what stands beside this file, and the package of this checkout.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]
import docs_methods  # noqa: E402
import docs_pages  # noqa: E402
import docs_tree  # noqa: E402

from promptology.errors import PromptologyError  # noqa: E402

OVERVIEW = {"Overview": "methods/index.md"}


def on_config(config: Any) -> Any:
    """Put the pages of the methods into the nav, by family, behind their overview."""
    try:
        docs_pages.generated()
    except PromptologyError as error:  # the claims were altered, say
        raise PluginError(f"the docs cannot be made: {error}") from None
    (methods,) = [pages for section in config.nav for pages in section.values() if OVERVIEW in pages]
    for family, cards in docs_methods.families(docs_methods.cards()).items():
        methods.append({docs_methods.TITLES[family]: [{card.slug: f"methods/{card.slug}.md"} for card in cards]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what is made from the code."""
    for path, text in docs_pages.generated().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **more: Any) -> str:
    """Put a drawing of a real run where a page wants one."""
    return docs_tree.filled(markdown)
