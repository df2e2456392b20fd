"""What the tests share: a home of their own, a served simulated model, the real command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest
from postgres_server import database, databases  # noqa: F401

import promptology as pt


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give every test a store and run folder of its own, and no key from outside."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(folder))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("PROMPTOLOGY_STORE", raising=False)
    return folder


@pytest.fixture
def own_methods(monkeypatch):
    """Let the catalogue hold the package's methods alone: other tests register some that break on purpose."""
    from promptology.methods import registry

    own = {slug: c for slug, c in registry.catalogue().items() if c.cls.__module__.startswith("promptology.")}
    monkeypatch.setattr(registry, "_CARDS", own)


class Server:
    """A simulated model served by the real command."""

    def __init__(self, process, url):
        self.process = process
        self.url = url

    def stats(self):
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats", timeout=10) as reply:
            return json.load(reply)


@contextlib.contextmanager
def serving(*options):
    process = subprocess.Popen(
        [sys.executable, "-m", "promptology", "simulate", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+?/v1", line)
        assert found, line
        yield Server(process, found[0])
    finally:
        process.terminate()
        process.wait(10)
        process.stderr.close()


@pytest.fixture
def serve():
    """Return a context manager that serves a simulated model."""
    return serving


@pytest.fixture
def cli(tmp_path):
    """Return a function that runs the real command in a folder of its own."""

    def run(*arguments, env=None, cwd=None, timeout=120):
        return subprocess.run(
            [sys.executable, "-m", "promptology", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd or tmp_path,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )

    return run


COLOURS = {"red": "rose", "green": "grass", "blue": "sky"}


@pytest.fixture
def colours():
    """A small labelled task that a rule can solve."""
    rows = [(f"{thing} number {n}", colour) for colour, thing in COLOURS.items() for n in range(20)]
    return pt.Task(rows, name="colours")


@pytest.fixture
def colours_csv(tmp_path):
    """The same task as a CSV file."""
    path = tmp_path / "colours.csv"
    rows = [f"{thing} number {n},{colour}" for colour, thing in COLOURS.items() for n in range(20)]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path
