"""One batch: kills between two tries, retries of an earlier process, answers that nobody was asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from promptology.errors import BudgetEnded
from promptology.models.access import Answer, Failure, Request
from promptology.run import meter as meters
from promptology.run.budget import Budget
from promptology.run.cost import Cost
from promptology.run.meter import Limits, Meter
from promptology.run.store import SQLiteStore

PATIENT = Limits(attempts=3, missing=1.0)


class Killed(BaseException):
    pass


class Scripted:
    """Fails each text as often as told, one try a time; a number of outcomes may be let through before a kill."""

    local = False
    name = identity = "scripted"

    def __init__(self, fail=None, seen=None, lives=None, permanent=()):
        self.fail, self.permanent = fail or {}, permanent
        self.seen = Counter() if seen is None else seen
        self.lives = lives

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            if self.lives is not None:
                if not self.lives:
                    raise Killed
                self.lives -= 1
            text = request.messages[-1][1]
            self.seen[text] += 1
            if self.seen[text] <= self.fail.get(text, 0):
                yield n, Failure("HTTP 503", text not in self.permanent, 1)
            else:
                yield n, Answer(text.upper(), 3, 2, False, 1)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr("promptology.run.batch.time.sleep", lambda seconds: None)
    store = SQLiteStore(tmp_path / "store.sqlite")
    store.create_run("r", {})
    yield store
    store.close()


def ask(*texts):
    return [Request.user(t, max_tokens=9) for t in texts]


def texts(outcomes):
    return [o.text if isinstance(o, Answer) else None for o in outcomes]


# b is answered at its third try, c never.
FAIL = {"b": 2, "c": 99}


@pytest.mark.parametrize("limit", [4, 6, 7, 8, 9, 10])
@pytest.mark.parametrize("lives", range(10))
def test_a_kill_between_two_tries_changes_nothing(store, limit, lives):
    def meter():
        return Meter(store, "r", budget=Budget.parse(f"{limit}calls"), limits=PATIENT)

    store.create_run("whole", {})
    whole = Meter(store, "whole", budget=Budget.parse(f"{limit}calls"), limits=PATIENT, cache=False)
    expected = texts(whole.generate("model", Scripted(FAIL), ask(*"abcd")))
    seen = Counter()
    killed = False
    try:
        meter().generate("model", Scripted(FAIL, seen, lives), ask(*"abcd"))
    except Killed:
        killed = True
        store.commit()
    again = meter()
    assert texts(again.generate("model", Scripted(FAIL, seen), ask(*"abcd"))) == expected
    assert again.charged == whole.charged
    assert seen.total() == whole.charged.calls
    # What was in flight at the kill may have been paid: at least the one that died, at most the whole batch.
    assert killed <= again.paid.calls - again.charged.calls <= 4 * killed


def test_what_failed_in_an_earlier_process_still_counts_when_it_is_asked_again(store):
    limits = Limits(attempts=3, missing=1.0)
    budget = Budget.parse("6calls")
    seen = Counter()
    first = Meter(store, "r", budget=budget, limits=limits)
    assert texts(first.generate("model", Scripted({"b": 3}, seen), ask("a", "b"))) == ["A", None]
    assert first.charged.calls == 4
    healed = Meter(store, "r", budget=budget, limits=limits, retry_failed=True)
    assert texts(healed.generate("model", Scripted({"b": 3}, seen), ask("a", "b"))) == ["A", "B"]
    assert healed.charged.calls == healed.paid.calls == 5
    assert texts(healed.generate("model", Scripted({}, seen), ask("c"))) == ["C"]
    with pytest.raises(BudgetEnded):
        healed.generate("model", Scripted({}, seen), ask("d"))
    assert seen.total() == 6


@pytest.mark.parametrize("limit", [4, 5, 6, 7, 8, 12])
@pytest.mark.parametrize("attempts", [1, 2])
def test_what_comes_later_in_the_run_is_kept_free_when_an_early_failure_is_asked_again(store, limit, attempts):
    limits, budget, seen = Limits(attempts=attempts, missing=1.0), Budget.parse(f"{limit}calls"), Counter()
    batches = (["a", "b"], ["c", "d"])

    def play(retry):
        meter = Meter(store, "r", budget=budget, limits=limits, retry_failed=retry)
        try:
            for batch in batches:
                meter.generate(
                    "model", Scripted(dict.fromkeys("abcd", 99) if attempts == 2 else {"a": 9}, seen), ask(*batch)
                )
        except BudgetEnded:
            pass
        return meter

    assert play(False).charged.calls == seen.total() <= limit
    for _ in range(3):
        assert play(True).charged.calls == seen.total() <= limit


def test_another_process_that_was_first_is_believed(store, tmp_path):
    other = SQLiteStore(store.path)

    class Slow(Scripted):
        def generate(self, requests, attempts=1):
            key = Meter(store)._keys.key("model", self, requests[0])
            other.put_answer(key, b'["theirs", 1, 1, false, false]')
            other.commit()
            yield from super().generate(requests, attempts)

    meter = Meter(store, "r")
    assert texts(meter.generate("model", Slow(), ask("a"))) == ["theirs"]
    assert texts(meter.generate("model", Scripted(), ask("a"))) == ["theirs"]
    assert texts(Meter(store, "r").generate("model", Scripted(), ask("a"))) == ["theirs"]
    other.close()


def test_tokens_of_a_local_model_are_reserved_too(store):
    class Local(Scripted):
        local = True

    meter = Meter(store, "r", budget=Budget.parse("20tok"))
    with pytest.raises(BudgetEnded):
        meter.generate("model", Local(), ask("a"))
    Meter(store, "", budget=Budget.parse("26tok")).generate("model", Local(), ask("a"))


def test_a_permanent_failure_is_not_tried_again(store):
    model = Scripted({"b": 9}, permanent="b")
    assert texts(Meter(store, "r", limits=PATIENT).generate("model", model, ask("a", "b"))) == ["A", None]
    assert model.seen["b"] == 1


def test_an_answer_shared_with_a_request_in_flight_is_charged_and_not_paid(store):
    class Shared(Scripted):
        def generate(self, requests, attempts=1):
            yield from ((n, Answer("shared", 3, 2, False, 0)) for n, _ in enumerate(requests))

    meter = Meter(store, "r")
    meter.generate("model", Shared(), ask("a", "b"))
    assert meter.charged == Cost(2, 6, 4)
    assert meter.paid == Cost()
    again = Meter(store, "r")
    again.generate("model", Scripted(), ask("a", "b"))
    assert (again.charged, again.paid) == (meter.charged, meter.paid)


def test_what_a_chat_template_adds_is_reserved_from_the_second_batch_on(store):
    class Wordy(Scripted):
        def generate(self, requests, attempts=1):
            yield from ((n, Answer("x", 500, 2, False, 1)) for n, _ in enumerate(requests))

    meter = Meter(store, "r", budget=Budget.parse("100ktok"))
    (request,) = ask("abc")
    before = meter.worst_of("model", Wordy(), request).tokens
    meter.generate("model", Wordy(), ask("first"))
    after = meter.worst_of("model", Wordy(), request).tokens
    assert before == 8 + 8 + 3 + 9
    assert after == before + 500 - (8 + 8 + 5)


def test_a_server_that_ignores_the_limit_makes_the_cost_an_estimate(store):
    class Long(Scripted):
        def generate(self, requests, attempts=1):
            yield from ((n, Answer("x", 3, 10, False, 1)) for n, _ in enumerate(requests))

    meter = Meter(store, "r")
    meter.generate("model", Long(), ask("a"))
    assert meter.charged == Cost(1, 3, 10, estimated=True)


def test_answers_beyond_the_memory_are_read_from_the_store(store, monkeypatch):
    monkeypatch.setattr(meters, "REMEMBERED", 3)
    model, meter = Scripted(), Meter(store, "r")
    letters = "abcdefgh"
    for letter in letters:
        meter.generate("model", model, ask(letter))
    assert len(meter._memo) == 3
    assert texts(meter.generate("model", model, ask(*letters))) == list(letters.upper())
    assert model.seen.total() == meter.charged.calls == len(letters)
