"""Any training, interrupted or thrown away anywhere, any number of times: the result is that of one life."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_method import Tiny, run_of

from promptology.errors import BudgetEnded
from promptology.models.access import Injected
from promptology.run.store import SQLiteStore
from promptology.training import keeping
from promptology.training.loop import Group, train


class Death(Exception):
    """The process is gone: nothing of it is heard of any more."""


def life(folder, program, fuse, how):
    """Run a program until its fuse has burnt down; return what a method would have learned, and the meter's figures."""
    trainings, budget, _ = program
    store = SQLiteStore(folder / "s.sqlite")
    store.create_run("r", {})
    left = [fuse]

    def burn():
        left[0] -= 1
        if left[0] == 0:
            raise how

    run = run_of(store, folder, budget=f"{budget}passes" if budget else None, model=Tiny())
    model, said = run.model(), []
    try:
        for n, options in enumerate(trainings):
            said.append(one(run, model, burn, n, options))
    except BudgetEnded:
        said.append("the budget ended")
    finally:
        if how is not Death or left[0] > 0:
            run.meter.flush()
        store._answers.clear()
        store._events.clear()
        store.close()
    counts = {k: c._replace(seconds=0) for k, (c, _) in run.meter.ledger.items()}
    return said, run.history, run.spent, run.warnings, counts, run.meter._seq, run.meter.stopped


def one(run, model, burn, n, options):
    steps, every, patience, evaluated, asked, bad = options
    rng, p = run.rng(f"noise {n}"), torch.nn.Parameter(torch.ones(3) * (n + 1))
    q = torch.nn.Parameter(torch.zeros(2, 2))

    def step(items):
        burn()
        drawn = torch.from_numpy(rng.standard_normal(3)).float() + torch.randn(3)
        loss = ((p - drawn) ** 2).mean() + ((q - 1) ** 2).sum() * items[0]
        return loss * (float("nan") if bad and p[0] > bad + n else 1.0)

    def evaluate():
        burn()
        texts = [f"text {i}" for i in range(3)]
        model.states(texts, Injected(p.detach().numpy().tobytes().hex(), (p.detach().numpy().mean(),)))
        return round(-((p - 0.5) ** 2).sum().item(), 1)

    def batches(k):
        if asked:
            model.embed([f"rolled {n} {k}"])
        return [1.0 + k % 3] * (1 + k % 2)

    groups = [Group("p", {"p": p}, 0.1), Group("q", {"q": q}, 0.03, 0.1)]
    found = train(run, step, batches, groups, steps=steps, warmup=0.2, every=every, patience=patience,
                  evaluate=evaluate if evaluated else None, generators=[rng], clip=0.5)  # fmt: skip
    if evaluated:
        evaluate()
    return repr(found), p.tolist(), q.tolist(), rng.standard_normal()


a_training = st.tuples(
    st.integers(1, 260), st.sampled_from([0, 1, 7, 50]), st.sampled_from([0, 2]), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.0, 1.3]),
)  # fmt: skip
programs = st.tuples(
    st.lists(a_training, min_size=1, max_size=2),
    st.sampled_from([0, 0, 40, 300, 1500]),
    st.sampled_from([0.0, 0.002, 9.0]),
)
deaths = st.lists(st.tuples(st.integers(1, 200), st.sampled_from([KeyboardInterrupt, Death])), min_size=1, max_size=4)


@given(program=programs, fuses=deaths)
@settings(max_examples=25, deadline=None)
def test_deaths_change_nothing(program, fuses):
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="deaths-"))
    before, keeping.SAVE_EVERY = keeping.SAVE_EVERY, program[2]
    try:
        whole = life(folder / "whole", program, 0, Death)
        for fuse, how in fuses:
            try:
                life(folder / "cut", program, fuse, how)
            except (KeyboardInterrupt, Death):
                continue
            break
        found = life(folder / "cut", program, 0, Death)
        assert found == whole
        assert np.isfinite(sum(c.passes for c in found[4].values()))
    finally:
        keeping.SAVE_EVERY = before
        shutil.rmtree(folder)
