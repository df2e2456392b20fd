"""The application: commands, and what happens to errors."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import typer

from promptology.errors import PromptologyError

# typer may carry its own click, so its exceptions are taken from typer and not from the click package.
ClickError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="promptology",
    help="Prompt learning for frozen models: a model, a task and a budget in; a better prompt and evidence out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        from promptology import __version__

        typer.echo(f"promptology {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _show_warning(message: Any, category: type[Warning], *where: Any) -> None:
    """Print a plug-in's fault as a note like any other; further warnings stay as Python shows them."""
    from promptology.cli.showing import say
    from promptology.plugins import PluginWarning

    if issubclass(category, PluginWarning):
        say(f"note: {message}")
    else:
        _python_shows(message, category, *where)


_python_shows = warnings.showwarning


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 done, 2 bad input or a model that refused, 130 interrupted."""
    # Importing the files registers their commands.
    from promptology.cli import advise, catalogue, claims, fitting, page, runs, saved, serving, transfer, zoo  # noqa: F401

    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        code = app(args=list(argv), standalone_mode=False)
        if code == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()
        if code == 130:  # what some versions of typer make of a KeyboardInterrupt
            raise KeyboardInterrupt
        return int(code or 0)
    except PromptologyError as error:
        return complain(str(error))
    except ClickError as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(context.get_help() if context else error.format_message())
            return 0
        return complain(f"{error.format_message()} (see {context.command_path if context else 'promptology'} --help)")
    except (KeyboardInterrupt, typer.Abort):
        from promptology.cli.showing import Watcher

        return complain(f"interrupted{_how_to_go_on(argv, Watcher.last_run)}", 130)
    except BrokenPipeError:
        # The reader of our output went away (head, less): point stdout at nothing so that its flush cannot fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ImportError) as error:
        if os.strerror(errno.EMFILE) in str(error):  # which may befall any import of any library
            sys.unraisablehook = lambda _: None  # half-made objects complain as they go
            return complain("too many open files: allow more (ulimit -n); what was answered is kept")
        if isinstance(error, ImportError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror or error}; what was answered is kept")


def _how_to_go_on(argv: Sequence[str], run: str) -> str:
    if run:
        return f"; what was answered is kept; continue with `promptology resume {run[:8]}`"
    if tuple(argv[:2]) == ("zoo", "build"):
        return "; what was trained is kept: the same command goes on from there"
    if argv and argv[0] == "claims":
        return "; what was measured is kept: the same command goes on from there"
    if argv and argv[0] in ("evaluate", "apply", "transfer"):
        kept = "--cache=off" not in argv and ("--cache", "off") not in pairwise(argv)
        return "; what was answered is kept: the same command goes on from there" if kept else "; nothing was kept"
    return ""


def complain(message: str, code: int = 2) -> int:
    """Print one line on standard error and return the exit code."""
    from promptology.cli.showing import clean

    print(f"promptology: {clean(' '.join(message.split()))}", file=sys.stderr)
    return code
