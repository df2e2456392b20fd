"""`python -m promptology.zoo.recipes NAME FOLDER [field=value ...]`: train one model without the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from promptology.zoo.recipes.building import build


def main() -> None:
    """Train, and print a line per twenty rounds, then the card."""
    name, folder, *rest = sys.argv[1:]
    changes = {k: json.loads(v) for k, _, v in (word.partition("=") for word in rest)}
    measure = bool(changes.pop("measure", True))
    device = str(changes.pop("device", ""))

    def report(at: dict[str, float]) -> None:
        if at["step"] % 500 == 0:
            print(json.dumps({k: round(v, 4) for k, v in at.items()}), flush=True)

    print(json.dumps(build(name, Path(folder), device=device, measure=measure, report=report, **changes), indent=1))


if __name__ == "__main__":
    main()
