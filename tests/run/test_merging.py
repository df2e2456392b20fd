"""Rows of a run carried between stores: late, twice, in any order, and nothing answered is lost."""

from __future__ import annotations

import random

import pytest

from promptology.run.cost import Cost
from promptology.run.merging import Rows, RunStore, absorb, rows_of
from promptology.run.store import Event, SQLiteStore

SPEC = {"method": "m", "seed": 0}


def event(state, calls=0, key=b"k"):
    cost = Cost(calls=calls).pack()
    return Event(key, state, "" if state == "sent" else cost, cost, "")


def rows(events, status="running", answers=None, elapsed=1.0, openings=(), result=None):
    return Rows("run1", SPEC, status, elapsed, result, events, answers or {}, openings)


@pytest.fixture
def store(tmp_path):
    opened = SQLiteStore(tmp_path / "main.sqlite")
    yield opened
    opened.close()


def test_there_and_back_again(store, tmp_path):
    own = RunStore(tmp_path / "own.sqlite")
    given = rows({0: event("done", 1, b"a"), 1: event("failed", 2, b"b"), 2: Event(b"", "stop")}, answers={b"a": b"A"})
    assert absorb(own, given) == 0
    assert rows_of(own, "run1") == given
    assert (own.open_test("task", "run1"), own.openings()) == (1, ("task",))
    own.set_status("run1", "done", {"evidence": "better"})
    store.open_test("task", "other")
    assert absorb(store, rows_of(own, "run1")) == 2
    assert absorb(store, rows_of(own, "run1")) == 2  # twice is once
    row = store.run("run1")
    assert (row.status, row.result, row.elapsed, row.spec) == ("done", {"evidence": "better"}, 1.0, SPEC)
    assert rows_of(store, "run1").events == given.events
    assert rows_of(store, "none") is None
    assert rows_of(store, "run") is None  # a beginning of an id is not the run
    own.close()


def test_a_position_keeps_the_row_that_got_further(store):
    ladder = [event("sent"), event("sent", 1), event("again", 2), event("failed", 3), event("done", 4)]
    for seed in range(20):
        order = ladder * 2
        random.Random(seed).shuffle(order)
        for one in order:
            absorb(store, rows({seed: one}))
        assert store.events("run1")[seed] == ladder[-1]


def test_a_finished_run_stays_finished(store):
    absorb(store, rows({0: event("done", 1)}, "done", elapsed=5.0, result={"x": 1}))
    absorb(store, rows({1: event("sent")}, "interrupted", elapsed=2.0))
    assert (store.run("run1").status, store.run("run1").elapsed, store.run("run1").result) == ("done", 5.0, {"x": 1})


def test_an_answer_that_is_there_stays(store):
    store.put_answer(b"a", b"first")
    absorb(store, rows({0: event("done", 1, b"a")}, answers={b"a": b"second"}))
    assert store.answers([b"a"]) == {b"a": b"first"}


def test_shared_answers_are_seen_and_not_taken_along(store, tmp_path):
    store.put_answer(b"a", b"A")
    store.commit()
    own = RunStore(tmp_path / "own.sqlite", SQLiteStore(tmp_path / "main.sqlite"))
    own.create_run("run1", SPEC)
    own.put_answer(b"b", b"B")
    own.put_event("run1", 0, event("done", 0, b"a"))
    own.put_event("run1", 1, event("done", 1, b"b"))
    own.commit("run1", 1.0)
    assert own.answers([b"a", b"b", b"c"]) == {b"a": b"A", b"b": b"B"}
    assert rows_of(own, "run1").answers == {b"b": b"B"}
    own.close()
    assert store.answers([b"b"]) == {}
