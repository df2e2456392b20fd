"""Report file, function and parameter sizes; fail on a file over 400 lines or a function over 60."""

from __future__ import annotations

import ast
import statistics
import sys
import tomllib
from pathlib import Path

MOST_FILE, MOST_FUNCTION, MOST_DEPENDENCIES = 400, 60, 7
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    files: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    parameters: list[tuple[int, str]] = []
    for path in sorted((ROOT / "promptology").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        name = str(path.relative_to(ROOT))
        files.append((len(source.splitlines()), name))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{name}:{node.name}"
                functions.append(((node.end_lineno or node.lineno) - node.lineno + 1, where))
                count = len(node.args.args) + len(node.args.kwonlyargs)
                # The command grammar needs its parameters.
                if "/cli/" not in name:
                    parameters.append((count, where))
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    lines = [n for n, _ in files if n > 5]
    lengths = [n for n, _ in functions]
    print(f"{len(files)} files, {sum(n for n, _ in files)} lines; median file {statistics.median(lines):.0f}")
    print(f"{len(functions)} functions; median {statistics.median(lengths):.0f} lines")
    for title, rows in (("files", files), ("functions", functions), ("parameters", parameters)):
        print(f"largest {title}: " + ", ".join(f"{name} {n}" for n, name in sorted(rows, reverse=True)[:4]))
    print(f"{len(dependencies)} core dependencies")
    cli_function = [(n, f) for n, f in functions if n > MOST_FUNCTION and "/cli/" not in f]
    faults = [f"{name} has {n} lines" for n, name in [*[(n, f) for n, f in files if n > MOST_FILE], *cli_function]]
    if len(dependencies) > MOST_DEPENDENCIES:
        faults.append(f"{len(dependencies)} core dependencies, at most {MOST_DEPENDENCIES}")
    for fault in faults:
        print(f"too large: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
