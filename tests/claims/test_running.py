"""The runner: units recorded and shared, limits, crashes, and verdicts that say what happened."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import replace

import pytest
import toy_claims

from promptology.claims.announced import Entry
from promptology.claims.measuring import Measurement, measurement
from promptology.claims.running import not_landed, run_claims
from promptology.claims.units import RecordedBench, Records, mark
from promptology.errors import StoreError
from promptology.zoo import folders

TOY = Entry(
    "toy-plain",
    "toy",
    "More is more.",
    "1",
    "no fixture",
    {"a": "first", "b": "second"},
    "all",
    "score",
    "better(a, b, by=0.4) and at_most(threads: a, 1)",
    4,
    0.1,
    placebo="b",
    family="toys",
)
AGAIN = replace(TOY, id="toy-again", says="The same again.", rule="better(a, b)", placebo="")
TOGETHER = replace(TOY, id="toy-together", rule="better(b, a)", seeds=3, placebo="")
KNOWN = {id: measurement(id) for id in ("toy-plain", "toy-again", "toy-together", "toy-zoo")}


@pytest.fixture
def calls(tmp_path, monkeypatch):
    path = tmp_path / "calls.txt"
    monkeypatch.setenv("TOY_CALLS", str(path))
    return lambda: path.read_text().splitlines() if path.exists() else []


def run(*chosen, **options):
    return run_claims(chosen, known=KNOWN, **options)


def records(home):
    return sorted((home / "claims").glob("toy/*.json"))


def test_a_claim_is_measured_judged_and_never_measured_twice(calls, home):
    events = []
    (result,) = run(TOY, report=lambda event, values: events.append((event, dict(values))))
    assert len(calls()) == 9 and calls().count("once") == 1
    assert calls()[:4] == ["plain a 0", "once", "plain b 0", "plain a 1"]  # seed by seed
    assert result["verdict"] == "reproduced" and result["reason"] == "" and result["seconds"] >= 0
    assert result["value"] == pytest.approx(0.5) and result["interval"] == pytest.approx([0.5, 0.5])
    assert result["arms"]["a"]["text"] == "first"
    assert result["arms"]["a"]["metrics"]["score"]["values"] == pytest.approx([1.0, 1.1, 1.2, 1.3])
    assert result["arms"]["a"]["metrics"]["score"]["mean"] == pytest.approx(1.15)
    assert [arm["placebo"] for arm in result["arms"].values()] == [False, True]
    assert [term["holds"] for term in result["terms"]] == [True, True]
    assert events[0] == ("begin", {"id": "toy-plain"})
    assert events[1] == ("unit", {"id": "toy-plain", "done": 1, "total": 8})
    assert events[-1] == ("end", {"id": "toy-plain", "verdict": "reproduced", "reason": ""})
    json.dumps(result, allow_nan=False)
    assert len(records(home)) == 9 and not list((home / "claims").glob("*.log"))
    assert run(TOY) == [result]
    # Another entry with the same arms on the same fixture shares the runs, whatever its rule and its id.
    (shared,) = run(AGAIN)
    assert shared["arms"]["a"]["metrics"] == result["arms"]["a"]["metrics"] and shared["verdict"] == "reproduced"
    assert len(calls()) == 9


def test_all_arms_of_a_seed_together_and_claims_side_by_side(calls):
    short, other = replace(TOY, seeds=2), replace(TOGETHER, rule="ratio(b, a) <= 1")
    results = run(short, other, workers=2)
    assert [r["id"] for r in results] == ["toy-plain", "toy-together"]
    assert [r["verdict"] for r in results] == ["reproduced", "not reproduced"]
    assert results[1]["value"] == pytest.approx((2 / 1 * 2 / 2 * 2 / 3) ** (1 / 3))
    assert [line for line in calls() if line.startswith("together")] == ["together 0", "together 1", "together 2"]


def test_a_claim_over_its_limit_is_an_error_and_goes_on_from_there(calls, monkeypatch, home):
    monkeypatch.setenv("TOY_FAULT", "slow fork")
    began = time.monotonic()
    (result,) = run(TOY, limit=0.06)
    assert time.monotonic() - began < 20
    assert result["verdict"] == "error" and result["value"] is None and result["arms"]["a"]["metrics"] == {}
    assert re.fullmatch(
        r"over its limit of 0\.06 minutes; (\d of 8 units are|what was chosen is) kept, the same command goes on",
        result["reason"],
    )
    before = len(records(home))
    monkeypatch.delenv("TOY_FAULT")
    (result,) = run(TOY)
    assert result["verdict"] == "reproduced" and len(records(home)) == 9
    # Nothing but the unit that was under way is measured twice, and the choice is made once.
    assert len(calls()) - 9 <= 1 and calls().count("once") == 1 and before >= 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("crash", "a, seed 2: ValueError: two is too much"),
        ("killed", "its process ended by signal SIGKILL: a measurement may print"),
        ("nan", "a, seed 2: arm a: value is nan"),
        ("text", "a, seed 2: arm a: measured 'much', not a number"),
    ],
)
def test_a_crash_is_an_error_with_its_last_line_and_what_was_done_is_kept(fault, says, calls, monkeypatch, home):
    monkeypatch.setenv("TOY_FAULT", fault)
    (result,) = run(replace(TOY, seeds=3))
    assert result["verdict"] == "error" and result["reason"].startswith(says)
    log = home / "claims" / "toy-plain.log"
    assert result["reason"].endswith(f"(all of it: {log})") and log.is_file()
    assert "\n" not in result["reason"]
    assert len(records(home)) == 5


def test_measurements_of_other_arms_a_rule_without_its_metric_and_no_measurement_are_errors(monkeypatch):
    monkeypatch.setenv("TOY_FAULT", "arms")
    wrong, lacking = run(TOGETHER, replace(TOY, id="toy-none", method="spo"), workers=2)
    assert wrong["reason"].startswith("seed 0: measured the arms a, b, c; there are a, b")
    assert lacking["verdict"] == "error" and lacking["reason"] == "no file of claims/methods measures 'toy-none'"
    (unjudged,) = run(replace(TOY, seeds=2, rule="better(loss: a, b)"))
    assert unjudged["verdict"] == "error" and "is about 'loss'" in unjudged["reason"]


def test_a_zoo_model_that_is_not_there_is_a_missing_fixture(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "RELEASED", tmp_path)
    (result,) = run(replace(TOY, id="toy-zoo"))
    assert result["verdict"] == "fixture missing"
    assert result["reason"] == "zoo model 'word-t5' is not there; build it with `promptology zoo build word-t5`"


def test_entries_of_methods_that_are_not_landed_are_listed_and_not_run(calls):
    future = replace(TOY, id="later-one", method="later")
    assert run_claims([future], known=KNOWN) == [] and calls() == []
    assert not_landed([TOY, future], KNOWN) == [
        {"id": "later-one", "method": "later", "family": "toys", "says": "More is more."}
    ]


def test_an_interrupt_ends_the_processes_and_begins_no_other(monkeypatch, calls, home):
    monkeypatch.setenv("TOY_FAULT", "slow")

    def report(event, values):
        if event == "unit" and values["done"] == 4:
            threading.Timer(0.2, os.kill, (os.getpid(), 2)).start()

    with pytest.raises(KeyboardInterrupt):
        run(TOY, TOGETHER, report=report)
    assert len(records(home)) == 5 and not [line for line in calls() if line.startswith("together")]


def test_a_record_that_is_damaged_is_measured_again(calls, home):
    chosen = replace(TOY, seeds=2)
    (result,) = run(chosen)
    before = len(calls())
    records(home)[0].write_text('{"value"')
    records(home)[1].write_text("[]")
    (again,) = run(chosen)
    assert again["arms"] == result["arms"] and 1 <= len(calls()) - before <= 2


def test_a_home_that_cannot_be_written_is_one_clear_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="set PROMPTOLOGY_HOME to a folder"):
        run(TOY)


def test_a_record_belongs_to_fixture_arm_metric_seed_and_code():
    base = Records(TOY, "code")
    paths = [
        base.unit("a", 0),
        base.unit("b", 0),
        base.unit("a", 1),
        base.unit("", 0),
        base.path("once", "base"),
        Records(TOY, "other code").unit("a", 0),
        *(Records(replace(TOY, **{field: "other"}), "code").unit("a", 0) for field in ("method", "fixture", "metric")),
    ]
    assert len(set(paths)) == len(paths)
    for same in (replace(TOY, id="x", says="x", rule="x", equal="x", seeds=9), replace(TOY, arms={"a": "first"})):
        assert Records(same, "code").unit("a", 0) == base.unit("a", 0)


def test_the_mark_covers_the_file_that_measures_and_not_other_claims(monkeypatch, tmp_path):
    before = mark(KNOWN["toy-plain"])
    assert mark(KNOWN["toy-again"]) == before  # one file
    other = Measurement("x", test_a_record_belongs_to_fixture_arm_metric_seed_and_code, False, ())
    assert mark(other) != before
    package = tmp_path / "package"
    counted = {
        "claims/methods/spo.py": False,
        "claims/running.py": False,
        "claims/record.json": False,
        "cli/app.py": False,
        "zoo/weights/word-t5/card.json": False,
        "run/meter.pyc": False,
        "run/meter.py": True,
        "claims/fixtures.py": True,
        "claims/measuring.py": True,
        "data/bundled/tickets.jsonl": True,
        "zoo/wordland/lists/words.txt": True,
    }
    for path in counted:
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text("1")
    monkeypatch.setattr("promptology.claims.units.PACKAGE", package)
    start = mark(KNOWN["toy-plain"])
    for path, counts in counted.items():
        (package / path).write_text("2")
        assert (mark(KNOWN["toy-plain"]) != start) is counts, path
        (package / path).write_text("1")


def test_choices_that_hold_for_all_seeds_are_counted_once_in_time():
    bench = RecordedBench(Records(TOY, "code"))

    def busy(seconds, value):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return value

    assert bench.once("outer", lambda: (busy(0.05, 0), bench.once("inner", lambda: busy(0.1, [1]))))[1] == [1]
    assert bench.used["inner"] == pytest.approx(0.1, abs=0.04)
    assert bench.used["outer"] == pytest.approx(0.05, abs=0.04)
    assert bench.making == pytest.approx(0.15, abs=0.06)
    later = RecordedBench(Records(TOY, "code"))
    assert later.once("outer", toy_claims.called) == [0, [1]] and later.making == 0
