"""Train one model without the command line, which needs more of the library than some machines have.

    python -m promptology.zoo.recipes NAME FOLDER [field=value ...] [device=cuda] [measure=false]

Values are JSON; words that are none are taken as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from promptology.errors import PromptologyError
from promptology.zoo.recipes.building import build

EVERY = 500
"""Steps between two lines."""


def main(arguments: list[str]) -> int:
    """Train, print a line now and then, and the card at the end."""
    if len(arguments) < 2 or not all("=" in word for word in arguments[2:]):
        print(__doc__, file=sys.stderr)
        return 2
    name, folder, *rest = arguments
    changes = {key: _value(text) for key, _, text in (word.partition("=") for word in rest)}
    measure, device = bool(changes.pop("measure", True)), str(changes.pop("device", ""))
    try:
        card = build(name, Path(folder), device=device, measure=measure, report=_report, **changes)
    except PromptologyError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(card, indent=1))
    return 0


def _report(at: dict[str, float]) -> None:
    if at["step"] % EVERY == 0:
        print(json.dumps({key: round(value, 4) for key, value in at.items()}), flush=True)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
