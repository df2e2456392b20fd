"""Protocol prequential: labels open after their prediction is durable, figures counted by hand, one budget."""

from __future__ import annotations

import json
import sqlite3
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from training_method import Learns, Tiny

import promptology as pt
from promptology.errors import ModelError, ReplayError, SealedSplitError, StoreError, UsageError
from promptology.evidence.fitting import Settings, fit_one
from promptology.evidence.report import format_table, render
from promptology.evidence.streams import Stream
from promptology.models.access import Failure, Generates
from promptology.run.budget import Budget
from promptology.run.cost import Cost
from promptology.run.meter import Meter
from promptology.run.store import SQLiteStore, home, memory_store, using_store
from promptology.testing.fixtures import small_task
from promptology.testing.running import difference, summary

ITEMS = [pt.Item(str(n), {"text": f"word {n}"}, "a" if n % 2 else "b") for n in range(6)]


def stream(store, run="r1"):
    return Stream(Meter(store, run), ITEMS)


# The core


def test_a_label_opens_after_its_prediction_and_one_item_at_a_time():
    held = stream(memory_store())
    assert [item.sealed for item in held.closed] == [True] * 6
    with pytest.raises(SealedSplitError, match="'0' is sealed: its prediction is not in the store"):
        held.open(["0"])
    held.commit({"0": "a"})
    assert held.open(["0"]) == [ITEMS[0]]
    with pytest.raises(SealedSplitError, match="'1'"):
        held.open(["0", "1"])
    for item in held.closed[1:]:
        with pytest.raises(SealedSplitError):
            item.target  # noqa: B018
        held.commit({item.id: None})
        assert held.open([item.id])[0].target in "ab"


def test_the_row_is_in_the_file_when_the_label_opens(tmp_path):
    path = tmp_path / "store.sqlite"
    held = stream(SQLiteStore(path))
    held.commit({"0": "a", "1": ["b", None]})
    with sqlite3.connect(path) as other:  # another connection sees what is durable and nothing else
        rows = other.execute("SELECT state, note FROM events WHERE run = 'r1'").fetchall()
    assert rows == [("done", '{"0":"a","1":["b",null]}')]


class Full(SQLiteStore):
    """A store whose disk is full."""

    def commit(self, run="", elapsed=0.0):
        raise StoreError("no space left")


def test_what_cannot_be_stored_stays_closed(tmp_path):
    held = stream(Full(tmp_path / "store.sqlite"))
    with pytest.raises(StoreError):
        held.commit({"0": "a"})
    with pytest.raises(SealedSplitError):
        held.open(["0"])


def test_nothing_opens_outside_a_run():
    held = stream(memory_store(), run="")
    with pytest.raises(UsageError, match="only be committed in a run"):
        held.commit({"0": "a"})
    with pytest.raises(SealedSplitError):
        held.open(["0"])


def test_a_prediction_is_for_an_item_of_the_stream_and_stays():
    held = stream(memory_store())
    held.commit({"0": "a"})
    with pytest.raises(UsageError, match="'0' has its prediction already"):
        held.commit({"1": "a", "0": "b"})
    with pytest.raises(UsageError, match="'x' is not in this stream"):
        held.commit({"x": "b"})
    with pytest.raises(SealedSplitError):
        held.open(["1"])


def test_a_continued_run_cannot_say_something_else():
    store = memory_store()
    stream(store).commit({"0": "a"})
    with pytest.raises(ReplayError, match="the prediction of item '0' differs from what was committed"):
        stream(store).commit({"0": "b"})
    again = stream(store)
    again.commit({"0": "a"})
    assert again.open(["0"]) == [ITEMS[0]]
    more = Stream(Meter(store, "r1", retry_failed=True), ITEMS)
    more.commit({"0": "b"})  # what had failed was asked again
    assert stream(store).commit({"0": "b"}) is None


# The protocol


@pt.method("count", family="search", learns="text", needs={"model": Generates})
@dataclass(frozen=True)
class Count:
    """Ask one question, and tell the model how many items it was shown."""

    wordy: int = 0
    """Further questions."""

    def fit(self, run):
        items = [*run.task.train, *run.task.validation]
        run.model().generate([f"questions about {len(items)} items", *(f"{n} {len(items)}" for n in range(self.wordy))])
        SEEN.append((len(run.task.train), len(run.task.validation), [s.instruction for s in run.sources]))
        assert all(not item.sealed for item in items)
        assert not run.task.test
        if len(SEEN) == CRASH:
            raise KeyboardInterrupt
        return run.start.with_instruction(f"I saw {len(items)} items.")


SEEN = []
CRASH = 0


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


def model(prompt):
    """Know the even numbers by heart, and the odd ones once 4 items were seen."""
    number = int(prompt.rstrip().split()[-1]) if prompt.rstrip()[-1].isdigit() else 0
    learned = "I saw" in prompt and int(prompt.split("I saw ")[1].split()[0]) >= 4
    return {0: "even", 1: "odd"}[number % 2] if learned or number % 2 == 0 else "even"


def numbers(n=12, **more):
    rows = [pt.Item(str(k), {"text": f"number {k}"}, "odd" if k % 2 else "even") for k in range(n)]
    return pt.Task(rows, validation=(), test=(), name="numbers", **more)


def fit(**more):
    given = {"budget": "200calls", "protocol": "prequential", "blocks": 6, "order": "file", **more}
    asked = given.pop("model", model)
    return pt.fit(given.pop("task", None) or numbers(), asked, given.pop("method", Count()), **given)


def test_figures_as_counted_by_hand():
    result = fit()
    # Blocks (0,1) (2,3) (4,5) ..: the start and what saw 2 items miss the odd one, what saw 4 or more knows it.
    evidence = result.evidence
    assert [(b["seen"], b["n"], b["score"], b["start"]) for b in evidence.curve] == [
        *((0, 2, 0.5, 0.5), (2, 2, 0.5, 0.5)),
        *((n, 2, 1.0, 0.5) for n in (4, 6, 8, 10)),
    ]
    assert (evidence.start.value, evidence.found.value, evidence.n) == (0.5, 10 / 12, 12)
    assert (evidence.difference.better, evidence.difference.worse) == (4, 0)
    assert evidence.difference.p == 2 * 0.5**4
    assert (evidence.verdict, evidence.protocol) == ("no evidence", "prequential")
    assert evidence.found_measured.ids == [str(n) for n in range(12)]
    # 12 by the start, 10 by what was learned (the first block is the start's), and one question for each of 6 fits.
    assert result.charged.calls == 12 + 10 + 6
    assert result.learning == Cost(6, *result.learning[1:])
    assert result.learned.instruction == "I saw 12 items."
    assert [train + validation for train, validation, _ in SEEN] == [2, 4, 6, 8, 10, 12]
    assert [sources for *_, sources in SEEN] == [[], *([f"I saw {n} items."] for n in (2, 4, 6, 8, 10))]
    assert evidence.per_prediction.calls == 1


def test_the_document_and_the_page_tell_of_the_stream():
    result = fit()
    arm = result.document["arms"][0]
    assert result.document["protocol"] == "prequential"
    assert [b["n"] for b in arm["curve"]] == [2] * 6
    assert [h["values"]["block"] for h in arm["history"] if h["step"] == "block"] == [1, 2, 3, 4, 5, 6]
    assert "on 12 items of the stream" in format_table(result.document)
    assert "predicted before its label opens" in render(result.document)


def test_the_seed_orders_the_stream_and_the_same_seed_is_the_same_stream(tmp_path, monkeypatch):
    found = {}
    for n, seed in enumerate((1, 2, 1)):
        monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / str(n)))
        result = fit(order="seed", seed=seed)
        with using_store() as store:
            notes = [event.note for event in store.events(result.run).values() if event.note]
        found.setdefault(seed, []).append((notes, result.evidence.curve, result.learned.to_json()))
        assert result.evidence.found_measured.ids == [str(n) for n in range(12)]
    assert found[1][0] == found[1][1]
    assert found[1][0][0] != found[2][0][0]


@pytest.mark.parametrize("crash", [1, 3, 6])
def test_interrupted_and_continued_is_the_uninterrupted(tmp_path, monkeypatch, crash):
    whole = fit()
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / "other"))
    SEEN.clear()
    calls = []

    def counted(prompt):
        calls.append(prompt)
        return model(prompt)

    with monkeypatch.context() as here:
        here.setattr(sys.modules[__name__], "CRASH", crash)
        with pytest.raises(KeyboardInterrupt):
            fit(model=counted)
    SEEN.clear()
    again = fit(model=counted)
    assert len(calls) == 28 == again.charged.calls
    assert again.evidence.curve == whole.evidence.curve
    assert str(again.evidence) == str(whole.evidence)
    assert again.learned.to_json() == whole.learned.to_json()
    assert again.charged._replace(seconds=0) == whole.charged._replace(seconds=0)


@pytest.mark.parametrize("at", [3, 25, 60])
def test_a_training_in_a_block_is_taken_up_where_it_stood(tmp_path, monkeypatch, at):
    settings = Settings(Budget.parse("20000passes"), protocol="prequential", blocks=3)
    method = Learns(save_every=1e9)

    def learn(model):
        return fit_one(small_task(), model, type(method).card, method, {}, settings)

    with monkeypatch.context() as own:
        own.setenv("PROMPTOLOGY_HOME", str(tmp_path / "whole"))
        model = Tiny()
        whole, steps = learn(model), model.body.steps
    with pytest.raises(KeyboardInterrupt):
        learn(Tiny(interrupt_at=at))
    model = Tiny()
    again = learn(model)
    assert difference(summary(whole), summary(again)) == ""
    assert again.evidence.curve == whole.evidence.curve
    assert model.body.steps == steps - (at - 1)


class Flaky:
    """Once something was learned, it does not answer about number 3; it stops for good after so many answers."""

    name = identity = "flaky"
    local = False

    def __init__(self, stops=None):
        self.stops, self.asked = stops, 0

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            self.asked += 1
            if self.stops and self.asked > self.stops:
                raise ModelError("the key is used up")
            text = request.messages[-1][1]
            if self.stops and "I saw" in text and text.rstrip().endswith("number 3"):
                yield n, Failure("no answer", transient=False, attempts=1)
            else:
                yield n, pt.Answer(model(text), 5, 1, False, 1)


def test_what_had_failed_may_be_asked_again_and_nothing_else_changes(tmp_path, monkeypatch):
    with monkeypatch.context() as own:
        own.setenv("PROMPTOLOGY_HOME", str(tmp_path / "whole"))
        whole = fit(model=Flaky())
    assert whole.evidence.found_measured.missing == 0
    with pytest.raises(ModelError):
        fit(model=Flaky(stops=20))  # 12 answers of the start, then blocks of 1 question and 2 answers
    again = Flaky()
    mended = fit(model=again, retry_failed=True)
    assert mended.evidence.curve == whole.evidence.curve
    assert again.asked < 15


def test_a_missing_answer_is_committed_as_missing_and_its_label_opens_all_the_same():
    result = fit(model=Flaky(stops=1000))
    assert [b["n"] for b in result.evidence.curve] == [2, 1, 2, 2, 2, 2]
    assert result.evidence.n == 11
    assert [train + validation for train, validation, _ in SEEN] == [2, 4, 6, 8, 10, 12]
    with using_store() as store:
        said = [json.loads(e.note) for e in store.events(result.run).values() if e.note.startswith('{"')]
    assert said[1] == {"2": [["even"], ["even"]], "3": [["even"], None]}


@pytest.mark.parametrize("calls", [10, 20, 40])
def test_one_budget_covers_the_stream_and_is_never_passed(calls):
    result = fit(budget=f"{calls}calls", method=Count(wordy=1))
    evidence, learning = (
        sum(e["charged"]["calls"] for e in result.ledger if e["phase"] == phase) for phase in ("evidence", "learning")
    )
    assert evidence <= 0.4 * calls
    assert learning <= calls - evidence
    n = int(0.4 * calls) // 2
    assert result.evidence.n == min(n, 12)
    assert f"{n} of 12 items of the stream: what the budget covered" in " ".join(result.warnings) or n >= 12


def test_learning_that_would_eat_everything_gets_its_share_in_every_block():
    enough = fit(budget="102calls", method=Count(wordy=12))  # 24 for evidence, 78 for learning: 13 a fit
    assert (enough.charged.calls, enough.evidence.n) == (22 + 78, 12)
    assert [b["score"] for b in enough.evidence.curve] == [0.5, 0.5, 1, 1, 1, 1]
    short = fit(budget="101calls", method=Count(wordy=12))  # the first may use 12; the second finds what it left
    assert "the budget ended 1 of 6 fits before their end" in short.warnings
    assert (short.charged.calls, short.evidence.n) == (20 + 65, 12)


def test_nothing_learned_is_the_start():
    result = pt.fit(numbers(), model, "manual", budget="200calls", protocol="prequential", blocks=3)
    assert (result.evidence.verdict, result.charged.calls) == ("start", 12)


def test_a_budget_for_nothing_measures_nothing():
    result = fit(budget="1calls")
    assert result.evidence.verdict == "not measured: budget"
    assert result.learned.same_as(result.start)


def test_seeds_pair_by_item():
    comparison = pt.compare(
        numbers(), model, [Count()], budget="200calls", protocol="prequential", blocks=6, seeds=[0, 1, 2]
    )
    (arm,) = comparison.document["arms"]
    assert arm["score"]["n"] == 12
    assert arm["score"]["value"] == pytest.approx(np.mean([r.evidence.found.value for r in comparison.results]))


def test_more_blocks_than_items_are_blocks_of_one():
    result = fit(blocks=50)
    assert [b["n"] for b in result.evidence.curve] == [1] * 12
    assert "12 blocks, of one item each" in result.warnings


@pytest.mark.parametrize(
    ("task", "more", "words"),
    [
        (numbers(), {"blocks": 1}, "blocks is 1; a stream needs at least 2"),
        (numbers(), {"order": "time"}, "unknown order 'time' of a stream; there are seed and file"),
        (pt.Task(unlabeled=["a", "b"], name="bare"), {}, "task 'bare' has none; give --label"),
        (numbers(1, classes=["odd", "even"]), {}, "task 'numbers' has one"),
        (numbers(), {"protocol": "holdout"}, "blocks and order belong to a stream"),
        (numbers(), {"protocol": "prequentil"}, "unknown protocol 'prequentil'; there are holdout, duel, prequential"),
    ],
)
def test_faults_are_one_line_before_anything_is_asked(task, more, words):
    with pytest.raises(UsageError, match=words):
        fit(task=task, **more)
    assert SEEN == []
    assert not (home() / "runs").exists()
