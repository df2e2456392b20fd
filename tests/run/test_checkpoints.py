"""A meter that is moved over the rows of a training meets everything after them as if it had asked them again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_method import Tiny

from promptology.models.access import Answer, Failure
from promptology.run.checkpoints import States
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import SQLiteStore
from promptology.testing.fixtures import small_task
from promptology.training import keeping
from promptology.training.loop import Group, train


class Judge:
    """Answers with prompt, sample and seed; fails every seventh prompt until it is mended."""

    name = identity = "judge"
    local = simulated = False

    def __init__(self, mended=False):
        self.mended, self.asked = mended, 0

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            self.asked += 1
            text = request.messages[-1][1]
            if text.split(" of ")[0].endswith(("3", "7")) and not self.mended:
                yield n, Failure("HTTP 503", True, 1)
            else:
                yield n, Answer(f"{text}/{request.sample}/{request.seed}", 9, len(text), False)


def learned(store, folder, interrupt_at=None, judge=None, retry_failed=False, rollouts=False):
    """Train with a judge in the evaluation, then ask it more; return all that it said, and the meter."""
    torch.set_num_threads(1)
    judge = judge or Judge()
    meter = Meter(store, "r", folder=folder, limits=Limits(1, 0.5), retry_failed=retry_failed)
    handles = {"model": Handle(meter, "model", Tiny()), "judge": Handle(meter, "judge", judge)}
    run = Run(small_task(), handles, meter)
    said, count = [], []
    said.append(run.model("judge").generate(["before 1", "before 7"], temperature=1.0, fresh=True))
    p = torch.nn.Parameter(torch.ones(3))

    def step(items):
        count.append(1)
        if len(count) == interrupt_at:
            raise KeyboardInterrupt
        return (p**2).sum()

    def evaluate():
        texts = [f"text {n} of {p.sum().item():.2f}" for n in range(10)]
        run.model("judge").generate(texts, temperature=1.0)
        run.model("judge").generate(["always"], temperature=1.0, fresh=True)
        run.model().embed(texts)
        run.tally["votes"] += 1
        run.log("evaluated", norm=np.float64(p.sum().item()))
        return -p.sum().item()

    def batches(k):
        return run.model("judge").generate([f"roll {k} {n}" for n in "ab"]) if rollouts else [1, 2]

    train(run, step, batches, [Group("p", {"p": p}, 0.1)], steps=12, evaluate=evaluate, every=3)
    texts = [f"text {n} of {p.sum().item():.2f}" for n in range(10)]
    said.append(run.model("judge").generate(texts, temperature=1.0))
    said.append(run.model("judge").generate(["always", "always"], temperature=1.0, fresh=True))
    said.append(run.model().worst([], ["a new one", *texts]).passes)
    said.append(run.model().embed(texts).tolist())
    said.append(run.model().embed(["a new one", *texts]).tolist())
    said += [p.tolist(), run.history, dict(run.tally), meter.asked, meter.missing, meter.answered, meter._of_role]
    said += [meter.last_failure, meter.missing]
    counts = {key: (c._replace(seconds=0), p.calls) for key, (c, p) in meter.ledger.items()}
    return said, counts, meter, (judge.asked, len(count))


@pytest.fixture
def stores(tmp_path):
    stores = [SQLiteStore(tmp_path / f"{n}.sqlite") for n in "ab"]
    for store in stores:
        store.create_run("r", {})
    yield stores
    for store in stores:
        store.close()


@pytest.mark.parametrize("at", [2, 4, 5, 8, 11, 12])
def test_everything_after_it_is_the_same(stores, tmp_path, at):
    whole, counts, meter, _ = learned(stores[0], tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        learned(stores[1], tmp_path / "b", at)
    stores[1].commit("r", 1.0)
    found, theirs, other, (_, steps) = learned(stores[1], tmp_path / "b")
    assert found == whole
    assert theirs == counts
    assert other._seq == meter._seq
    assert steps == 12 - (at - 1)
    # An ended training is jumped over too.
    found, theirs, _, asked = learned(stores[1], tmp_path / "b")
    assert (found, theirs, asked) == (whole, counts, (0, 0))


@pytest.mark.parametrize("save_every", [0.0, 5.0])
@pytest.mark.parametrize("at", [1, 2, 8])
def test_an_interrupt_behind_the_rollouts_of_a_step_does_not_ask_for_them_twice(
    stores, tmp_path, monkeypatch, at, save_every
):
    monkeypatch.setattr(keeping, "SAVE_EVERY", save_every)
    monkeypatch.setattr(keeping, "SAVE_SHARE", 1e9)
    whole, counts, meter, _ = learned(stores[0], tmp_path / "a", rollouts=True)
    with pytest.raises(KeyboardInterrupt):
        learned(stores[1], tmp_path / "b", at, rollouts=True)
    stores[1].commit("r", 1.0)
    found, theirs, other, _ = learned(stores[1], tmp_path / "b", rollouts=True)
    assert (found, theirs, other._seq) == (whole, counts, meter._seq)


def test_what_failed_inside_is_asked_again_where_that_is_wanted(stores, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        learned(stores[1], tmp_path / "b", 8)
    stores[1].commit("r", 1.0)
    found, _, meter, (_, steps) = learned(stores[1], tmp_path / "b", judge=Judge(mended=True), retry_failed=True)
    assert steps == 12
    assert meter.missing == 0
    assert None not in [text for texts in found[:3] for text in texts]


def test_a_sweep_takes_drafts_and_leaves_small_states(tmp_path):
    states = States(tmp_path)
    path = states.path("a")
    with states.writing(path) as draft:
        draft.write_bytes(b"12345678")
    (path.parent / "dead.part").write_bytes(b"1")
    states.sweep(most=8)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    states.sweep(most=7)
    assert not path.parent.exists()
    states.sweep()


def test_a_write_that_fails_leaves_the_old_state(tmp_path):
    states = States(tmp_path)
    path = states.path("a")
    with states.writing(path) as draft:
        draft.write_bytes(b"old")
    with pytest.raises(RuntimeError), states.writing(path) as draft:
        draft.write_bytes(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert len(list(path.parent.iterdir())) == 1


def test_without_a_folder_nothing_is_kept():
    assert States().path("a") is None
    States().sweep()
