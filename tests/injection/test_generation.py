"""Generation under prompts: greedy, beams and sampling, with a cache and without, on padded rows."""

from __future__ import annotations

import pytest
import torch
from injecting import CAUSAL, FAR, NEAR, WIDTH, apart, behind, cached, mask_of, normal, positions_of, token_ids, wider

from promptology.errors import UsageError
from promptology.injection import Filling, attach, encode_prefix
from promptology.injection.modules import Offsets

PROMPT = normal(5, WIDTH, seed=1)
PROMPTS = normal(3, 5, WIDTH, seed=2)
WAYS = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "returned beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "top_k": 0, "temperature": 0.9},
    "samples": {"do_sample": True, "num_return_sequences": 2},
    "no cache": {"do_sample": False, "use_cache": False},
}


def generated(model, *inputs, **settings):
    torch.manual_seed(4)
    return model.generate(*inputs, max_new_tokens=6, pad_token_id=0, eos_token_id=None, **settings)


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("prompt", [PROMPT, PROMPTS], ids=["shared", "per row"])
def test_equal_to_generating_behind_a_real_prompt(kind, way, prompt, model_of):
    model = model_of(kind)
    ids, mask = token_ids(model), mask_of("left")
    settings = WAYS[way]
    expected = generated(model, inputs_embeds=behind(prompt, ids, model), attention_mask=wider(mask, 5), **settings)
    with attach(model, [Filling("input", prompt)]):
        found = generated(model, ids, attention_mask=mask, **settings)
    assert torch.equal(found[:, 7:], expected)
    assert torch.equal(found[:, :7], ids.repeat_interleave(len(found) // 3, dim=0))
    assert not torch.equal(found, generated(model, ids, attention_mask=mask, **settings))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_ragged_prompts_generate_as_they_do_alone(kind, attention, model_of):
    model = model_of(kind, attention=attention)
    ids, mask = token_ids(model), mask_of("left")
    prompts = [PROMPTS[0, :2], PROMPTS[1], PROMPTS[2, :4]]
    with attach(model, [Filling("input", prompts)]):
        found = generated(model, ids, attention_mask=mask, num_beams=2)
    for i, prompt in enumerate(prompts):
        with attach(model, [Filling("input", prompt)]):
            alone = generated(model, ids[i : i + 1], attention_mask=mask[i : i + 1], num_beams=2)
        assert torch.equal(found[i : i + 1], alone)


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("side", [None, "left"])
def test_steps_of_a_cache_equal_one_pass(kind, side, model_of):
    model = model_of(kind)
    ids, mask = token_ids(model), mask_of(side)
    positions = positions_of(mask)
    with torch.no_grad(), attach(model, [Filling("input", PROMPT)]):
        whole = model(ids, attention_mask=mask, position_ids=positions).logits
        cache, steps = None, []
        for start, end in ((0, 4), (4, 5), (5, 7)):
            out = model(
                ids[:, start:end],
                attention_mask=mask[:, :end],
                position_ids=positions[:, start:end],
                **cached(model, cache),
                use_cache=True,
            )
            cache = out.past_key_values
            steps.append(out.logits)
    assert cache.get_seq_length() == 7  # the cache never learns of virtual tokens
    assert apart(torch.cat(steps, dim=1), whole, mask) < NEAR


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_generation_under_everything_at_once(kind, model_of):
    """Prompt, shared prefix and offsets of the text; without a cache generated tokens would count as text."""
    model = model_of(kind)
    ids, mask = token_ids(model), mask_of(None)
    prefix = encode_prefix(model, token_ids(model, rows=1, seed=8))
    offsets = Offsets(normal(7, 2, seed=5), normal(2, WIDTH, seed=6), 0.5)
    fillings = [Filling("input", PROMPT), Filling("input", offsets), Filling("layer[1]", normal(5, WIDTH, seed=4))]
    with attach(model, fillings, prefixes=[prefix]):
        found = generated(model, ids, attention_mask=mask)
        beams = generated(model, ids, attention_mask=mask, num_beams=2)
        again = generated(model, ids, attention_mask=mask, use_cache=False)
    assert torch.equal(found, again)
    assert beams.shape == found.shape
    for missing in range(3):
        with attach(model, fillings[:missing] + fillings[missing + 1 :] if missing else fillings[1:2], [prefix]):
            assert not torch.equal(found, generated(model, ids, attention_mask=mask))


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_static_cache(kind, model_of):
    model = model_of(kind)
    ids, mask = token_ids(model), mask_of("left")
    with attach(model, [Filling("input", PROMPT)]):
        expected = generated(model, ids, attention_mask=mask)
        found = generated(model, ids, attention_mask=mask, cache_implementation="static")
    assert torch.equal(found, expected)


def test_a_user_s_own_cache_goes_on_under_the_prompt(model_of):
    """Keys and values of a text that was read without the prompt stay as they are; what follows sees the prompt."""
    model = model_of("llama")
    ids = token_ids(model)
    with torch.no_grad():
        cache = model(ids[:, :4], use_cache=True).past_key_values
        plain = model(ids).logits[:, 4:]
        with attach(model, [Filling("input", PROMPT)]):
            seen = model(ids[:, 4:], **cached(model, cache)).logits
    assert apart(seen, plain) > FAR


def test_more_beams_than_rows_is_a_multiple_of_the_prompts(model_of):
    model = model_of("llama")
    with (
        attach(model, [Filling("input", PROMPTS)]),
        pytest.raises(UsageError, match="3 prompts were attached, one per row, and the batch has 2 rows"),
    ):
        generated(model, token_ids(model, rows=2))
