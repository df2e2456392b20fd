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
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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


def rerun(page: str, url: str, files: Mapping[str, str]) -> str:
    """Return a page with the outputs that its marked examples have now. `url`: of the simulated model."""
    with tempfile.TemporaryDirectory(prefix="promptology-docs-") as name, contextlib.chdir(name):
        for path, text in files.items():
            Path(path).write_text(text, encoding="utf-8")
        with _environment(Path(name)):
            session = Session(Path(name), url, {"__name__": "__docs__"})
            return FENCE.sub(session.again, page)


@dataclass
class Session:
    """The examples of one page. `names`: of its Python code; `installed`: whether it installed a package."""

    folder: Path
    url: str
    names: dict[str, Any]
    installed: bool = False

    def again(self, found: re.Match[str]) -> str:
        """Return a block with what its commands print now; a block with a title becomes a file."""
        body, more = found["body"], found["more"]
        if title := re.search(r'title="([^"]+)"', more):
            Path(title[1]).parent.mkdir(parents=True, exist_ok=True)
            Path(title[1]).write_text(body, encoding="utf-8")
        if not found["mark"]:
            return found[0]
        shown = f"<!-- {found['mark']} -->\n```{found['language']}{more}\n"
        if found["language"] == "python":
            printed = self.cleaned(_printed(lambda: exec(compile(self.here(body), "<docs>", "exec"), self.names))[0])
            return f"{shown}{body}```" + (f'\n\n```text title="output"\n{printed}```' if printed else "")
        for step in steps(body):
            printed = _cut(self.cleaned(self.run(self.here(step.command))), step.printed)
            shown += f"$ {step.command}\n{printed}"
        return f"{shown}```"

    def run(self, command: str) -> str:
        """Return what a command prints on standard output. Ours run in this process, which imports torch but once."""
        words = arguments(command)
        if words[:2] == ["pip", "install"]:
            install(Path(words[2]), self.folder / "site")
            self.installed = True
            return ""
        if words[0] != "promptology":
            return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
        if self.installed:  # what this process found of packages before, it would not look for again
            ours = [sys.executable, "-m", *words]
            return subprocess.run(ours, capture_output=True, text=True, check=True).stdout
        from promptology.cli.app import run

        argv, sys.argv = sys.argv, words
        try:
            out, said, code = _printed(lambda: run(words[1:]))
        finally:
            sys.argv = argv
        if code:
            raise RuntimeError(f"{command}\nended with {code}: {said[-2000:]}")
        return out

    def here(self, text: str) -> str:
        """Return a text with the address that the simulated model really has."""
        return text.replace(SERVED, self.url)

    def cleaned(self, text: str) -> str:
        """Return an output without what is peculiar to this session."""
        text = text.replace(str(self.folder / "home"), HOME).replace(self.url, SERVED)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _printed(call: Callable[[], Any]) -> tuple[str, str, Any]:
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = call()
    return out.getvalue(), said.getvalue(), code


def install(package: Path, site: Path) -> None:
    """Install a package into a folder, built from its pyproject.toml as pip would, with no network."""
    from hatchling.build import build_wheel

    wheels = site.with_name("wheels").resolve()
    with contextlib.chdir(package):
        wheel = build_wheel(str(wheels))
    zipfile.ZipFile(wheels / wheel).extractall(site)


def _cut(printed: str, before: str) -> str:
    """Cut what was printed where the page cut it."""
    lines = before.splitlines()
    if "..." not in lines:
        return printed
    return "".join(f"{line}\n" for line in [*printed.splitlines()[: len(lines) - 1], "..."])


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
def _environment(folder: Path) -> Iterator[None]:
    """Let commands find this package, what a page installs and its files, and keep runs in a store of their own."""
    before, path = dict(os.environ), list(sys.path)
    os.environ["PROMPTOLOGY_HOME"] = str(folder / "home")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), str(ROOT)])
    os.environ.pop("PROMPTOLOGY_STORE", None)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
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
    import docs_pages

    files = {"messages.csv": docs_pages.messages()}
    with simulated() as url:
        for path in map(Path, paths):
            path.write_text(rerun(path.read_text(encoding="utf-8"), url, files), encoding="utf-8")
            print(path)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
