"""The command `claims`: results, faults and interruptions, as a user meets them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import toy_claims  # noqa: F401  (registers the measurements of the toy claims)

from promptology.claims import announced, measuring, recording, running
from promptology.cli.app import run

TOYS = """
[[claim]]
id = "toy-plain"
method = "toy"
says = "More is \\u001b[31mmore."
card = 1
fixture = "none"
arms = { a = "first", b = "second" }
equal = "all"
metric = "score, 0 to 2"
rule = "better(a, b)"
seeds = 3
minutes = 0.1
placebo = "b"

[[claim]]
id = "toy-together"
method = "toy"
says = "Less is more."
card = 1
fixture = "none"
arms = { a = "first", b = "second" }
equal = "all"
metric = "score"
rule = "better(b, a)"
seeds = 3
minutes = 0.1

[[claim]]
id = "later-one"
method = "later"
says = "One day."
card = 1
fixture = "none"
arms = { a = "first", b = "second" }
equal = "all"
metric = "score"
rule = "better(b, a)"
seeds = 3
minutes = 0.1
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Put toy claims in the place of the announced ones, and the record into a folder of its own."""
    folder = tmp_path / "announced"
    folder.mkdir()
    (folder / "toys.toml").write_text(TOYS, encoding="utf-8")
    digest = hashlib.sha256(TOYS.encode()).hexdigest()
    (folder / announced.SUMS).write_text(f"{digest}  toys.toml\n")
    known = {id: measuring.measurement(id) for id in ("toy-plain", "toy-together")}
    monkeypatch.setattr(announced, "FOLDER", folder)
    monkeypatch.setattr(running, "measurements", lambda: known)
    monkeypatch.setattr(measuring, "measurements", lambda: known)
    monkeypatch.setattr(recording, "RECORD", tmp_path / "record.json")
    return folder


def test_claims_are_shown_with_what_the_paper_says_what_was_measured_and_the_verdict(toys, capsys):
    assert run(["claims"]) == 0  # a claim that is not reproduced is no error
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "[1/2] toy-plain",
        "toy-plain: reproduced",
        "[2/2] toy-together",
        "toy-together: not reproduced",
    ]
    lines = [line.rstrip() for line in said.out.splitlines()]
    assert lines[0].startswith("toy-plain: reproduced (3 seeds, ")
    assert lines[1:10] == [
        "  More is \\u001b[31mmore.",  # the terminal is not told to
        "  measured: score, 0 to 2",
        "    arm          score                 threads",
        "    a            1.100 [0.852, 1.348]  1",
        "    b (placebo)  0.600 [0.352, 0.848]  1",
        "    rule                                measured              holds",
        f"    better(a, b) (against the placebo)  {lines[7].split('placebo)  ')[1]}",
        "",
        lines[9],
    ]
    assert lines[7].split()[-1] == "yes" and "0.500" in lines[7]
    assert lines[9].startswith("toy-together: not reproduced (3 seeds, ")
    assert lines[-1] == (
        "2 claims: 1 reproduced, 1 not reproduced; announced of methods that are not there yet: 1 (later)"
    )


def test_the_document_holds_everything_and_the_record_takes_it(toys, capsys):
    assert run(["claims", "toy", "--json", "--save"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert set(document) == {"claims", "not_landed", "version", "commit", "dirty", "date", "python", "versions"}
    keys = "id method family says arms metric value interval rule verdict seeds seconds terms reason"
    assert " ".join(document["claims"][0]) == keys
    assert [c["verdict"] for c in document["claims"]] == ["reproduced", "not reproduced"]
    assert document["claims"][0]["family"] == "toys" and document["claims"][0]["arms"]["b"]["placebo"]
    assert "\x1b" not in said.out and "numpy" in document["versions"]
    assert "recorded toy-plain, toy-together in " in said.err
    (results,) = recording.recorded(recording.RECORD).values()
    assert [r["commit"] for r in results] == [document["commit"]] * 2


def test_the_list_says_what_is_there_and_measures_nothing(toys, capsys, home):
    assert run(["claims", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["claim", "toy-plain", "toy-together", "later-one"]
    assert lines[1].endswith("not recorded") and lines[3].endswith("method not landed")
    assert run(["claims", "--list", "--json", "later"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["claims"]
    assert (entry["id"], entry["landed"], entry["recorded"]) == ("later-one", False, None)
    assert not (home / "claims").exists()


def test_a_method_that_is_not_landed_is_listed_as_such(toys, capsys):
    assert run(["claims", "later"]) == 0
    assert capsys.readouterr().out == (
        "no claim of a landed method; announced of methods that are not there yet: 1 (later)\n"
    )


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crash", "promptology: toy-plain: a, seed 2: ValueError: two is too much (all of it: "),
        ("slow", "promptology: toy-plain: over its limit of 0.05 minutes; "),
    ],
)
def test_an_error_is_one_clear_line_and_exit_code_2(toys, capsys, monkeypatch, fault, says):
    monkeypatch.setenv("TOY_FAULT", fault)
    assert run(["claims", "toy-plain", "--limit", "0.05" if fault == "slow" else "1"]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(says)
    assert "toy-plain: error\n" in said.out and said.out.splitlines()[-1] == "1 claim: 1 error"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["toyy"], "nothing is announced of a method 'toyy': did you mean 'toy'? there are toy, later"),
        (["--family", "soft"], "no claims of a family 'soft'; there are toys"),
        (["--limit", "0"], "--limit is a number of minutes above 0, not 0"),
        (["--limit", "nan"], "--limit is a number of minutes above 0, not nan"),
    ],
)
def test_bad_input_is_one_line(toys, capsys, arguments, says):
    assert run(["claims", *arguments]) == 2
    assert capsys.readouterr().err == f"promptology: {says}\n"


def test_a_claims_file_that_was_altered_or_is_missing_is_one_line(toys, capsys):
    (toys / "toys.toml").write_text(TOYS.replace("better(b, a)", "better(a, b)"))
    assert run(["claims", "--list"]) == 2
    assert capsys.readouterr().err == (
        f"promptology: claims in {toys}: toys.toml was altered (its sha256 differs); reinstall promptology\n"
    )
    (toys / "toys.toml").unlink()
    assert run(["claims"]) == 2
    assert "toys.toml is missing; reinstall promptology" in capsys.readouterr().err


def test_nothing_is_measured_for_a_record_that_cannot_be_kept(toys, capsys, monkeypatch, tmp_path, home):
    recording.RECORD.write_text('{"format": 7, "claims": []}')
    assert run(["claims", "--save"]) == 2
    assert "has the format 7 of another version of promptology" in capsys.readouterr().err
    monkeypatch.setattr(recording, "PACKAGE", tmp_path / "elsewhere")
    assert run(["claims", "--save"]) == 2
    assert "is no git checkout with a commit" in capsys.readouterr().err
    assert not (home / "claims").exists()


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, home):
    command = [sys.executable, "-m", "promptology", "claims", "spo-cost", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), stdout=-1, stderr=-1, text=True)
    records = lambda: {p: p.stat().st_mtime_ns for p in home.glob("claims/spo/*.json")}  # noqa: E731
    deadline = time.monotonic() + 60
    while len(records()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == ""
    assert err.splitlines()[-1] == (
        "promptology: interrupted; what was measured is kept: the same command goes on from there"
    )
    kept = records()
    assert 2 <= len(kept) < 10
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and json.loads(done.stdout)["claims"][0]["verdict"] == "reproduced"
    assert len(records()) == 10 and kept.items() <= records().items()
