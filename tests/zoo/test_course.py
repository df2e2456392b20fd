"""The training loop of the recipes: the same weights however it is interrupted, one line where it cannot go on."""

from __future__ import annotations

import logging
import math
import signal

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
from tiny_recipe import TinyBad, TinyEcho

from promptology.errors import ModelError
from promptology.zoo.recipes.course import ROUND, STATE, Course, scheduled, settings


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Stopped(TinyEcho):
    """Presses Ctrl-C while the batch of a step is made."""

    at = -1

    def __init__(self, at=-1):
        self.at, self.made = at, 0

    def batch(self, rng, stage):
        if self.made == self.at:
            signal.raise_signal(signal.SIGINT)
        self.made += 1
        return super().batch(rng, stage)


def same_settings(recipe):
    """Leave out where a training is stopped: that is no setting of it."""
    return {k: v for k, v in settings(recipe).items() if k not in ("at", "made")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    seen = []
    model = Course(TinyEcho(), tmp_path_factory.mktemp("whole"), device="cpu", report=seen.append).run()
    return weights(model), seen


@pytest.mark.parametrize("at", [0, 1, ROUND - 1, ROUND, ROUND + 7, TinyEcho.steps - 1])
def test_interrupted_anywhere_it_comes_to_the_same_weights(whole, tmp_path, monkeypatch, at):
    monkeypatch.setattr("promptology.zoo.recipes.course.settings", same_settings)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        Course(Stopped(at), tmp_path, device="cpu", report=seen.append).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / STATE).is_file()
    again = Course(TinyEcho(), tmp_path, device="cpu", report=seen.append)
    assert torch.equal(weights(again.run()), whole[0])
    for mine, other in zip(seen, whole[1], strict=True):
        assert {k: v for k, v in mine.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert [at["seconds"] for at in seen] == sorted(at["seconds"] for at in seen)
    assert again.process_seconds > 0


def test_interrupted_at_every_step_it_comes_to_the_same_weights(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("promptology.zoo.recipes.course.settings", same_settings)
    for _ in range(TinyEcho.steps):
        with pytest.raises(KeyboardInterrupt):
            Course(Stopped(0), tmp_path, device="cpu").run()
    assert torch.equal(weights(Course(TinyEcho(), tmp_path, device="cpu").run()), whole[0])


def test_a_killed_training_goes_on_from_its_last_state(whole, tmp_path):
    class Killed(Exception):
        pass

    def kill(at):
        if at["step"] == 2 * ROUND:
            raise Killed

    with pytest.raises(Killed):
        Course(TinyEcho(), tmp_path, device="cpu", every=0.0, report=kill).run()
    seen = []
    assert torch.equal(weights(Course(TinyEcho(), tmp_path, device="cpu", report=seen.append).run()), whole[0])
    assert [at["step"] for at in seen] == [2 * ROUND, TinyEcho.steps]


def test_batches_of_other_processes_are_the_same(whole, tmp_path):
    course = Course(TinyEcho(), tmp_path, device="cpu", workers=1)
    assert torch.equal(weights(course.run()), whole[0])


def test_torch_draws_as_before(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Course(TinyEcho(), tmp_path, device="cpu").run()
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("damage", ["settings", "bytes", "network"])
def test_a_state_that_does_not_fit_is_left_and_said(whole, tmp_path, caplog, monkeypatch, damage):
    other = TinyEcho()
    if damage == "network":
        with monkeypatch.context() as patch:
            patch.setattr(TinyEcho, "model", lambda self: torch.nn.Linear(3, 3))
            Course(other, tmp_path, device="cpu").save()
    else:
        other.rate, other.steps = 0.5, 10
        Course(other, tmp_path, device="cpu").run()
    if damage == "bytes":
        (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, "promptology"):
        model = Course(TinyEcho(), tmp_path, device="cpu").run()
    (record,) = caplog.records
    assert "another recipe" in record.getMessage() or "cannot be read" in record.getMessage()
    assert torch.equal(weights(model), whole[0])


def test_a_loss_that_is_not_finite_is_one_line_and_no_state(tmp_path):
    with pytest.raises(ModelError) as raised:
        Course(TinyBad(), tmp_path, device="cpu", every=0.0).run()
    line = str(raised.value)
    assert f"step {ROUND} " in line and f"{TinyBad.rate * scheduled(ROUND, TinyBad()):.3g}" in line
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    recipe = TinyEcho()
    recipe.steps, recipe.warm_up = 100, 0.1
    assert [scheduled(n, recipe) for n in range(10)] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert scheduled(55, recipe) == pytest.approx(0.5)
    assert scheduled(100, recipe) == pytest.approx(0.0)
    assert math.isclose(scheduled(10, recipe), 1.0)


def test_a_batch_depends_on_seed_step_and_stage_alone():
    from promptology.zoo.recipes.course import _made

    first, same, other = (_made(TinyEcho(), step, 1)["ids"] for step in (4, 4, 5))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
