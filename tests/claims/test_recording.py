"""The record of claims: merged per entry, of this version's format, written by a checkout alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from promptology.claims import recording
from promptology.claims.announced import entries
from promptology.claims.running import judged, result
from promptology.errors import UsageError

BY_ID = {entry.id: entry for entry in entries()}
BIAS, COST = BY_ID["spo-judge-bias"], BY_ID["spo-cost"]


def bias(accepted):
    return judged(BIAS, {"balanced": {"value": [0.0] * 5}, "random": {"value": accepted}}, 1.5)


def cost(calls):
    return judged(COST, {"spo": {"calls": [75.0] * 10}, "opro": {"calls": calls}}, 2.5)


def document(*results, commit="abc"):
    return {**recording.document(results, []), "commit": commit, "dirty": False}


def test_results_are_merged_per_entry_each_with_its_commit(tmp_path):
    path = tmp_path / "record.json"
    assert recording.recorded(path) == {}
    assert recording.save(document(cost([1800.0] * 10)), path) == ["spo-cost"]
    assert recording.save(document(bias([0.3, 0.31, 0.32, 0.3, 0.31]), commit="def"), path) == ["spo-judge-bias"]
    found = recording.recorded(path)["spo"]
    assert [(r["id"], r["commit"], r["verdict"]) for r in found] == [
        ("spo-cost", "abc", "reproduced"),
        ("spo-judge-bias", "def", "reproduced"),
    ]
    assert found[0]["value"] == 75 / 1800 and found[0]["version"] and found[0]["date"] and found[0]["python"]
    # A claim that is no longer reproduced takes the place of the one that was.
    recording.save(document(cost([1000.0] * 10), commit="ghi"), path)
    assert [(r["commit"], r["verdict"]) for r in recording.recorded(path)["spo"]] == [
        ("ghi", "not reproduced"),
        ("def", "reproduced"),
    ]
    assert "[0.3, 0.31, 0.32, 0.3, 0.31]" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_an_error_or_a_missing_fixture_replaces_nothing(tmp_path):
    path = tmp_path / "record.json"
    recording.save(document(cost([1800.0] * 10)), path)
    before = recording.recorded(path)
    late = result(COST, "error", "over its limit of 1 minutes")
    lacking = result(BIAS, "fixture missing", "zoo model 'word-t5' is not there")
    assert recording.save(document(late, lacking), path) == []
    assert recording.recorded(path) == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no record of claims"),
        ("[]", "is no record of claims"),
        ('{"claims": []}', "is no record of claims"),
        ('{"format": 1, "claims": [{"id": "spo-cost"}]}', "is no record of claims"),
        ('{"format": 2, "claims": {}}', "has the format 2 of another version of promptology, this one reads 1"),
    ],
)
def test_a_record_of_another_version_or_none_at_all_is_one_clear_line(tmp_path, text, says):
    path = tmp_path / "record.json"
    path.write_text(text)
    for act in (lambda: recording.recorded(path), lambda: recording.save(document(), path)):
        with pytest.raises(UsageError, match=says) as caught:
            act()
        assert "\n" not in str(caught.value) and "promptology claims --save" in str(caught.value)
    assert path.read_text() == text


def test_the_commit_says_when_files_of_the_package_differ(tmp_path, monkeypatch):
    package = tmp_path / "promptology"
    (package / "claims").mkdir(parents=True)
    (package / "one.py").write_text("1")
    monkeypatch.setattr(recording, "PACKAGE", package)
    monkeypatch.setattr(recording, "RECORD", package / recording.FILE)
    assert recording.source()["commit"] is None
    with pytest.raises(UsageError, match="is no git checkout with a commit; --json gives the same results"):
        recording.must_take()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run([*git, *arguments], check=True)
    recording.must_take()
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    (tmp_path / "notes.txt").write_text("beside the package")
    (package / "claims" / "record.json").write_text("{}")
    about = recording.source()
    assert head.startswith(about["commit"]) and len(about["commit"]) >= 12 and about["dirty"] is False
    (package / "two.py").write_text("2")
    assert recording.source()["dirty"] is True


def test_the_record_of_the_package_is_of_its_entries():
    for results in recording.recorded().values():
        for found in results:
            entry = BY_ID[found["id"]]
            assert (found["rule"], found["seeds"], found["metric"]) == (entry.rule, entry.seeds, entry.metric)
            assert {name: arm["text"] for name, arm in found["arms"].items()} == dict(entry.arms)
            values = {
                name: {metric: about["values"] for metric, about in arm["metrics"].items()}
                for name, arm in found["arms"].items()
            }
            again = json.loads(json.dumps(judged(entry, values, found["seconds"])))
            assert again["verdict"] == found["verdict"] and again["interval"] == pytest.approx(found["interval"])
