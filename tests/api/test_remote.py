"""What a worker does with a job, here in one process: on another machine, of another version, with keys."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import replace

import pytest
from counting import counting

import promptology as pt
from promptology.api.common import settings_of
from promptology.api.remote import FILE, Place, by_value, here, identify, pack, work
from promptology.api.running import Job
from promptology.errors import UsageError
from promptology.models.simulated import SimulatedChat
from promptology.run.merging import absorb, rows_of
from promptology.run.store import SQLiteStore, home


@pytest.fixture
def elsewhere(tmp_path):
    """A machine that shares nothing with this one but the network."""
    return Place("elsewhere", "/nowhere", str(tmp_path / "elsewhere"), (), pt.__version__)


def packed(job, task, model, rows=None):
    id = identify(job, task, model).id
    return (
        id,
        pickle.dumps((task, model, dict(job.helpers))),
        pickle.dumps((job.method, list(job.helpers), job.settings, id, rows)),
    )


def test_another_machine_goes_on_from_the_rows_that_were_sent(colours, elsewhere, tmp_path):
    before = dict(os.environ), list(sys.path), os.getcwd()
    with counting(chat=SimulatedChat("features")) as server:
        broken = [True]
        server.fault = lambda n: 401 if broken[0] and n > 30 else 0
        model = pt.model(f"openai:m@{server.url}")
        job = Job("few-shot, seed 0", pt.FewShot(shots=2), {}, settings_of("200calls"))
        id, common, first = packed(job, colours, model)
        failed = work(common, first, elsewhere)
        assert (failed.result, failed.kind, failed.rows.status) == (None, "ModelError", "failed")
        assert "refused" in failed.error
        store = SQLiteStore()
        absorb(store, failed.rows)
        broken[0] = False
        answered = server.answered.total()
        third = replace(elsewhere, home=str(tmp_path / "third"))  # yet another machine, which has no file of the run
        ended = work(common, packed(job, colours, model, rows_of(store, id))[2], third)
        assert max(server.answered.values()) == 1
        assert server.answered.total() > answered
        assert ended.rows.openings == (colours.items_fingerprint(),)
        assert absorb(store, ended.rows) == 1
        assert store.run(id).status == "done"
        assert (tmp_path / "third" / "runs" / id / FILE).is_file()
        assert ended.simulated == (model.identity,)
    assert (dict(os.environ), list(sys.path), os.getcwd()) == before
    assert not (home() / "runs" / id).exists()


def test_another_version_or_a_missing_file_is_one_line(colours, elsewhere):
    job = Job("manual, seed 0", pt.Manual(), {}, settings_of("200calls"))
    _, common, payload = packed(job, colours, pt.model("simulated:features"))
    old = work(common, payload, replace(elsewhere, version="0.0.1"))
    assert "this is 0.0.1; install the same on both" in old.error
    broken = work(b"cnowhere\nthing\n.", payload, elsewhere)
    assert "cannot open model or task: ModuleNotFoundError" in broken.error
    assert "\n" not in broken.error


def test_a_rate_limit_is_shared_out(colours, elsewhere):
    model = pt.model("openai:m@http://localhost:1/v1", rpm=60)
    model.share_rate(4)
    with counting(chat=SimulatedChat("features")) as server:
        shared = pt.model(f"openai:m@{server.url}", rpm=60_000)
        job = Job("manual, seed 0", pt.Manual(), {}, settings_of("20calls"))
        _, common, payload = packed(job, colours, shared)
        slow = work(common, payload, elsewhere, at_once=60).result
    assert slow.elapsed > 0.06 * (slow.charged.calls - 1)  # 60 processes: each a 60th of 1,000 a second


def test_keys_are_sent_apart_and_never_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    model = pt.model("openai:m@http://localhost:1/v1", key_env="MY_KEY")
    place = here([model, model], "postgresql://me:sekret@host/db")
    assert place.keys == {"MY_KEY": "sk-0123456789"}
    assert place.direct
    assert "sk-0123456789" not in repr(place)
    assert "sekret" not in repr(place)
    assert b"sk-0123456789" not in pickle.dumps(model)


def test_functions_of_a_users_file_travel_by_value(tmp_path, monkeypatch):
    cloudpickle = pytest.importorskip("ray").cloudpickle
    (tmp_path / "mine.py").write_text("WORDS = ['red']\n\ndef answer(prompt):\n    return WORDS[0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine

    model = pt.model(mine.answer)
    with by_value(cloudpickle, [model]):
        data = pack(cloudpickle.dumps, "model", model)
    monkeypatch.delitem(sys.modules, "mine")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    assert pickle.loads(data).fn("x") == "red"
    with pytest.raises(UsageError, match="model x cannot be sent to a worker"):
        pack(pickle.dumps, "model x", lambda: 0)
