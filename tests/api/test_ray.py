"""Arms x seeds as Ray tasks, on one node with two workers and a real HTTP server: the same results as one by one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from counting import counting
from postgres_server import databases  # noqa: F401

import promptology as pt
from promptology.errors import UsageError
from promptology.models.simulated import SimulatedChat
from promptology.run.store import SQLiteStore, open_store

ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "promptology[ray]"')
KEY = "sk-ray-secret-0123456789"
VARYING = ("seconds", "paid", "learning_paid", "created")
METHODS = (pt.FewShot(shots=2), pt.RandomSearch(candidates=2, shots=1))


@pytest.fixture(scope="module")
def two_workers():
    """Start Ray as a user would, once for all tests that are not about starting it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=80 * 2**20,
    )
    yield Path(ray._private.worker._global_node.get_session_dir_path())
    ray.shutdown()


def stable(value):
    """Drop times and what was paid; everything else must be equal."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if k not in VARYING}
    return [stable(v) for v in value] if isinstance(value, list) else value


def run(task, url, home, monkeypatch, workers=None, **options):
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(home))
    model = pt.model(f"openai:m@{url}", **options.pop("model", {}))
    return pt.compare(task, model, METHODS, budget="200calls", seeds=2, workers=workers, **options)


def test_the_same_as_one_after_the_other(two_workers, colours, tmp_path, monkeypatch):
    chat = SimulatedChat("features")
    seen = []
    with counting(chat=chat, latency=0.01) as server:
        options = {"observe": lambda event, values: seen.append((event, values))}
        single = run(colours, server.url, tmp_path / "one", monkeypatch)
        before = server.by_model.total()
        parallel = run(colours, server.url, tmp_path / "two", monkeypatch, "ray", **options)
        assert stable(parallel.document) == stable(single.document)
        for mine, theirs in zip(parallel.results, single.results, strict=True):
            assert mine.learned.to_json() == theirs.learned.to_json()
            assert mine.evidence == theirs.evidence
            assert (mine.charged._replace(seconds=0), mine.run) == (theirs.charged._replace(seconds=0), theirs.run)
            assert pt.load(mine.folder / "prompt").to_json() == mine.learned.to_json()
            assert mine.folder == tmp_path / "two" / "runs" / mine.run
        stores = [SQLiteStore(tmp_path / name / "store.sqlite") for name in ("one", "two")]
        for mine in parallel.results:
            events = [{n: (e.key, e.state, e.charged) for n, e in s.events(mine.run).items()} for s in stores]
            assert events[0] == events[1] != {}
        rows = [sorted((r.id, r.status, r.spec["seed"], r.result) for r in s.runs()) for s in stores]
        assert rows[0] == rows[1]
        assert {row[1] for row in rows[0]} == {"done"}
        assert {s.open_test(colours.items_fingerprint(), "x") for s in stores} == {5}
        calls = server.by_model.total()
        assert calls - before >= sum(r.paid.calls for r in parallel.results) > 0
        run(colours, server.url, tmp_path / "two", monkeypatch, "ray")
        run(colours, server.url, tmp_path / "two", monkeypatch)
        assert server.by_model.total() == calls  # finished runs cost nothing to see again, on Ray or not
        wider = pt.FewShot(shots=3)
        more = pt.compare(colours, pt.model(f"openai:m@{server.url}"), [wider], budget="200calls", workers="ray")
        assert more.results[0].paid.calls < more.results[0].charged.calls  # answers of earlier runs are seen
    assert [v["number"] for e, v in seen if e == "start"] == [1, 2, 3, 4]
    assert sorted(v["done"] for e, v in seen if e == "end") == [1, 2, 3, 4]
    assert not list((tmp_path / "two").rglob("run.sqlite*"))
    assert ray.is_initialized()  # it was the user's, and stays


def copycat(prompt):
    question = prompt.rstrip().splitlines()[-1]
    for block in prompt.split("Input: ")[1:]:
        source, _, rest = block.partition("\nOutput: ")
        if source.split()[0] == question.split()[0]:
            return rest.splitlines()[0]
    return default()


def default():
    return "red"


def test_functions_of_the_user_travel(two_workers, colours):
    def exact(prediction, target):
        return float(prediction == target)

    task = colours.with_metric(exact)
    comparison = pt.compare(task, copycat, [pt.FewShot(shots=6)], budget="300calls", workers="ray:1")
    assert comparison.rows()[0]["verdict"] == "better"
    assert comparison.results[0].predict(["grass", "sky"]) == ["green", "blue"]
    held = threading.Lock()
    with pytest.raises(UsageError, match=r"model guarded cannot be sent to a worker.*lock"):

        def guarded(prompt):
            with held:
                return "red"

        pt.compare(colours, guarded, ["manual"], budget="300calls", workers="ray")


def test_a_worker_that_dies_is_replaced(two_workers, colours, tmp_path):
    counted, died = tmp_path / "counted", tmp_path / "died"

    def mortal(prompt):
        with counted.open("a") as file:
            file.write("x")
        time.sleep(0.03)  # longer than an answer waits for its row
        if counted.stat().st_size == 10 and not died.exists():
            died.touch()
            os._exit(1)
        return "red"

    comparison = pt.compare(colours, mortal, ["manual", "manual"], budget="300calls", workers="ray")
    assert died.exists()
    first, second = comparison.results  # the same run twice is one run
    assert first.run == second.run
    # the one that killed it and the one before, which it takes to notice that 20 ms have passed
    assert first.charged.calls < counted.stat().st_size <= first.charged.calls + 2


def test_a_failed_run_lets_the_others_finish(two_workers, colours, tmp_path, monkeypatch):
    broken = [True]
    with counting(chat=SimulatedChat("features")) as server:
        server.fault = lambda n: 401 if broken[0] and server.by_model["writer"] >= 2 else 0
        # the second question to the optimizer is refused, and so is everything after it
        arguments = (colours, pt.model(f"openai:m@{server.url}"), ["manual", METHODS[1]])
        options = {
            "budget": "200calls",
            "workers": "ray:1",
            "helpers": {"optimizer": pt.model(f"openai:writer@{server.url}")},
        }
        with pytest.raises(pt.PromptologyError, match=r"^random-search, seed 0: .*refused.*finished and kept"):
            pt.compare(*arguments, **options)
        rows = {r.spec["method"]: r.status for r in SQLiteStore().runs()}
        assert rows == {"manual": "done", "random-search": "failed"}
        broken[0] = False
        assert pt.compare(*arguments, **options).rows()[1]["method"] == "random-search"
        assert max(server.answered.values()) == 1  # nothing that was answered was asked again


def test_keys_reach_the_workers_and_nothing_else(two_workers, colours, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)  # set after Ray has started: its workers do not have it by themselves
    with counting(chat=SimulatedChat("features")) as server:
        run(colours, server.url, tmp_path / "home", monkeypatch, "ray", model={"key_env": "MY_KEY"})
        assert {h["Authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    assert not holding(KEY, tmp_path, two_workers)


def holding(text, *folders):
    """Return the files that hold a text."""
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    assert files
    return [p for p in files if text.encode() in p.read_bytes()]


def ray_processes(home):
    """Return the processes of Ray, by number, that carry this home in their environment."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(home).encode() in (entry / "environ").read_bytes():
                line = (entry / "cmdline").read_bytes()
                if b"promptology" not in line and line:
                    found[int(entry.name)] = line[:60]
    return found


def gone(home, *aside):
    """Wait until no process of Ray is left, those with these names aside; return what is."""
    end = time.monotonic() + 15
    while left := {n: line for n, line in ray_processes(home).items() if not line.startswith(aside)}:
        if time.monotonic() > end:
            return left
        time.sleep(0.1)
    return {}


AGENTS = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")
"""Helpers that Ray keeps for a minute after its driver was killed, until they give up reporting it."""


def test_killed_and_interrupted_commands_continue(tmp_path, colours_csv):
    home = tmp_path / "home"
    env = {**os.environ, "PROMPTOLOGY_HOME": str(home)}
    with counting(chat=SimulatedChat("features"), latency=0.1) as server:
        command = [
            *(sys.executable, "-m", "promptology", "compare", "--task", str(colours_csv)),
            *("--model", f"openai:m@{server.url}", "--method", "few-shot,random-search", "--budget", "200calls"),
            *("--seeds", "2", "--json", "--workers"),
        ]
        told = {}
        for how, code, aside in ((signal.SIGINT, 130, ()), (signal.SIGKILL, -9, AGENTS)):
            enough = server.by_model["m"] + 20
            process = subprocess.Popen(
                [*command, "ray:2"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            while server.by_model["m"] < enough and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(how)
            told[how] = process.communicate(timeout=60)[1]
            assert process.returncode == code, told
            assert gone(home, *aside) == {}
            for number in ray_processes(home):
                os.kill(number, signal.SIGKILL)
            assert "Traceback" not in told[how]
            assert "Ray" not in told[how]
        assert told[signal.SIGINT].splitlines()[-1].startswith("promptology: interrupted; what was answered is kept")
        assert "continued" in told[signal.SIGKILL]
        assert list(home.rglob("run.sqlite"))  # what the killed driver could not merge, the next command does
        done = subprocess.run([*command, "32"], env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert not list(home.rglob("run.sqlite"))
    runs = [run for arm in json.loads(done.stdout)["arms"] for run in arm["seeds"]]
    assert len(runs) == 4
    charged, paid = (sum(e[of]["calls"] for run in runs for e in run["ledger"]) for of in ("charged", "paid"))
    in_flight = 2 * 2 * 16  # of two workers, at the kill and at the interruption
    assert server.answered.total() <= charged + in_flight  # nothing answered was asked twice by the run that had it
    # What a killed worker was answered is in the ledger, but for requests that it marked in its last 20 ms.
    assert server.answered.total() <= paid + 2 * 16


def test_without_ray_there_is_one_line(colours, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "promptology\[ray\]"'):
        pt.compare(colours, copycat, ["manual"], budget="300calls", workers="ray")


def test_a_store_that_every_machine_reaches_is_used_directly(two_workers, colours, databases, tmp_path, monkeypatch):  # noqa: F811
    address = databases.address(databases.new().partition("@/")[2].partition("?")[0], password="sekret-word")
    monkeypatch.setenv("PROMPTOLOGY_STORE", address)
    with counting(chat=SimulatedChat("features")) as server:
        there = run(colours, server.url, tmp_path / "there", monkeypatch, "ray")
        calls = server.by_model.total()
        store = open_store(address)
        assert {row.status for row in store.runs()} == {"done"}
        assert store.open_test(colours.items_fingerprint(), there.results[0].run) == 4
        store.close()
        again = run(colours, server.url, tmp_path / "there", monkeypatch)
        assert stable(again.rows()) == stable(there.rows())
        assert server.by_model.total() == calls
    assert not list((tmp_path / "there").rglob("*.sqlite*"))
    assert not holding("sekret-word", tmp_path, two_workers)


def test_an_address_where_nothing_answers(two_workers, colours, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match=r"nothing answers at RAY_ADDRESS=127.0.0.1:1 .*ray start --head"):
        pt.compare(colours, copycat, ["manual"], budget="300calls", workers="ray")
