"""The contract of methods, for those that look inside a model: what it counts, and what breaks it."""

from __future__ import annotations

import broken_inside as broken
import pytest
import separable
import torch

from promptology.injection import Filling, attach
from promptology.testing import check_method
from promptology.testing.inside import counting_inside, print_of, uncount

PROMISES = ["settings", "access", "same result", "budget", "plan", "resume", "artifact"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_a_third_party_s_method_inside_keeps_it():
    checked = check_method(broken.Works(tries=2))
    assert checked.promises == PROMISES
    assert checked.skipped == {}


def test_an_encoder_that_is_given_is_looked_into():
    checked = check_method(
        "prompt-tuning",
        settings={"steps": 4, "batch": 4, "checks": 1, "length": 2},
        models={"model": separable.model("encoder")},
        task=separable.task(),
    )
    assert checked.promises == PROMISES


BROKEN = [
    (broken.Uncharged(), "asked past the run's handles"),
    (broken.HeavyHanded(), "it leaves 'model' changed"),
    (broken.Hooked(), "it leaves 'model' changed"),
    (broken.Mover(), "it declares that 'model' differentiable, and it trainable"),
    (broken.TorchRandom(), "the same seed gives two results"),
]


@pytest.mark.parametrize(("method", "message"), BROKEN, ids=[type(m).__name__ for m, _ in BROKEN])
def test_a_broken_promise_is_named(method, message):
    with pytest.raises(AssertionError) as raised:
        check_method(method)
    said = str(raised.value)
    assert said.startswith(f"method {type(method).card.slug!r}: ")
    assert message in said


def test_passes_are_counted_once_wherever_they_are_made():
    model = counting_inside(separable.model("gpt2"))
    body = model.frozen()
    rows = [body.encode("the red river was good"), body.encode("a lamp")]
    body.hidden(rows)
    assert model.passes == 6
    with torch.no_grad():
        body.pooled(rows)
    assert model.passes == 8
    with attach(body.model, [Filling("input", torch.zeros(2, 32))]):
        body.target_logprobs(rows, [[3], [4]])
    assert model.passes == 14
    model.states(["the red river"])
    model.score(["the red river was"], [[" good", " bad"]])
    assert model.passes == 17
    uncount(separable.model("gpt2"))
    body.hidden(rows)
    assert model.passes == 17


def test_the_print_of_a_model_tells_any_change():
    body = separable.model("bert").frozen()
    before = print_of(body)
    assert print_of(body) == before
    with attach(body.model, [Filling("input", torch.zeros(2, 32))]):
        assert print_of(body) != before
    assert print_of(body) == before
    body.model.train()
    assert print_of(body) != before
    body.model.eval()
    assert print_of(body) == before
