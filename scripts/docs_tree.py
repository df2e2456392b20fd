"""The lineage tree of the docs: of a real run, made anew at every build as a report draws it.

The run takes a second or two: a search in the world "trap" with the simulated model, with a store of its own.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- lineage tree -->"
COMMAND = ("fit", "--task", "simulated:trap?train=60", "--model", "simulated:trap", "--method", "promptagent")
SETTING, BUDGET = "iterations=6", "2000calls"
"""As the page runs it in Python."""
DRAWN = re.compile(r'<svg class="tree" viewBox.*?</svg>', re.S)


def filled(page: str) -> str:
    """Return a page with the tree where its mark stands."""
    return page.replace(MARK, tree()) if MARK in page else page


@functools.cache
def tree() -> str:
    """Return the drawing, without its links, which would lead to the prompts below it in the report."""
    from promptology.evidence.report import render

    drawn = DRAWN.search(render(document()))
    if drawn is None:
        raise ValueError("the report of the run for the docs has no tree")
    svg = re.sub(r"<a [^>]*>", "<g>", drawn[0]).replace("</a>", "</g>")
    svg = svg.replace('role="group"', 'role="img"').replace('class="tree"', 'class="tree picture"')
    lines = [line for line in svg.splitlines() if line.strip()]
    return "\n".join(['<div class="wide" role="region" aria-label="A lineage" tabindex="0">', *lines, "</div>"])


def document() -> dict[str, object]:
    """Return the document of the run, made in a process of its own."""
    words = [sys.executable, "-m", "promptology", *COMMAND, "--set", SETTING, "--budget", BUDGET]
    with tempfile.TemporaryDirectory(prefix="promptology-docs-") as home:
        given = {**os.environ, "PROMPTOLOGY_HOME": home, "PYTHONPATH": str(ROOT)}
        subprocess.run(words, env=given, check=True, capture_output=True)
        (path,) = Path(home).glob("runs/*/result.json")
        found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return found
