"""What the command line shows: notes and progress on standard error, one document on standard output."""

from __future__ import annotations

import json
import logging
import re
import sys
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from promptology.run.progress import Bar

if TYPE_CHECKING:
    from promptology.run.meter import Meter  # numpy behind it takes half of the time of --help

_KEEP = "\n\t"


def clean(text: str) -> str:
    """Return text that a terminal shows and never obeys: control and direction characters become visible escapes."""
    return "".join(
        c if c in _KEEP or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") else f"\\u{ord(c):04x}" for c in text
    )


def out(text: str) -> None:
    """Print a result on standard output."""
    print(clean(text))


def out_json(document: Any) -> None:
    """Print one JSON document on standard output; what a terminal would obey is escaped."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    # Outside ASCII only strings are left, and there an escape is the same character.
    print(re.sub(r"[^\n\x20-\x7e]", lambda m: m[0] if clean(m[0]) == m[0] else json.dumps(m[0])[1:-1], text))


def say(text: str) -> None:
    """Print a note on standard error."""
    print(clean(text), file=sys.stderr)


def columns(rows: list[list[str]]) -> list[str]:
    """Return rows as lines, columns one under another."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class Watcher(logging.Handler):
    """Shows a run as it goes: notes, a progress bar on a terminal, one line per recorded step.

    Warnings of the logger "promptology" (a server that is waited for, say) are notes too.
    """

    last_run = ""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(logging.WARNING)
        self.bar = Bar(sys.stderr)
        self.quiet = quiet
        logging.getLogger("promptology").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a warning as a note; it may come from another thread."""
        self._line(f"note: {record.getMessage()}")

    def observe(self, event: str, values: Mapping[str, Any]) -> None:
        """Show an event of the run."""
        if event == "track":
            self.bar.step(str(values["label"]), int(values["done"]), values["total"])
        elif event in ("note", "advice"):
            self._line(f"note: {values['text']}")
        elif event == "arm":
            seed = f", seed {values['seed']}" if "seed" in values else ""
            self._line(f"[{values['number']}/{values['total']}] {values['method']}{seed}")
        elif event == "start":
            Watcher.last_run = str(values["id"])
            continued = ", continued" if values["resumed"] else ""
            self._line(f"[{values['number']}/{values['total']}] {values['label']}: run {values['id']}{continued}")
        elif event == "end":
            how = "failed" if values["failed"] else "done"
            self._line(f"{how} ({values['done']} of {values['total']}) {values['label']}: {values['text']}")
        elif event == "run":
            Watcher.last_run = str(values["id"])
            self._line(f"run {values['id']}" + (", continued" if values["resumed"] else ""))
        elif event == "phase":
            self.bar.label = str(values["name"])
        else:
            self._line(f"  {event}: " + ", ".join(f"{k} {_short(v)}" for k, v in values.items()))

    def progress(self, meter: Meter, role: str, n: int) -> None:
        """Advance the bar."""
        self.bar.advance(meter, role, n)

    def _line(self, text: str) -> None:
        self.bar.clear()
        if not self.quiet:
            say(text)

    def close(self) -> None:
        """Leave the terminal clean."""
        logging.getLogger("promptology").removeHandler(self)
        self.bar.clear()
        super().close()


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)[:80]
