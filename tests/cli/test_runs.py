"""runs: where they are stored, and how they are deleted."""

from __future__ import annotations

import json
import sqlite3

import pytest

import promptology as pt
from promptology.run.store import Event, using_store

MODEL = "def answer(prompt):\n    return 'red'\n"


@pytest.fixture
def two_runs(colours):
    """Two runs of one task, which share the answers for the test split."""
    return [pt.fit(colours, lambda prompt: "red", "manual", seed=seed).run for seed in (0, 1)]


def listed(cli, **env):
    return json.loads(cli("runs", "--json", env=env).stdout)


def test_where_the_store_lives_and_how_large_it_is(cli, two_runs, home):
    found = listed(cli)
    assert found["store"]["where"] == str(home / "store.sqlite")
    assert found["store"]["runs"] == 2 and found["store"]["answers"] > 0
    assert found["store"]["bytes"] >= (home / "store.sqlite").stat().st_size > 0
    shown = cli("runs").stdout
    assert all(run in shown for run in two_runs)
    assert f"store  {home / 'store.sqlite'}" in shown and "kB" in shown and "answers" in shown
    empty = cli("runs", env={"PROMPTOLOGY_STORE": str(home / "new.sqlite")})
    assert empty.stdout.startswith("no runs\n") and str(home / "new.sqlite") in empty.stdout


def test_deleting_one_run_keeps_the_answers(cli, two_runs, home):
    first, second = two_runs
    before = listed(cli)["store"]["answers"]
    done = cli("runs", "--delete", first[:8])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 run deleted: ") and "--answers deletes them" in done.stdout
    after = listed(cli)
    assert [run["run"] for run in after["runs"]] == [second]
    assert after["store"]["answers"] == before
    assert not (home / "runs" / first).exists() and (home / "runs" / second / "prompt").is_dir()
    assert cli("runs", first).returncode == 2
    again = cli("runs", "--delete", first)
    assert again.returncode == 2 and "no run" in again.stderr


def test_deleting_all_with_answers_and_what_it_tells(cli, two_runs, home):
    with using_store() as store:
        store.put_answer(b"of no run", b"x" * 1000)
        store.create_run("mine", {"task": {"name": "t"}, "method": "m", "models": {}, "budget": "", "seed": 0})
        store.put_answer(b"mine alone", b"y" * 500_000)
        store.put_event("mine", 0, Event(b"mine alone", "done"))
    (home / "runs" / "compare-0").mkdir()
    size = (home / "store.sqlite").stat().st_size
    told = json.loads(cli("runs", "--delete", "mine", "--answers", "--json").stdout)
    assert (told["deleted"], told["runs"], told["events"], told["answers"]) == (["mine"], 1, 1, 1)
    assert told["bytes"] > 500_000 and told["files"] == 0
    assert (home / "store.sqlite").stat().st_size < size - 400_000
    told = json.loads(cli("runs", "--delete", "all", "--answers", "--json").stdout)
    assert sorted(told["deleted"]) == sorted(two_runs) and told["files"] > 1000
    assert listed(cli)["store"]["answers"] == 0 and listed(cli)["runs"] == []
    assert list((home / "runs").iterdir()) == []
    assert json.loads(cli("runs", "--delete", "all", "--json").stdout)["runs"] == 0
    # How often the test split was seen stays known.
    with sqlite3.connect(home / "store.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM openings").fetchone()[0] > 0


def test_nothing_is_deleted_by_mistake(cli, two_runs):
    with using_store() as store, store.alone(two_runs[1]):
        for what in (two_runs[1], "all"):
            refused = cli("runs", "--delete", what)
            assert (refused.returncode, refused.stdout) == (2, "") and "going on in another process" in refused.stderr
    for wrong in (["--delete"], ["--delete", ""], ["--delete", "nosuch"], ["--answers"], ["--answers", two_runs[0]]):
        refused = cli("runs", *wrong)
        assert (refused.returncode, refused.stdout) == (2, "") and len(refused.stderr.splitlines()) == 1
    assert len(listed(cli)["runs"]) == 2


def test_resume_finds_the_store_from_anywhere(cli, colours_csv, tmp_path):
    """A relative place means the folder that the command was given in."""
    (tmp_path / "model.py").write_text(MODEL)
    env = {"PROMPTOLOGY_HOME": "here", "PROMPTOLOGY_STORE": "here/mine.sqlite"}
    done = cli("fit", "--task", colours_csv, "--model", "model:answer", "--method", "manual", "--json", env=env)
    run = json.loads(done.stdout)["arms"][0]["run"]
    (tmp_path / "elsewhere").mkdir()
    env = {"PROMPTOLOGY_HOME": "../here", "PROMPTOLOGY_STORE": "../here/mine.sqlite"}
    again = cli("resume", run, "--json", env=env, cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["arms"][0]["run"] == run
    assert [path.name for path in tmp_path.glob("**/*.sqlite")] == ["mine.sqlite"]
