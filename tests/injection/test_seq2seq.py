"""T5: prompts of the encoder that its decoder sees, learned keys and values in both kinds of attention."""

from __future__ import annotations

import pytest
import torch
import transformers
from injecting import FAR, NEAR, WIDTH, Scaled, apart, behind, cached, key_values, mask_of, normal, token_ids, wider

from promptology.errors import UsageError
from promptology.injection import Filling, attach, capture

PROMPT = normal(5, WIDTH, seed=1)
PROMPTS = normal(3, 5, WIDTH, seed=2)
RAGGED = [PROMPTS[0, :2], PROMPTS[1], PROMPTS[2, :4]]
ways = pytest.mark.parametrize("attention", ["sdpa", "eager"])
sides = pytest.mark.parametrize("side", [None, "right", "left"])


@pytest.fixture
def model(model_of):
    return model_of("t5")


def batch_of(model, side="right"):
    ids, mask = token_ids(model), mask_of(side)
    return ids.masked_fill(mask == 0, 0), mask, token_ids(model, 3, 4, seed=9)


def prepended(model, prompt, ids, mask, labels):
    full = wider(mask, prompt.shape[-2])
    return model(inputs_embeds=behind(prompt, ids, model), attention_mask=full, labels=labels)


def prefixed(values, place):
    return [Filling(f"decoder.{place}[{i}]", value) for i, value in enumerate(values)]


def one_by_one(model, fillings_of, ids, mask, labels):
    found = []
    for i in range(len(ids)):
        with attach(model, fillings_of(i)):
            found.append(model(ids[i : i + 1], attention_mask=mask[i : i + 1], labels=labels[i : i + 1]).logits)
    return torch.cat(found)


@ways
@sides
@pytest.mark.parametrize("prompt", [PROMPT, PROMPTS], ids=["shared", "per row"])
def test_a_prompt_of_the_encoder_equals_prepending(attention, side, prompt, model_of):
    model = model_of("t5", attention=attention)
    ids, mask, labels = batch_of(model, side)
    expected = prepended(model, prompt, ids, mask, labels)
    with attach(model, [Filling("encoder.input", prompt)]):
        found = model(ids, attention_mask=mask, labels=labels)
        unmasked = model(ids, labels=labels).logits
    assert apart(found.logits, expected.logits) < NEAR
    assert abs(float(found.loss - expected.loss)) < NEAR
    if side is None:
        assert apart(unmasked, expected.logits) < NEAR
    assert apart(found.logits, model(ids, attention_mask=mask, labels=labels).logits) > FAR


@pytest.mark.parametrize("ways", [{}, {"num_beams": 3}, {"do_sample": True}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize("prompt", [PROMPT, PROMPTS], ids=["shared", "per row"])
def test_generation(ways, prompt, model):
    ids, mask, _ = batch_of(model)
    settings = {"max_new_tokens": 6, "eos_token_id": None, **ways}
    torch.manual_seed(0)
    expected = model.generate(inputs_embeds=behind(prompt, ids, model), attention_mask=wider(mask, 5), **settings)
    with attach(model, [Filling("encoder.input", prompt)]):
        torch.manual_seed(0)
        found = model.generate(ids, attention_mask=mask, **settings)
    assert torch.equal(found, expected)
    torch.manual_seed(0)
    assert not torch.equal(found, model.generate(ids, attention_mask=mask, **settings))


@ways
@pytest.mark.parametrize("masked", [True, False])
def test_prompts_of_different_lengths(attention, masked, model_of):
    model = model_of("t5", attention=attention)
    ids, mask, labels = batch_of(model, "right" if masked else None)
    with attach(model, [Filling("encoder.input", RAGGED)]):
        found = model(ids, labels=labels, **({"attention_mask": mask} if masked else {})).logits
        generated = model.generate(ids, attention_mask=mask, max_new_tokens=4, num_beams=2, eos_token_id=None)
    alone = one_by_one(model, lambda i: [Filling("encoder.input", RAGGED[i])], ids, mask, labels)
    assert apart(found, alone) < NEAR
    for i, prompt in enumerate(RAGGED):
        with attach(model, [Filling("encoder.input", prompt)]):
            row = model.generate(
                ids[i : i + 1], attention_mask=mask[i : i + 1], max_new_tokens=4, num_beams=2, eos_token_id=None
            )
        assert torch.equal(generated[i : i + 1], row)


@pytest.mark.parametrize("masked", [True, False])
def test_nested_prompts(masked, model):
    inner = normal(3, WIDTH, seed=3)
    ids, mask, labels = batch_of(model, "right" if masked else None)
    given = {"attention_mask": mask} if masked else {}
    expected = prepended(model, torch.cat([PROMPT, inner]), ids, mask, labels).logits
    with attach(model, [Filling("encoder.input", PROMPT)]):
        with attach(model, [Filling("encoder.input", inner)]):
            assert apart(model(ids, labels=labels, **given).logits, expected) < NEAR
        found = model(ids, labels=labels, **given).logits
    assert apart(found, prepended(model, PROMPT, ids, mask, labels).logits) < NEAR
    with attach(model, [Filling("encoder.input", RAGGED)]), attach(model, [Filling("encoder.input", inner)]):
        found = model(ids, labels=labels, **given).logits
    joined = [torch.cat([prompt, inner]) for prompt in RAGGED]
    assert apart(found, one_by_one(model, lambda i: [Filling("encoder.input", joined[i])], ids, mask, labels)) < NEAR


def test_a_prompt_around_ragged_ones_would_leave_gaps(model):
    ids, mask, _ = batch_of(model)
    with (
        attach(model, [Filling("encoder.input", PROMPT)]),
        attach(model, [Filling("encoder.input", RAGGED)]),
        pytest.raises(UsageError, match="relative positions: join the two along their length"),
    ):
        model.get_encoder()(ids, attention_mask=mask)


def test_output_of_the_encoder_keeps_its_virtual_tokens(model):
    """The decoder shall see them; a module at the output acts on the text alone."""
    ids, mask, labels = batch_of(model, None)
    scaled = Scaled()
    with attach(model, [Filling("encoder.input", PROMPT), Filling("encoder.output", scaled)]):
        hidden = model.get_encoder()(ids, attention_mask=mask).last_hidden_state
        found = model(ids, attention_mask=mask, labels=labels).logits
    with attach(model, [Filling("encoder.input", PROMPT)]):
        plain = model.get_encoder()(ids, attention_mask=mask).last_hidden_state
        assert apart(found, model(ids, attention_mask=mask, labels=labels).logits) > FAR
    assert hidden.shape == (3, 12, WIDTH)
    assert torch.equal(hidden[:, :5], plain[:, :5])
    assert torch.equal(hidden[:, 5:], plain[:, 5:] * scaled.by)


@ways
def test_keys_and_values_of_the_decoder_equal_a_cache_that_holds_them(attention, model_of):
    model = model_of("t5", attention=attention)
    ids, mask, labels = batch_of(model)
    values = key_values(model)
    cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
    for i, value in enumerate(values):
        key, val = (part.transpose(0, 1).expand(3, -1, -1, -1) for part in value)
        cache.self_attention_cache.update(key, val, i)
    start = model._shift_right(labels)
    expected = model(ids, attention_mask=mask, decoder_input_ids=start, **cached(model, cache)).logits
    with attach(model, prefixed(values, "key_value")):
        found = model(ids, attention_mask=mask, labels=labels).logits
    assert apart(found, expected) < NEAR
    assert apart(found, model(ids, attention_mask=mask, labels=labels).logits) > FAR


@ways
def test_cross_attention_sees_learned_keys_and_values(attention, model_of):
    """Against attention computed by hand at the first layer."""
    model = model_of("t5", attention=attention)
    ids, mask, labels = batch_of(model)
    values = key_values(model)
    first = model.decoder.block[0].layer[1].EncDecAttention
    seen = {}
    hooks = [
        first.register_forward_hook(
            lambda m, args, kwargs, out: seen.update(args=args, kwargs=kwargs, out=out[0]), with_kwargs=True
        )
    ]
    with attach(model, prefixed(values, "cross_key_value")):
        found = model(ids, attention_mask=mask, labels=labels).logits
        with capture(model, ["encoder.output"]) as states:
            model(ids, attention_mask=mask, labels=labels)
    hooks[0].remove()

    def heads(x):
        return x.unflatten(-1, (4, 8)).transpose(1, 2)

    hidden = states["encoder.output"]
    key = torch.cat([values[0][0].transpose(0, 1).expand(3, -1, -1, -1), heads(first.k(hidden))], dim=2)
    value = torch.cat([values[0][1].transpose(0, 1).expand(3, -1, -1, -1), heads(first.v(hidden))], dim=2)
    scores = heads(first.q(seen["args"][0])) @ key.transpose(2, 3)
    scores = scores.masked_fill(wider(mask, 4)[:, None, None] == 0, -torch.inf)
    expected = first.o((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2))
    assert apart(seen["out"], expected) < NEAR
    assert apart(found, model(ids, attention_mask=mask, labels=labels).logits) > FAR


@ways
@pytest.mark.parametrize("place", ["key_value", "cross_key_value"])
def test_keys_and_values_per_row(attention, place, model_of):
    model = model_of("t5", attention=attention)
    ids, mask, labels = batch_of(model)
    rows = [key_values(model, length, seed=length) for length in (2, 4, 3)]
    with attach(model, prefixed([[row[i] for row in rows] for i in range(2)], place)):
        found = model(ids, attention_mask=mask, labels=labels).logits
    assert apart(found, one_by_one(model, lambda i: prefixed(rows[i], place), ids, mask, labels)) < NEAR


def test_steps_of_a_cache_equal_one_pass(model):
    """With a prompt and both kinds of learned keys and values."""
    ids, mask, labels = batch_of(model)
    values, start = key_values(model), model._shift_right(labels)
    fillings = [
        Filling("encoder.input", PROMPT),
        *prefixed(values, "key_value"),
        *prefixed([-v for v in values], "cross_key_value"),
    ]
    with torch.no_grad(), attach(model, fillings):
        whole = model(ids, attention_mask=mask, decoder_input_ids=start).logits
        encoded, cache, steps = model.get_encoder()(ids, attention_mask=mask), None, []
        for n in range(4):
            out = model(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=start[:, n : n + 1],
                use_cache=True,
                **cached(model, cache),
            )
            cache = out.past_key_values
            steps.append(out.logits)
        generated = model.generate(ids, attention_mask=mask, max_new_tokens=5, eos_token_id=None)
        slowly = model.generate(ids, attention_mask=mask, max_new_tokens=5, eos_token_id=None, use_cache=False)
        static = model.generate(
            ids, attention_mask=mask, max_new_tokens=5, eos_token_id=None, cache_implementation="static"
        )
    assert apart(torch.cat(steps, dim=1), whole) < NEAR
    assert torch.equal(generated, slowly)
    assert torch.equal(generated, static)


def test_deep_prompts_of_the_encoder(model):
    ids, mask, labels = batch_of(model)
    deep = normal(5, WIDTH, seed=4)

    def replace(module, args, kwargs):
        return (torch.cat([deep.expand(3, -1, -1), args[0][:, 5:]], dim=1), *args[1:]), kwargs

    hook = model.encoder.block[1].register_forward_pre_hook(replace, with_kwargs=True)
    expected = prepended(model, PROMPT, ids, mask, labels).logits
    hook.remove()
    with attach(model, [Filling("encoder.input", PROMPT), Filling("encoder.layer[1]", deep)]):
        found = model(ids, attention_mask=mask, labels=labels).logits
    assert apart(found, expected) < NEAR
    assert apart(found, prepended(model, PROMPT, ids, mask, labels).logits) > FAR


def test_gradients_equal_those_of_prepending(model):
    ids, mask, labels = batch_of(model)
    attached, real = PROMPT.clone().requires_grad_(), PROMPT.clone().requires_grad_()
    with attach(model, [Filling("encoder.input", attached)]):
        model(ids, attention_mask=mask, labels=labels).loss.backward()
    prepended(model, real, ids, mask, labels).loss.backward()
    assert float(real.grad.norm()) > 1e-5
    assert apart(attached.grad, real.grad) < 1e-6


def test_an_encoder_alone_is_a_stack_too(model_of):
    from injecting import frozen

    model = model_of("t5")
    encoder = frozen(transformers.T5EncoderModel(model.config))
    encoder.load_state_dict({k: v for k, v in model.state_dict().items() if k in encoder.state_dict()})
    ids, mask, _ = batch_of(model)
    with attach(model, [Filling("encoder.input", PROMPT)]):
        expected = model.get_encoder()(ids, attention_mask=mask).last_hidden_state
    for site in ("input", "encoder.input"):
        with attach(encoder, [Filling(site, PROMPT)]):
            assert apart(encoder(ids, attention_mask=mask).last_hidden_state, expected) < NEAR


def test_which_stack_is_meant_must_be_said(model):
    with (
        pytest.raises(UsageError, match="leaves open which stack is meant; write one of encoder, decoder"),
        attach(model, [Filling("input", PROMPT)]),
    ):
        pass
    with (
        pytest.raises(UsageError, match=r"use decoder\.key_value\[i\]"),
        attach(model, [Filling("decoder.input", PROMPT)]),
    ):
        pass
