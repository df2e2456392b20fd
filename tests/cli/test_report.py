"""report: of finished runs, of comparisons, of other versions; what cannot be shown is one line."""

from __future__ import annotations

import json

import pytest

import promptology as pt


@pytest.fixture
def run(colours):
    return pt.fit(colours, lambda prompt: "red", "manual")


def refused(done):
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


def test_a_result_of_an_older_version(cli, run, tmp_path):
    path = run.folder / "result.json"
    old = json.loads(path.read_text())
    for name in ("format", "agreement"):
        old.pop(name, None)
    old["arms"] = [
        {k: v for k, v in a.items() if k not in ("curves", "lineage", "flips", "steps")} for a in old["arms"]
    ]
    path.write_text(json.dumps(old))
    done = cli("report", run.run, "--out", "page.html")
    assert done.returncode == 0, done.stderr
    assert "manual is the start" in (tmp_path / "page.html").read_text()


def test_a_result_of_a_newer_version(cli, run, tmp_path):
    path = run.folder / "result.json"
    path.write_text(json.dumps({**run.document, "format": 99, "version": "9.0"}))
    assert "promptology 9.0 in form 99" in refused(cli("report", run.run, "--out", "page.html"))
    assert not list(tmp_path.glob("*.html*"))
    assert json.loads(cli("report", run.run, "--json").stdout)["format"] == 99


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read"), ("[]", "no result document"), ("{}", "title")])
def test_a_broken_result(cli, run, text, words):
    (run.folder / "result.json").write_text(text)
    assert words in refused(cli("report", run.run))


def test_a_run_without_evidence(cli, colours, tmp_path):
    result = pt.fit(colours, lambda prompt: "red", "manual", budget="0.02ktok")
    assert result.evidence.verdict == "not measured: budget"
    assert cli("report", result.run, "--out", "page.html").returncode == 0
    assert "There is no evidence about manual: not measured: budget." in (tmp_path / "page.html").read_text()


def test_an_arm_of_a_comparison_names_it(cli, colours):
    both = pt.compare(colours, lambda prompt: "red", ["manual", "few-shot"])
    line = refused(cli("report", both.results[0].run))
    assert f"`promptology report {both.folder.name}`" in line
    assert cli("report", both.folder.name).returncode == 0
