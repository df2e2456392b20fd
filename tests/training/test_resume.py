"""A training that is killed, interrupted or out of budget, continued to what it would have been."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from training_method import Learns, Tiny, run_of, trained

from promptology.errors import ReplayError
from promptology.evidence.fitting import Settings, fit_one
from promptology.run.budget import Budget
from promptology.run.store import SQLiteStore
from promptology.testing.fixtures import small_task
from promptology.testing.running import difference, in_child, run_once, summary
from promptology.training.loop import Group, train

BUDGET = "20000passes"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def fit(method, model, budget=BUDGET, **settings):
    given = Settings(Budget.parse(budget), **settings)
    return fit_one(small_task(), model, type(method).card, method, {}, given)


def uninterrupted(method, tmp_path, monkeypatch, budget=BUDGET):
    with monkeypatch.context() as own:
        own.setenv("PROMPTOLOGY_HOME", str(tmp_path / "whole"))
        return summary(run_once(method, small_task(), {"model": Tiny()}, budget, 0))


def state_files():
    return sorted(Path(os.environ["PROMPTOLOGY_HOME"]).rglob("state/*"))


@pytest.mark.parametrize("method", [Learns(trainings=2, every=0), Learns(steps=230, every=60)])
def test_killed_twice_and_continued_equals_uninterrupted(tmp_path, monkeypatch, method):
    whole = uninterrupted(method, tmp_path, monkeypatch)
    spec = {"method": method, "task": small_task(), "budget": BUDGET, "seed": 0}
    steps = method.steps * method.trainings
    # A process makes its own count of steps: the second goes on from where the first was killed.
    for kill_at in (steps // 3, steps // 2):
        code, said = in_child("fit", tmp_path, {**spec, "models": {"model": Tiny(kill_at=kill_at)}})
        assert code == -9, said
    code, found = in_child("fit", tmp_path, {**spec, "models": {"model": Tiny(kill_at=steps // 2)}})
    assert code == 0, found  # a sixth is left, so this process does not reach half of them
    assert difference(whole, found) == ""


def test_killed_without_a_state_trains_again_and_charges_once(tmp_path, monkeypatch):
    method = Learns(save_every=1e9)
    whole = uninterrupted(method, tmp_path, monkeypatch)
    spec = {"method": method, "task": small_task(), "budget": BUDGET, "seed": 0}
    code, said = in_child("fit", tmp_path, {**spec, "models": {"model": Tiny(kill_at=30)}})
    assert code == -9, said
    monkeypatch.setenv("PROMPTOLOGY_HOME", str(tmp_path / "home"))
    model = Tiny()
    result = fit(method, model)
    assert difference(whole, summary(result)) == ""
    assert model.body.steps == 40
    # 29 steps of 4 items were made twice; a row is durable after 20 ms at the latest, so not all of them are known.
    assert 0 <= result.paid.passes - result.charged.passes <= 29 * 12


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("at", [1, 2, 17, 24, 25, 39])
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, monkeypatch, at, optimizer):
    method = Learns(save_every=1e9, optimizer=optimizer)
    whole = uninterrupted(method, tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(method, Tiny(interrupt_at=at))
    model = Tiny()
    result = fit(method, model)
    assert difference(whole, summary(result)) == ""
    assert model.body.steps == 40 - (at - 1)
    assert result.paid.passes == result.charged.passes


def test_an_interrupt_inside_the_update_goes_back_to_the_last_state(tmp_path, monkeypatch):
    method = Learns(save_every=1e9)
    whole = uninterrupted(method, tmp_path, monkeypatch)
    real, count = torch.optim.AdamW.step, []

    def step(self, *arguments):
        count.append(1)
        if len(count) == 12:
            self.param_groups[0]["params"][0].data.zero_()  # half of it is done
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(KeyboardInterrupt):
            fit(method, Tiny())
    assert state_files() == []
    assert difference(whole, summary(fit(method, Tiny()))) == ""


def test_an_ended_training_is_restored_and_never_made_again(tmp_path, monkeypatch):
    method = Learns(trainings=2)
    whole = uninterrupted(method, tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(method, Tiny(interrupt_at=50))
    model = Tiny()
    assert difference(whole, summary(fit(method, model))) == ""
    assert model.body.steps == 80 - 49
    again = Tiny()
    assert difference(whole, summary(fit(method, again))) == ""
    assert (again.body.steps, again.asked) == (0, 0)


def test_an_end_for_a_reason_is_restored_with_its_reason(tmp_path):
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.create_run("r", {})
    ends = []
    for _ in range(2):
        p, count = torch.nn.Parameter(torch.ones(2)), []

        def step(items, p=p, count=count):
            count.append(1)
            return p.sum() * (float("nan") if len(count) == 5 else 1.0)

        run = run_of(store, tmp_path)
        found = train(run, step, lambda k: [1], [Group("p", {"p": p}, 0.1)], steps=9)
        assert "step 5 was not finite" in found.stopped
        ends.append((found, p.tolist(), run.history, run.spent, run.warnings, run.meter.charged.passes))
    store.close()
    assert count == []
    assert repr(ends[0]) == repr(ends[1])


def test_large_states_are_gone_when_the_run_has_ended(monkeypatch):
    from promptology.run import checkpoints

    fit(Learns(), Tiny())
    assert len(state_files()) == 1
    monkeypatch.setattr(checkpoints.States.sweep, "__defaults__", (10,))
    fit(Learns(), Tiny())
    assert state_files() == []


def damage(kind):
    (path,) = state_files()
    data = path.read_bytes()
    whole = {"cut": data[: len(data) // 2], "empty": b"", "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]}
    path.write_bytes(whole[kind])


@pytest.mark.parametrize("kind", ["cut", "empty", "flipped"])
def test_a_damaged_state_is_said_and_trained_again(tmp_path, monkeypatch, kind):
    method = Learns()
    whole = uninterrupted(method, tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(method, Tiny(interrupt_at=30))
    damage(kind)
    model = Tiny()
    result = fit(method, model)
    assert model.body.steps == 40
    assert any("was damaged" in w and "\n" not in w for w in result.warnings)
    found = {**summary(result), "warnings": whole["warnings"]}
    assert difference(whole, found) == ""


def test_a_state_of_another_store_is_not_used(tmp_path, monkeypatch):
    method = Learns()
    with pytest.raises(KeyboardInterrupt):
        fit(method, Tiny(interrupt_at=30))
    for path in Path(os.environ["PROMPTOLOGY_HOME"]).glob("store.sqlite*"):
        if path.is_file():
            path.unlink()
    model = Tiny()
    result = fit(method, model)
    assert model.body.steps == 40
    assert any("the store lacks the rows" in w for w in result.warnings)


def test_another_training_in_its_place_is_not_taken_up(tmp_path):
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.create_run("r", {})
    run = run_of(store, tmp_path, model=Tiny(interrupt_at=20))
    with pytest.raises(KeyboardInterrupt):
        trained(Learns(), run)
    run.meter.flush()
    with pytest.raises(ReplayError, match="differs from the stored one"):
        trained(Learns(), run_of(store, tmp_path), schedule="cosine")
    store.close()


def test_a_state_that_cannot_be_written_is_said_once(tmp_path):
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.create_run("r", {})
    (tmp_path / "state").write_text("in the way")
    run = run_of(store, tmp_path)
    found, _ = trained(Learns(), run)
    assert found.steps == 40
    assert len([w for w in run.warnings if "cannot be written" in w]) == 1
    store.close()


def test_passes_end_a_training_in_its_middle_and_the_kill_there_changes_nothing(tmp_path, monkeypatch):
    budget = "1000passes"
    method = Learns(steps=200, every=10)
    whole = uninterrupted(method, tmp_path, monkeypatch, budget)
    assert any("the budget covers" in w for w in whole["warnings"])
    with pytest.raises(KeyboardInterrupt):
        fit(method, Tiny(interrupt_at=15), budget)
    result = fit(method, Tiny(), budget)
    assert difference(whole, summary(result)) == ""
    assert result.learning.passes <= 600
    assert result.charged.passes <= 1000


def test_the_figure_of_the_clock_is_decided_once(tmp_path, monkeypatch):
    method = Learns(steps=100_000, every=0, save_every=1e9)
    first = Tiny(interrupt_at=130, nap=0.02)
    with pytest.raises(KeyboardInterrupt):
        fit(method, first, "40s")
    store = SQLiteStore(Path(os.environ["PROMPTOLOGY_HOME"]) / "store.sqlite")
    (run,) = store.runs()
    notes = [e.note for e in store.events(run.id).values() if e.note]
    store.close()
    assert len(notes) == 1
    assert 130 < int(notes[0]) < 40 * 0.6 / 0.02  # 60 % of the time is for learning, and a step takes its nap at least
    for path in state_files():
        path.unlink()  # so that the rows alone decide
    model = Tiny()
    result = fit(method, model, "40s")
    assert model.body.steps == int(notes[0])
    assert any(f"covers {notes[0]} of 100000 steps" in w for w in result.warnings)


def test_states_asked_for_before_the_kill_are_free_after_it(tmp_path):
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.create_run("r", {})
    run = run_of(store, tmp_path)
    _, whole = trained(Learns(), run)
    charged = run.meter.charged.passes
    store.close()

    store = SQLiteStore(tmp_path / "t.sqlite")
    store.create_run("r", {})
    run = run_of(store, tmp_path / "t", model=Tiny(interrupt_at=40))
    with pytest.raises(KeyboardInterrupt):
        trained(Learns(), run)
    run.meter.flush()
    model = Tiny()
    run = run_of(store, tmp_path / "t", model=model)
    found, arrays = trained(Learns(), run)
    store.close()
    # The best state is older than the interrupt: what it was asked for stands in the store.
    assert found.best_step < 39
    assert model.asked == len(run.task.validation)
    assert run.meter.charged.passes == charged
    assert all(np.array_equal(arrays[k], whole[k]) for k in whole)
