"""What the documentation holds beside its written pages, made from the code at every build."""

from __future__ import annotations

import csv
import functools
import io

import docs_claims
import docs_commands
import docs_methods


@functools.cache
def generated() -> dict[str, str]:
    """Return the generated files by their path in the docs folder."""
    cards = docs_methods.cards()
    return {
        "methods/index.md": docs_methods.overview(cards),
        **{f"methods/{slug}.md": docs_methods.page(c, docs_claims.sections(slug)) for slug, c in cards.items()},
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
