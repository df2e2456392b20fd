"""The meter: exact budgets, replay, cache, missing answers."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

from promptology.errors import BudgetEnded, ReplayError, TooManyMissing
from promptology.models.access import Answer, Failure, Request
from promptology.run.budget import Budget
from promptology.run.cost import Cost, Price
from promptology.run.meter import Limits, Meter
from promptology.run.store import SQLiteStore


class Echo:
    """Answers with the prompt; fails where told to; counts every attempt."""

    local = False

    def __init__(self, name="echo", fail=None, tokens=(10, 5)):
        self.name = self.identity = name
        self.fail = fail or {}
        self.tokens = tokens
        self.calls = Counter()
        self.lock = threading.Lock()

    @property
    def total(self):
        return sum(self.calls.values())

    def generate(self, requests, attempts=1):
        # Last first, as a concurrent model may: order of arrival must not matter.
        for n, request in reversed(list(enumerate(requests))):
            text = request.messages[-1][1]
            for attempt in range(1, attempts + 1):
                self.calls[text] += 1
                if self.calls[text] > self.fail.get(text, 0):
                    yield n, Answer(f"{text}/{request.sample}/{request.seed}", *self.tokens, False, attempt)
                    break
            else:
                yield n, Failure("HTTP 503", True, attempts)


def ask(*texts, **settings):
    return [Request.user(t, **settings) for t in texts]


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore(tmp_path / "store.sqlite")
    store.create_run("r", {})
    yield store
    store.close()


def texts(outcomes):
    return [o.text.split("/")[0] if isinstance(o, Answer) else None for o in outcomes]


def test_answers_come_back_in_order_and_are_charged_once(store):
    model, meter = Echo(), Meter(store, "r")
    assert texts(meter.generate("model", model, ask("a", "b", "a"))) == ["a", "b", "a"]
    assert texts(meter.generate("model", model, ask("b", "c"))) == ["b", "c"]
    assert model.calls == {"a": 1, "b": 1, "c": 1}
    assert meter.charged == Cost(3, 30, 15)
    assert meter.charged == meter.paid


def test_another_run_is_charged_but_pays_nothing(store):
    model = Echo()
    Meter(store, "r").generate("model", model, ask("a", "b"))
    store.create_run("s", {})
    second = Meter(store, "s")
    assert texts(second.generate("model", model, ask("a", "b", "c"))) == ["a", "b", "c"]
    assert model.total == 3
    assert second.charged.calls == 3
    assert second.paid.calls == 1


def test_cache_off_sees_no_other_run_and_still_replays_its_own(store):
    model = Echo()
    Meter(store, "r").generate("model", model, ask("a"))
    store.create_run("s", {})
    Meter(store, "s", cache=False).generate("model", model, ask("a"))
    assert model.total == 2
    again = Meter(store, "s", cache=False)
    again.generate("model", model, ask("a"))
    assert model.total == 2
    assert again.paid.calls == 1


@pytest.mark.parametrize("change", [{"identity": "other"}, {"role": "judge"}, {"max_tokens": 9}, {"stop": ("x",)}])
def test_key_holds_endpoint_role_and_settings(store, change):
    model, meter = Echo(), Meter(store, "r")
    meter.generate("model", model, ask("a"))
    other = Echo()
    other.identity = change.pop("identity", "echo")
    meter.generate(change.pop("role", "model"), other, ask("a", **change))
    assert other.total == 1


def test_sampling_puts_the_seed_in_the_key_and_zero_temperature_does_not(store):
    model = Echo()
    for seed in (0, 1):
        meter = Meter(store, "", seed=seed)
        meter.generate("model", model, ask("cold"))
        meter.generate("model", model, ask("warm", temperature=1.0))
    assert model.calls == {"cold": 1, "warm": 2}


def test_fresh_asks_for_new_samples_and_plain_repeats_are_hits(store):
    model, meter = Echo(), Meter(store, "r")
    first = meter.generate("model", model, ask("a", "a", temperature=0.5), fresh=True)
    second = meter.generate("model", model, ask("a", temperature=0.5), fresh=True)
    assert [o.text.split("/")[1] for o in first + second] == ["0", "1", "2"]
    assert len({o.text for o in first + second}) == 3
    meter.generate("model", model, ask("a", temperature=0.5))
    assert model.total == 3


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_count_limit_is_never_exceeded_and_nothing_is_sent_that_does_not_fit(store, limit):
    model, meter = Echo(), Meter(store, "r", budget=Budget.parse(f"{limit}calls"))
    sent = 0
    try:
        for n in range(20):
            meter.generate("model", model, ask(*[f"{n}-{i}" for i in range(3)]))
            sent += 3
    except BudgetEnded:
        pass
    assert model.total == sent == limit // 3 * 3
    assert meter.stopped


@pytest.mark.parametrize("limit", range(4, 16))
def test_retries_stay_inside_the_limit_and_are_granted_in_submission_order(store, limit):
    fail = {"b": 2, "c": 1, "d": 9}
    model, meter = (
        Echo(fail=fail),
        Meter(store, "r", budget=Budget.parse(f"{limit}calls"), limits=Limits(missing=1.0)),
    )
    got = texts(meter.generate("model", model, ask("a", "b", "c", "d")))
    assert model.total <= limit
    assert meter.charged.calls == model.total
    assert got[0] == "a"
    # A later request never gets the retry that an earlier one was refused.
    assert model.calls["b"] >= model.calls["c"]


def test_tokens_and_money_are_reserved_at_their_worst_case(store):
    price = {"model": Price(1e6, 1e6)}
    request = ask("x" * 100, max_tokens=50)
    worst = 100 + 8 + 8 + 50
    for unit in ("tok", "usd"):
        model = Echo(tokens=(20, 10))
        with pytest.raises(BudgetEnded):
            Meter(store, "", budget=Budget.parse(f"{worst - 1}{unit}"), prices=price).generate("model", model, request)
        assert model.total == 0
    meter = Meter(store, "", budget=Budget.parse(f"{worst}usd"), prices=price)
    meter.generate("model", Echo(name="fits", tokens=(20, 10)), request)
    assert meter.charged.usd == pytest.approx(30.0)


def test_held_back_resources_are_not_touched(store):
    model, meter = Echo(), Meter(store, "r", budget=Budget.parse("10calls"))
    meter.held_back = {"calls": 4}
    meter.generate("model", model, ask(*"abcdef"))
    with pytest.raises(BudgetEnded):
        meter.generate("model", model, ask("g"))
    meter.held_back = {}
    meter.generate("model", model, ask(*"ghij"))
    assert model.total == 10


def test_a_second_process_replays_without_calls(store):
    model, meter = Echo(), Meter(store, "r")
    meter.generate("model", model, ask("a", "b"))
    vectors = meter.embed("model", Encoder(), ["x", "y"])
    again, encoder = Meter(store, "r"), Encoder()
    assert texts(again.generate("model", model, ask("a", "b"))) == ["a", "b"]
    np.testing.assert_array_equal(again.embed("model", encoder, ["x", "y"]), vectors)
    assert model.total == 2
    assert encoder.seen == []
    assert again.charged._replace(seconds=0) == meter.charged._replace(seconds=0)


class Encoder:
    name = identity = "encoder"
    local = True

    def __init__(self):
        self.seen = []

    def embed(self, texts):
        self.seen += texts
        return np.array([[len(t), 1.0] for t in texts], np.float32)


def test_embedding_charges_each_text_once_per_run_and_stops_at_its_limit(store):
    encoder, meter = Encoder(), Meter(store, "r", budget=Budget.parse("3passes"))
    out = meter.embed("model", encoder, ["a", "bb", "a"])
    assert out[:, 0].tolist() == [1, 2, 1]
    meter.embed("model", encoder, ["bb", "ccc"])
    assert meter.charged.passes == 3
    with pytest.raises(BudgetEnded):
        meter.embed("model", encoder, ["new"])
    assert encoder.seen == ["a", "bb", "ccc"]


def test_changed_code_is_told_in_one_line(store):
    Meter(store, "r").generate("model", Echo(), ask("a"))
    with pytest.raises(ReplayError, match="differs from the stored one"):
        Meter(store, "r").generate("model", Echo(), ask("changed"))


class Killed(BaseException):
    pass


class Dying(Echo):
    """Answers some requests, then the process ends."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def generate(self, requests, attempts=1):
        for n, (index, outcome) in enumerate(super().generate(requests, attempts)):
            if n == self.after:
                raise Killed
            yield index, outcome


@pytest.mark.parametrize("after", [0, 1, 3])
def test_answered_calls_survive_a_kill_and_lost_ones_are_paid_but_not_charged(store, after):
    with pytest.raises(Killed):
        Meter(store, "r").generate("model", Dying(after), ask(*"abcd"))
    model, meter = Echo(), Meter(store, "r")
    assert texts(meter.generate("model", model, ask(*"abcd"))) == list("abcd")
    assert model.total == 4 - after
    assert meter.charged.calls == 4
    assert meter.paid.calls == 4 + (4 - after)


def test_failures_are_rows_and_replay_until_asked_again(store):
    model = Echo(fail={"b": 99})
    limits = Limits(attempts=2, missing=1.0)
    assert texts(Meter(store, "r", limits=limits).generate("model", model, ask("a", "b"))) == ["a", None]
    assert model.calls["b"] == 2
    again = Meter(store, "r", limits=limits)
    assert texts(again.generate("model", model, ask("a", "b"))) == ["a", None]
    assert model.calls["b"] == 2
    assert again.charged.calls == 3
    model.fail = {}
    healed = Meter(store, "r", limits=limits, retry_failed=True)
    assert texts(healed.generate("model", model, ask("a", "b"))) == ["a", "b"]
    assert healed.paid.calls == 4


def test_too_many_missing_stops_the_run(store):
    model = Echo(fail=dict.fromkeys("abcdefgh", 99))
    with pytest.raises(TooManyMissing, match="HTTP 503"):
        Meter(store, "r", limits=Limits(attempts=1)).generate("model", model, ask(*"abcdefgh"))
    short = Meter(store, "", limits=Limits(attempts=1))
    short.generate("model", model, ask("a"))
    with pytest.raises(TooManyMissing):
        short.check_missing()


def test_the_clock_is_a_row_so_that_a_resumed_run_stops_at_the_same_place(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("promptology.run.meter.time.monotonic", lambda: now[0])
    model, meter = Echo(), Meter(store, "r", budget=Budget.parse("10s"))
    meter.generate("model", model, ask("a"))
    now[0] = 11.0
    with pytest.raises(BudgetEnded):
        meter.generate("model", model, ask("b"))
    now[0] = 0.0
    again = Meter(store, "r", budget=Budget.parse("1h"))
    again.generate("model", model, ask("a"))
    with pytest.raises(BudgetEnded):
        again.generate("model", model, ask("b"))
    assert model.total == 1
