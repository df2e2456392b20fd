"""Run the examples of the docs that are marked with `<!-- run -->`, and write what they print into the pages.

    python scripts/docs_outputs.py docs/index.md docs/cookbook/*.md

The examples of a page are run one after another in an empty folder, with a store of their own. Blocks with a title are
files there; http://127.0.0.1:8000 is a simulated model. What a command writes on standard output follows it in the
page; a line `...` ends an output that is shown only in part. `<!-- run: figures differ -->` marks what depends on the
machine; seconds, run ids and dates always do.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SERVED = "http://127.0.0.1:8000"
HOME = "~/.local/share/promptology"
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>run[^>]*) -->\n)?```(?P<language>\w*)(?P<more>[^\n]*)\n(?P<body>.*?)^```$"
    r"(?P<printed>\n\n```text title=\"output\"\n.*?^```$)?",
    re.M | re.S,
)


class Step(NamedTuple):
    """A command and what it printed, as a page shows them. `command` may have several lines."""

    command: str
    printed: str


def steps(body: str) -> list[Step]:
    """Return the commands of a console block with their outputs."""
    found: list[Step] = []
    rest = body.splitlines()
    while rest:
        line = rest.pop(0)
        if not line.startswith("$ "):
            if not found:
                raise ValueError(f"a console block begins with {line!r}, not with a command behind $")
            found[-1] = found[-1]._replace(printed=f"{found[-1].printed}{line}\n")
            continue
        command = [line[2:]]
        while command[-1].endswith("\\"):
            command.append(rest.pop(0))
        found.append(Step("\n".join(command), ""))
    return found


def arguments(command: str) -> list[str]:
    """Return the words of a command as a shell would make them, without its comment."""
    return shlex.split(command.replace("\\\n", " "), comments=True)


def rerun(page: str, url: str, files: dict[str, str]) -> str:
    """Return a page with the outputs that its marked examples have now. `url`: of the simulated model."""
    with tempfile.TemporaryDirectory(prefix="promptology-docs-") as name, contextlib.chdir(name):
        for path, text in files.items():
            Path(path).write_text(text, encoding="utf-8")
        home, space = Path(name, "home"), {"__name__": "__docs__"}
        with _environment(home):
            return FENCE.sub(lambda found: _again(found, url, home, space), page)


def _again(found: re.Match[str], url: str, home: Path, space: dict[str, Any]) -> str:
    body, more = found["body"], found["more"]
    if title := re.search(r'title="([^"]+)"', more):
        Path(title[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(title[1]).write_text(body, encoding="utf-8")
    if not found["mark"]:
        return found[0]
    shown = f"<!-- {found['mark']} -->\n```{found['language']}{more}\n"
    if found["language"] == "python":
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            exec(compile(body.replace(SERVED, url), "<docs>", "exec"), space)
        printed = _cleaned(out.getvalue(), url, home)
        return f"{shown}{body}```" + (f'\n\n```text title="output"\n{printed}```' if printed else "")
    for step in steps(body):
        printed = _cut(_cleaned(_run(step.command.replace(SERVED, url)), url, home), step.printed)
        shown += f"$ {step.command}\n{printed}"
    return f"{shown}```"


def _run(command: str) -> str:
    """Return what a command prints on standard output; ours run in this process, which imports torch but once."""
    words = arguments(command)
    if words[0] != "promptology":
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    if words[1] == "simulate":
        return ""
    from promptology.cli.app import run

    out, said, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = words
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            code = run(words[1:])
    finally:
        sys.argv = argv
    if code:
        raise RuntimeError(f"{command}\nended with {code}: {said.getvalue()[-2000:]}")
    return out.getvalue()


def _cleaned(text: str, url: str, home: Path) -> str:
    text = text.replace(str(home), HOME).replace(url, SERVED).replace(url.removeprefix("http://"), SERVED[7:])
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _cut(printed: str, before: str) -> str:
    """Cut what was printed where the page cut it."""
    lines = before.splitlines()
    return "".join(f"{line}\n" for line in [*printed.splitlines()[: len(lines) - 1], "..."]) if "..." in lines else printed


def masked(page: str) -> str:
    """Return a page without what differs from run to run: seconds, run ids, dates; figures where they may differ."""

    def mask(found: re.Match[str]) -> str:
        text = found[0]
        if found["mark"]:
            text = re.sub(r"\b[0-9a-f]{16}\b", "RUN", text)
            text = re.sub(r"\b\d{4}-\d\d-\d\d  \d\d:\d\d\b", "DATE", text)
            text = re.sub(r"( · )?\b\d+(\.\d+)? (s|m)\b", "", text)
            text = re.sub(r"-{5,}", "-----", re.sub(r" +", " ", text))
            if "differ" in found["mark"]:
                text = re.sub(r"(< )?[-+]?\d[\d.,]*", "N", text)
        return text

    return FENCE.sub(mask, page)


@contextlib.contextmanager
def _environment(home: Path) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(PROMPTOLOGY_HOME=str(home), PATH=f"{Path(sys.executable).parent}{os.pathsep}{before['PATH']}")
    os.environ.pop("PROMPTOLOGY_STORE", None)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.remove(os.getcwd())
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def simulated() -> Iterator[str]:
    """Serve the simulated model and yield its URL without the /v1 behind it."""
    command = [sys.executable, "-m", "promptology", "simulate", "--port", "0", "--world", "tickets", "--latency", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"(http://\S+)/v1", line)
        if not found:
            raise RuntimeError(line)
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=10)


def main(paths: list[str]) -> None:
    """Write the outputs of the pages anew."""
    import docs_hook

    files = {"messages.csv": docs_hook.messages()}
    with simulated() as url:
        for path in map(Path, paths):
            path.write_text(rerun(path.read_text(encoding="utf-8"), url, files), encoding="utf-8")
            print(path)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
