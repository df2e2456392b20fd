"""Arrays and stretches of work that this process does itself: charged once, durable, within the budget."""

from __future__ import annotations

import numpy as np
import pytest
from training_method import Tiny

from promptology.errors import BudgetEnded, ReplayError, StoreError
from promptology.run.budget import Budget
from promptology.run.cost import Cost
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import SQLiteStore
from promptology.run.work import Span


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore(tmp_path / "store.sqlite")
    store.create_run("r", {})
    store.create_run("other", {})
    yield store
    store.close()


def handle(store, run="r", budget=None):
    return Handle(Meter(store, run, budget=Budget.parse(budget)), "model", Tiny())


def arrays(calls):
    def work():
        calls.append(1)
        return {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array([1, 2], np.int64)}

    return work


def charged(handle):
    return handle._meter.charged.passes, handle._meter.paid.passes


def test_arrays_are_found_again(store):
    calls = []
    one = handle(store)
    for _ in range(2):
        found = one.compute(["features", 1], 5, arrays(calls))
        assert found["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
        assert (found["a"].dtype, found["b"].dtype, found["b"].tolist()) == (np.float32, np.int64, [1, 2])
    assert (len(calls), charged(one)) == (1, (5, 5))
    one.compute(["features", 2], 5, arrays(calls))
    assert (len(calls), charged(one)) == (2, (10, 10))

    again = handle(store)
    again.compute(["features", 1], 5, arrays(calls))
    again.compute(["features", 2], 5, arrays(calls))
    assert (len(calls), charged(again)) == (2, (10, 10))

    other = handle(store, "other")
    other.compute(["features", 2], 5, arrays(calls))
    assert (len(calls), charged(other)) == (2, (5, 0))


def test_arrays_that_the_budget_does_not_cover_are_not_computed(store):
    calls = []
    one = handle(store, budget="9passes")
    one.compute(["features", 1], 5, arrays(calls))
    with pytest.raises(BudgetEnded):
        one.compute(["features", 2], 5, arrays(calls))
    assert one.compute(["features", 1], 5, arrays(calls))["b"].tolist() == [1, 2]
    assert (len(calls), charged(one)) == (1, (5, 5))


def test_other_arrays_in_their_place_stop_the_run(store):
    handle(store).compute(["features", 1], 5, arrays([]))
    with pytest.raises(ReplayError):
        handle(store).compute(["features", 2], 5, arrays([]))


def test_damaged_arrays_are_one_clear_line(store):
    one = handle(store)
    key = one._meter._keys.hash(["compute", "model", "tiny:1", "features"])
    store.put_answer(key, b"no arrays")
    with pytest.raises(StoreError, match="arrays in the store are damaged"):
        one.compute(["features"], 5, arrays([]))


def test_a_stretch_that_is_made_again_is_paid_again_and_charged_once(store):
    for life in (1, 2, 3):
        meter = Meter(store, "r")
        span = Span(meter, "model", ["a", 0])
        assert span.note == (None if life == 1 else "n")
        for _ in range(4):
            span.charge(Cost(passes=6))
        span.end("n")
        meter.flush()
        assert (meter.charged.passes, meter.paid.passes) == (24, 24 * life)


def test_an_open_stretch_goes_on(store):
    first = Meter(store, "r")
    span = Span(first, "model", ["a", 0])
    span.charge(Cost(passes=6))
    doc = span.to_json()
    span.charge(Cost(passes=6))
    span.end()  # done, and lost with the process but for its row
    first.flush()

    second = Meter(store, "r")
    span = Span.from_json(second, "model", doc)
    span.charge(Cost(passes=6))
    span.end()
    second.flush()
    assert (second.charged.passes, second.paid.passes) == (6, 12)  # and 6 that come with the state
    row = store.events("r")[0]
    assert (Cost.unpack(row.charged).passes, Cost.unpack(row.paid).passes) == (12, 18)


def test_a_stretch_stops_at_the_limit(store):
    meter = Meter(store, "r", budget=Budget.parse("10passes"))
    span = Span(meter, "model", ["a", 0])
    span.check(Cost(passes=10))
    with pytest.raises(BudgetEnded):
        span.check(Cost(passes=11))
    assert meter.stopped


def test_a_stretch_out_of_time_is_a_row(store):
    meter = Meter(store, "r", budget=Budget({"seconds": 0.0}))
    with pytest.raises(BudgetEnded):
        Span(meter, "model", ["a", 0])
    assert store.events("r")[0].state == "stop"
    again = Meter(store, "r", budget=Budget({"seconds": 100.0}))
    with pytest.raises(BudgetEnded):
        Span(again, "model", ["a", 0])
