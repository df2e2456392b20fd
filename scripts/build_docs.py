"""Build the documentation into site/; a warning is an error. Further arguments go to `mkdocs build`.

python scripts/build_docs.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")  # the theme announces its successor at every start
    try:
        import material  # noqa: F401
        from mkdocs.__main__ import cli
    except ImportError as error:
        return refuse(f'building the docs needs mkdocs-material: {error}; pip install "mkdocs-material>=9.6"')
    sys.path.insert(0, str(ROOT))
    try:
        import promptology.cli.app
        import promptology.methods.registry  # noqa: F401
    except ImportError as error:
        return refuse(f"the docs are made from the package, which cannot be imported: {error}; pip install -e .")
    os.chdir(ROOT)
    cli(["build", "--strict", *arguments], standalone_mode=True)
    return 0


def refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
