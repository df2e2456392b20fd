"""Learned parts of requests: many prompts side by side give what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import WIDTH, WORDS

from promptology.injection import Filling, attach
from promptology.injection.modules import Offsets
from promptology.models.access import Injected, Request
from promptology.run.handles import unmetered

PROMPTS = [" ".join(WORDS[n : n + 2 + n % 7]) for n in range(0, 64, 2)]


def soft(n, site="input", length=None):
    length, generator = length or 2 + n % 5, torch.Generator().manual_seed(n)
    tokens = 0.3 * torch.randn(length, WIDTH, generator=generator)
    return Injected(f"soft-{n}-{site}-{length}", (Filling(site, tokens),))


def keys_values(n):
    generator = torch.Generator().manual_seed(n)
    tensors = [0.3 * torch.randn(2, 1 + n % 3, 2, WIDTH // 4, generator=generator) for _ in range(2)]
    return Injected(f"kv-{n}", tuple(Filling(f"key_value[{i}]", t) for i, t in enumerate(tensors)))


def answers(model, requests):
    found = dict(model.generate(requests))
    return [found[n] for n in range(len(requests))]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_32_prompts_in_one_batch_equal_one_by_one(opened, name):
    model = opened(name)
    parts = [soft(n) if n % 8 else None for n in range(32)]
    if name == "llama":
        parts[3], parts[12] = keys_values(3), keys_values(12)
    requests = [Request.user(p, max_tokens=10, injected=i) for p, i in zip(PROMPTS, parts, strict=True)]
    together = answers(model, requests)
    alone = [answers(model, [r])[0] for r in requests]
    assert [a.text for a in together] == [a.text for a in alone]
    body = model.frozen()
    plainly = []
    for request in requests:
        ids = torch.tensor([body.encode(request.messages)])
        with attach(body.model, request.injected.fillings if request.injected else ()):
            given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 10, "do_sample": False}
            out = body.model.generate(ids, pad_token_id=0, **given)
        plainly.append(body.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert [a.text for a in together] == plainly
    assert together[1].text != answers(model, [Request.user(PROMPTS[1], max_tokens=10)])[0].text


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_logits_of_mixed_rows_equal_one_by_one(opened, name):
    body = opened(name).frozen()
    tenants = opened(name)._answering().tenants
    parts = [soft(n) if n % 8 else None for n in range(32)]
    rows = [body.encode(p) for p in PROMPTS]
    with body.quiet():
        with tenants.showing(parts)(range(32)):
            states, mask = body.hidden(rows)
        mixed = body.logits(states[torch.arange(32), mask.sum(1) - 1])
        for n, row in enumerate(rows):
            with attach(body.model, parts[n].fillings if parts[n] else ()):
                alone = body.model(torch.tensor([row])).logits[0, -1]
            torch.testing.assert_close(mixed[n], alone, atol=1e-5, rtol=1e-5)


def test_a_sampled_answer_under_a_prompt_is_its_own(opened):
    model = opened("llama")
    requests = [
        Request.user(p, max_tokens=8, temperature=1.0, seed=n, injected=soft(n)) for n, p in enumerate(PROMPTS[:8])
    ]
    assert [a.text for a in answers(model, requests)] == [answers(model, [r])[0].text for r in requests]


def test_encoder_decoder_prompts_of_one_length_stand_side_by_side(opened):
    model = opened("t5")
    parts = [soft(n, "encoder.input", 3 + n % 2) for n in range(8)]
    parts[2] = None
    requests = [Request.user(p, max_tokens=8, injected=i) for p, i in zip(PROMPTS, parts, strict=False)]
    together = answers(model, requests)
    body = model.frozen()
    for request, answer in zip(requests, together, strict=True):
        ids = torch.tensor([body.encode(request.messages)])
        with attach(body.model, request.injected.fillings if request.injected else ()):
            out = body.model.generate(ids, max_new_tokens=8, do_sample=False)
        assert answer.text == body.tokenizer.decode(out[0, 1:], skip_special_tokens=True)
    groups = {model._answering().tenants.group(i) for i in parts}
    assert groups == {"", "length 3", "length 4"}


def test_other_parts_run_under_their_own_attachment(opened):
    model = opened("gpt2")
    body = model.frozen()
    weight = body.model.state_dict()["transformer.h.0.mlp.c_fc.weight"] * 0.5
    changed = Injected("half", (Filling("weight:transformer.h.0.mlp.c_fc.weight", weight),))
    requests = [Request.user(p, max_tokens=6, injected=i) for p in PROMPTS[:4] for i in (None, changed, soft(1))]
    together = answers(model, requests)
    assert [a.text for a in together] == [answers(model, [r])[0].text for r in requests]
    assert together[0].text != together[1].text
    before = model.score(["the movie is"], [[" great"]])
    scored = answers(model, [Request.user("the movie is", continuation=" great", injected=changed)])[0].logprob
    assert scored != pytest.approx(before[0][0], abs=1e-4)
    assert model.score(["the movie is"], [[" great"]]) == before


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_scores_under_a_prompt_share_and_stay_exact(opened, name):
    model = opened(name)
    body = model.frozen()
    part = soft(4, "encoder.input" if name == "t5" else "input")
    instruction = " ".join(WORDS[:70])
    prompts = [f"{instruction} {p}" for p in PROMPTS[:6]]
    choices = [" great", " bad"] if name == "bert" else [" great", " red green blue"]
    requests = [Request.user(p, continuation=c, injected=part) for p in prompts for c in choices]
    found = [o.logprob for o in unmetered(model).outcomes(requests)]
    rows = [body.encode(r.messages) for r in requests]
    targets = [body.continuation(r.messages, r.continuation) for r in requests]
    with attach(body.model, part.fillings), torch.no_grad():
        whole = body.target_logprobs(rows, targets)
    torch.testing.assert_close(torch.tensor(found), whole, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "encoder", "t5"])
def test_states_under_a_prompt(opened, name):
    model = opened(name)
    part = soft(4, "encoder.input" if name == "t5" else "input")
    bare, under = model.states(PROMPTS[:5]), model.states(PROMPTS[:5], part)
    body = model.frozen()
    with attach(body.model, part.fillings), torch.no_grad():
        alone = np.stack([body.pooled([body.encode(p)])[0].numpy() for p in PROMPTS[:5]])
    np.testing.assert_allclose(under, alone, atol=2e-5)
    assert np.abs(under - bare).max() > 1e-3
    np.testing.assert_array_equal(model.states(PROMPTS[:5]), bare)


def test_a_long_text_leaves_room_for_the_prompt(opened):
    for name in ("encoder", "gpt2"):
        assert opened(name).states(["red " * 400], soft(4)).shape == (1, WIDTH)
    request = Request.user(" red" * 190, max_tokens=9, injected=soft(4, length=30))
    ((_, outcome),) = opened("gpt2").generate([request])
    assert "190 tokens (and 30 learned ones), and the model reads 192" in outcome.reason


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_under_32_prompts_in_one_batch_equal_one_by_one(opened, name):
    model = opened(name)
    body = model.frozen()
    parts = [soft(n) if n % 8 else None for n in range(32)]
    requests = [
        Request.user(p, continuation=c, injected=i)
        for p, i in zip(PROMPTS, parts, strict=True)
        for c in (" great", " red green blue")
    ]
    together = [a.logprob for a in answers(model, requests)]
    for request, value in zip(requests, together, strict=True):
        fillings = request.injected.fillings if request.injected else ()
        target = body.continuation(request.messages, request.continuation)
        with attach(body.model, fillings), torch.no_grad():
            (whole,) = body.target_logprobs([body.encode(request.messages)], [target]).tolist()
        assert value == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_modules_that_count_tokens_stay_exact_in_batches(opened, name):
    model = opened(name)
    body = model.frozen()
    site = "encoder.input" if name == "t5" else "input"
    generator = torch.Generator().manual_seed(5)
    offsets = Offsets(torch.randn(6, 2, generator=generator), torch.randn(2, WIDTH, generator=generator), 0.3)
    part = Injected(f"offsets-{site}", (*soft(3, site).fillings, Filling(site, offsets)))
    requests = [Request.user(p, max_tokens=8, injected=part) for p in PROMPTS[:6]]
    texts = [a.text for a in answers(model, requests)]
    for request, text in zip(requests, texts, strict=True):
        ids = torch.tensor([body.encode(request.messages)])
        given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
        with attach(body.model, part.fillings), torch.no_grad():
            out = body.model.generate(ids, **given)[0]
        new = out[1:] if name == "t5" else out[ids.shape[1] :]
        assert text == body.tokenizer.decode(new, skip_special_tokens=True)
    long = " ".join(WORDS[:60])
    scored = [Request.user(f"{long} {p}", continuation=" great", injected=part) for p in PROMPTS[:4]]
    for request, found in zip(scored, answers(model, scored), strict=True):
        target = body.continuation(request.messages, " great")
        with attach(body.model, part.fillings), torch.no_grad():
            (whole,) = body.target_logprobs([body.encode(request.messages)], [target]).tolist()
        assert found.logprob == pytest.approx(whole, abs=1e-5)
