"""The reference of the command line, made from the help of its own commands."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Sequence
from typing import Any

import typer
from docs_text import fence, prose, table

import promptology.cli
from promptology.cli.app import app
from promptology.cli.options import Common

HEAD = """# Command line

Made from the help of the commands; `promptology COMMAND --help` says the same. Results go to standard output, notes and
progress to standard error. Every command that prints a result takes `--json`.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 2 | bad input, or a model that refused; one line on standard error says what to do |
| 130 | interrupted; what was answered is kept, and the line says how to go on |"""

SHARED = """## Options of evaluate, fit and compare

The grammar is the same for all three: what to learn on, what to ask, and how much it may cost."""


def reference() -> str:
    """Return the page."""
    common = {field.name for field in dataclasses.fields(Common)}
    commands = flat(root(), "promptology")
    shared = next(command for name, command in commands if name == "promptology fit")
    parts = [HEAD, SHARED, options([p for p in shared.params if p.name in common], "promptology fit", shared)]
    for name, command in commands:
        own = [p for p in command.params if p.name not in common] if _takes(command, common) else command.params
        parts += [f"## {name}", *told(command.help or "")]
        if own is not command.params:
            parts.append("Takes the [options above](#options-of-evaluate-fit-and-compare), and these:")
        parts.append(options(own, name, command))
    return "\n\n".join(part for part in parts if part) + "\n"


def root() -> Any:
    """Return the command line with all of its commands; importing a file of the package registers those in it."""
    for file in pkgutil.iter_modules(promptology.cli.__path__):
        importlib.import_module(f"promptology.cli.{file.name}")
    return typer.main.get_command(app)


def flat(group: Any, name: str) -> list[tuple[str, Any]]:
    """Return the commands under a group with their full names, in the order of the help."""
    found: list[tuple[str, Any]] = []
    for key, command in group.commands.items():
        full = f"{name} {key}"
        found += flat(command, full) if hasattr(command, "commands") else [(full, command)]
    return found


def told(text: str) -> list[str]:
    """Return a help text as Markdown: paragraphs, and its examples as commands."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        found = re.match(r"(?:(Examples?|then|or): )?(promptology .*)", paragraph, re.S)
        if found:
            parts.append(fence("console", "$ " + found[2].replace("\n", " \\\n    ")))
        else:
            parts.append(prose(paragraph))
    return parts


def options(params: Sequence[Any], name: str, command: Any) -> str:
    """Return options and arguments as a table."""
    context = command.make_context(name, [], resilient_parsing=True)
    rows = []
    for param in params:
        record = param.get_help_record(context)
        if record and not getattr(param, "hidden", False) and param.name != "help":
            names = re.sub(r"<\w+>", lambda kind: kind[0].strip("<>").upper(), " ".join(record[0].split()))
            rows.append((f"`{names}`", prose(record[1])))
    return table(("option", "meaning"), rows) if rows else ""


def _takes(command: Any, common: set[str]) -> bool:
    return common <= {param.name for param in command.params}
