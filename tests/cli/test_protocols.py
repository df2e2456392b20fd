"""Protocols on the command line: what they print, write and refuse."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from promptology.cli.app import run

TOY = ("--model", "zoo:toy-clip", "--method", "zero-shot", "--seeds", "1")
BASE = "toyland:base?test=3&shots=4&validation=0"


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in this process and gives its code, output and last line of errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        code = run(["protocol", *arguments])
        said = capsys.readouterr()
        return code, said.out, (said.err.splitlines() or [""])[-1]

    return call


def test_base_to_novel(cli, tmp_path):
    code, out, _ = cli("base-to-novel", "--task", BASE, *TOY, "--shots", "2", "--out", "page.html")
    assert code == 0 and "harmonic mean, zero-shot" in out and "1 fit with its own budget; seeds 1" in out
    assert "base" in out and "new" in out and "report  page.html" in out
    assert "zero-shot" in (tmp_path / "page.html").read_text()


def test_domain_shift_as_json(cli):
    there = "there=toyland:cross-domain?domain=backlit&test=4&shots=1"
    shared = ("--task", "toyland:cross-domain?domain=clean&test=4&shots=2", "--on", there, *TOY, "--json")
    code, out, _ = cli("domain-shift", *shared, "--shots", "1", "--set", "zero-shot.templates=a {}|the {}")
    doc = json.loads(out)
    assert code == 0 and doc["kind"] == "domain-shift" and doc["rows"] == ["(start)", "zero-shot"]
    assert doc["columns"][1] == "there" and doc["cells"][1][0]["value"] > doc["cells"][1][1]["value"]
    assert doc["seeds"] == [1] and len(doc["runs"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("base-to-new", "--task", BASE, *TOY), "there are base-to-novel"),
        (("few-shot", "--task", BASE, *TOY, "--shots", "two"), "--shots 'two' is not understood"),
        (("cross-dataset", "--task", BASE, *TOY), "--on NAME=SPEC"),
        (("cross-dataset", "--task", BASE, *TOY, "--on", BASE), "--on takes NAME=SPEC"),
        (("few-shot", "--task", BASE, *TOY, "--workers", "ray"), "is one run"),
        (("few-shot", "--task", BASE, *TOY, "--set", "coop.epochs=1"), "METHOD.FIELD=VALUE"),
        (("few-shot", "--task", "toyland:multi-label?train=4&test=4", *TOY), "its output is classes"),
    ],
)
def test_faults(cli, arguments, words):
    code, _, last = cli(*arguments)
    assert code == 2 and words in last, last
