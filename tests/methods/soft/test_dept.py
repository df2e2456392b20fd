"""DePT: the exact properties that its equations have."""

from __future__ import annotations

import numpy as np
import pytest
import separable
import torch
from separable import Seen, fit, found_by, part

from promptology.errors import UsageError
from promptology.injection import Filling, attach
from promptology.injection.modules import Offsets
from promptology.prompts.injected import injected_of

D = 32


@pytest.fixture(autouse=True)
def whole_rows(monkeypatch):
    """Let every batch be run in whole rows: a shared beginning is run apart under prompts, and not under offsets."""
    monkeypatch.setattr("promptology.models.local.body.SHARED", 10**6)


def offsets_of(learned):
    return next(p for p in learned.parts if p.kind == "module")


def loss_of(goal, fillings, batch=(0, 1, 2, 3)):
    with torch.no_grad(), attach(goal.body.model, fillings):
        return float(goal.loss(list(batch)))


@pytest.mark.parametrize("kind", separable.KINDS)
def test_at_the_start_it_is_prompt_tuning_whatever_a_is(kind, monkeypatch):
    seen = Seen(monkeypatch)
    dept = found_by(kind, "dept", steps=0, rank=3)
    goal, fillings = seen.goal, seen.fillings()
    short = found_by(kind, "prompt-tuning", steps=0)
    assert offsets_of(dept).arrays["A"].std() > 0
    with torch.no_grad():
        fillings[1].filler.A.mul_(100.0)
    assert loss_of(goal, fillings) == loss_of(goal, injected_of(short).fillings)


def test_alpha_of_zero_is_prompt_tuning(monkeypatch):
    seen = Seen(monkeypatch)
    found_by("gpt2", "dept", steps=3, rank=3, alpha=0.0)
    prompt, offsets = seen.fillings()
    with torch.no_grad():
        offsets.filler.B.normal_()
    assert loss_of(seen.goal, [prompt, offsets]) == pytest.approx(loss_of(seen.goal, [prompt]), abs=1e-6)


@pytest.mark.parametrize(("m", "s", "r"), [(20, 32, 40), (40, 32, 30), (60, 96, 10)])
def test_an_exact_rank_gives_the_parameters_of_the_long_prompt(m, s, r, monkeypatch):
    seen = Seen(monkeypatch)
    result = fit("gpt2", "dept", steps=0, length=m, matches=100, max_length=s)
    assert not [entry for entry in result.history if entry["step"] == "rank"]
    assert sum(p.numel() for p in seen.parameters.values()) == 100 * D
    assert seen.parameters["A"].shape == (s, r)


def test_a_rank_that_is_not_whole_is_cut_and_said(monkeypatch):
    seen = Seen(monkeypatch)
    result = fit("gpt2", "dept", steps=0, length=16, matches=40, max_length=48)
    count = sum(p.numel() for p in seen.parameters.values())
    r = 24 * D // (48 + D)
    assert count == 16 * D + (48 + D) * r <= 40 * D < count + 48 + D
    (note,) = [entry["values"]["note"] for entry in result.history if entry["step"] == "rank"]
    assert note == f"rank {r} gives {count:,} parameters; a prompt of 40 tokens has 1,280"


def test_a_given_rank_is_taken_and_nonsense_is_refused(monkeypatch):
    seen = Seen(monkeypatch)
    found_by("gpt2", "dept", steps=0, rank=7, matches=0)
    assert seen.parameters["B"].shape == (7, D)
    for settings, message in (
        ({"matches": 3}, "more parameters than one of 3"),
        ({"matches": 0}, "give a rank"),
        ({"rank": -1}, "rank is -1"),
        ({"max_length": 0}, "max_length 0"),
    ):
        with pytest.raises(UsageError, match=message):
            fit("gpt2", "dept", **settings)


def test_as_many_tokens_as_are_matched_leave_no_offsets():
    learned = found_by("gpt2", "dept", steps=2, length=4, matches=4, rate=0.01)
    plain = found_by("gpt2", "prompt-tuning", steps=2, decay=0.0, rate=0.01)
    assert [p.kind for p in learned.parts if p.kind == "module"] == []
    np.testing.assert_array_equal(part(learned, "input"), part(plain, "input"))


def test_a_starts_uniform_and_b_at_zero(monkeypatch):
    found = offsets_of(found_by("gpt2", "dept", steps=0, rank=25, max_length=100))
    first = found.arrays["A"]
    assert abs(first).max() <= 0.2
    assert first.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    assert not found.arrays["B"].any()
    assert found.options["scale"] == pytest.approx(8.0 / 5.0)


def test_the_first_gradient_goes_to_b_alone(monkeypatch):
    seen = Seen(monkeypatch)
    found_by("gpt2", "dept", steps=0, rank=3)
    with attach(seen.goal.body.model, seen.fillings()):
        seen.goal.loss([0, 1, 2]).backward()
    assert not seen.parameters["A"].grad.any()
    assert seen.parameters["B"].grad.abs().max() > 0
    assert all(p.grad is None for p in seen.goal.body.model.parameters())


@pytest.mark.parametrize("kind", ["gpt2", "t5", "encoder"])
def test_with_a_rate_of_zero_for_the_offsets_it_trains_as_prompt_tuning(kind):
    site = "encoder.input" if kind == "t5" else "input"
    dept = found_by(kind, "dept", steps=5, rank=3, offset_rate=0.0, rate=0.05)
    plain = found_by(kind, "prompt-tuning", steps=5, rate=0.05, decay=0.0)
    np.testing.assert_array_equal(part(dept, site), part(plain, site))
    assert not offsets_of(dept).arrays["B"].any()


def trained_offsets(rows=8, r=3):
    generator = torch.Generator().manual_seed(0)
    return Offsets(torch.randn(rows, r, generator=generator), torch.randn(r, D, generator=generator), 0.5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
def test_left_padding_gathers_offsets_by_position(kind):
    body, offsets = separable.model(kind).frozen(), trained_offsets()
    rows = [body.encode("the red river was good"), body.encode("a lamp")]
    found = []
    for left in (False, True):
        ids, mask = body.padded(rows, left=left)
        positions = {} if kind == "bert" else {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        with torch.no_grad(), attach(body.model, [Filling("input", offsets)]):
            states = body.model.base_model(input_ids=ids, attention_mask=mask, **positions).last_hidden_state
        found.append([s[m.bool()] for s, m in zip(states, mask, strict=True)])
    if kind == "bert":  # its positions are those of the padded row
        torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-5)
        return
    for right, left in zip(*found, strict=True):
        torch.testing.assert_close(right, left, rtol=1e-4, atol=1e-5)


def test_virtual_tokens_and_what_stands_beyond_s_get_no_offset():
    body, offsets = separable.model("gpt2").frozen(), trained_offsets(rows=3)
    prompt = torch.randn(4, D)
    ids = torch.tensor([body.encode("the red river was good")])
    embedded = body.model.get_input_embeddings()(ids)[0].detach().clone()
    embedded[:3] += 0.5 * (offsets.A @ offsets.B).detach()
    with torch.no_grad():
        wanted = body.model.base_model(inputs_embeds=torch.cat([prompt, embedded])[None]).last_hidden_state[:, 4:]
        with attach(body.model, [Filling("input", prompt), Filling("input", offsets)]):
            found = body.model.base_model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_tokens_of_an_answer_get_no_offset_given_or_generated(kind):
    body, offsets = separable.model(kind).frozen(), trained_offsets(rows=40)
    prompt = body.encode("the red river was good")
    target = body.continuation("the red river was good", " positive negative kettle")
    assert len(target) > 1
    embedded = body.model.get_input_embeddings()(torch.tensor([prompt + target]))[0].detach().clone()
    embedded[: len(prompt)] += 0.5 * (offsets.A @ offsets.B).detach()[: len(prompt)]
    with torch.no_grad():
        logits = body.model(inputs_embeds=embedded[None]).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        wanted = logits[torch.arange(len(target)), target].sum()
        with attach(body.model, [Filling("input", offsets)]):
            given = body.target_logprobs([prompt], [target])[0]
            first = body.model(input_ids=torch.tensor([prompt]), use_cache=True)
            rest = body.model(input_ids=torch.tensor([target[:-1]]), past_key_values=first.past_key_values)
    stepwise = torch.cat([first.logits[0, -1:], rest.logits[0]]).log_softmax(-1)
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(stepwise[torch.arange(len(target)), target].sum(), wanted, rtol=1e-5, atol=1e-4)


def test_inputs_longer_than_s_are_said_aloud():
    result = fit("gpt2", "dept", steps=1, rank=2, max_length=8)
    n = len(separable.task().train)
    (warning,) = [w for w in result.warnings if "max_length" in w]
    assert warning.startswith(f"{n} of {n} training inputs are longer than max_length 8")
    assert not [w for w in fit("gpt2", "dept", steps=1, rank=2).warnings if "max_length" in w]


def test_gradients_of_offsets_do_not_depend_on_the_order_of_threads():
    from promptology.injection.modules import Offsets, Spans

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        make = torch.Generator().manual_seed(0)
        hidden = torch.randn(16, 40, 128, generator=make)
        first, second = torch.randn(64, 8, generator=make), torch.randn(8, 128, generator=make)
        spans = Spans(torch.arange(40).expand(16, -1))
        found = set()
        for _ in range(50):
            offsets = Offsets(first.clone(), second.clone(), 1.0)
            (offsets(hidden, spans, {}) * hidden).square().sum().backward()
            found.add(offsets.A.grad.numpy().tobytes())
        assert len(found) == 1
    finally:
        torch.set_num_threads(threads)
