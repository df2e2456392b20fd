"""Prompts on causal stacks: shown to attention as keys and values, equal to prompts that are really prepended."""

from __future__ import annotations

import itertools

import pytest
import torch
from injecting import (
    CAUSAL,
    FAR,
    NEAR,
    WIDTH,
    apart,
    behind,
    blocks_of,
    mask_of,
    normal,
    positions_of,
    prepended,
    token_ids,
)

from promptology.injection import Filling, attach
from promptology.injection.modules import Offsets

PROMPT = normal(5, WIDTH, seed=1)
PROMPTS = normal(3, 5, WIDTH, seed=2)
RAGGED = [PROMPTS[0, :2], PROMPTS[1], PROMPTS[2, :4]]

every = pytest.mark.parametrize("kind", CAUSAL)
two = pytest.mark.parametrize("kind", ["gpt2", "llama"])
ways = pytest.mark.parametrize("attention", ["sdpa", "eager"])


def one_by_one(model, prompts, ids, mask=None, **given):
    outputs = []
    for i, prompt in enumerate(prompts):
        with attach(model, [Filling("input", prompt)]):
            own = {} if mask is None else {"attention_mask": mask[i : i + 1]}
            outputs.append(model(ids[i : i + 1], **own).logits)
    return torch.cat(outputs)


@every
@ways
def test_equal_to_prepending(kind, attention, model_of):
    model = model_of(kind, attention=attention)
    ids = token_ids(model)
    expected = prepended(model, PROMPT, ids)
    with attach(model, [Filling("input", PROMPT)]):
        found = model(ids).logits
    assert apart(found, expected) < NEAR
    assert apart(found, model(ids).logits) > FAR


@every
@ways
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_both_sides(kind, attention, side, model_of):
    model = model_of(kind, attention=attention)
    ids, mask = token_ids(model), mask_of(side)
    expected = prepended(model, PROMPT, ids, mask)
    with attach(model, [Filling("input", PROMPT)]):
        found = model(ids, attention_mask=mask, position_ids=positions_of(mask)).logits
        other = ids.masked_fill(mask == 0, 9)
        blind = model(other, attention_mask=mask, position_ids=positions_of(mask)).logits
    assert apart(found, expected, mask) < NEAR
    assert apart(found, blind, mask) == 0  # what stands in the padding counts for nothing


@two
def test_embeddings_instead_of_ids(kind, model_of):
    model = model_of(kind)
    ids = token_ids(model)
    with attach(model, [Filling("input", PROMPT)]):
        assert torch.equal(model(ids).logits, model(inputs_embeds=model.get_input_embeddings()(ids)).logits)


@every
def test_one_prompt_per_row(kind, model_of):
    model = model_of(kind)
    ids = token_ids(model)
    with attach(model, [Filling("input", PROMPTS)]):
        found = model(ids).logits
    assert apart(found, prepended(model, PROMPTS, ids)) < NEAR
    assert apart(found, one_by_one(model, PROMPTS, ids)) < NEAR


@two
@ways
@pytest.mark.parametrize("side", [None, "right"])
def test_prompts_of_different_lengths(kind, attention, side, model_of):
    model = model_of(kind, attention=attention)
    ids, mask = token_ids(model), mask_of(side)
    with attach(model, [Filling("input", RAGGED)]):
        found = model(ids, attention_mask=mask).logits
    assert apart(found, one_by_one(model, RAGGED, ids, mask), mask) < NEAR


@two
@ways
@pytest.mark.parametrize("gradients", [True, False])
def test_some_rows_without_a_prompt(kind, attention, gradients, model_of):
    model = model_of(kind, attention=attention)
    ids = token_ids(model)
    with torch.set_grad_enabled(gradients), attach(model, [Filling("input", [PROMPT, PROMPT[:0], PROMPT[:2]])]):
        found = model(ids).logits
    assert apart(found[1:2], model(ids[1:2]).logits) < NEAR
    assert apart(found[:1], prepended(model, PROMPT, ids[:1])) < NEAR
    assert apart(found[2:], prepended(model, PROMPT[:2], ids[2:])) < NEAR


@two
def test_gradients_with_some_rows_without_a_prompt(kind, model_of):
    model, prompt, empty = model_of(kind), PROMPT.clone().requires_grad_(), PROMPT[:0].clone().requires_grad_()
    ids = token_ids(model)
    with attach(model, [Filling("input", [prompt, empty, PROMPT])]):
        model(ids).logits[:2].square().mean().backward()
    assert bool(prompt.grad.isfinite().all())
    assert float(prompt.grad.norm()) > 0


@two
def test_nested_and_listed_prompts_are_joined(kind, model_of):
    model, inner = model_of(kind), normal(3, WIDTH, seed=3)
    ids = token_ids(model)
    expected = prepended(model, torch.cat([PROMPT, inner]), ids)
    outer = Filling("input", PROMPT)
    with attach(model, [outer]):
        for _ in range(2):
            with attach(model, [Filling("input", inner)]):
                assert apart(model(ids).logits, expected) < NEAR
            assert apart(model(ids).logits, prepended_alone(model, ids)) < NEAR
    with attach(model, [outer, Filling("input", inner)]):
        assert apart(model(ids).logits, expected) < NEAR


def prepended_alone(model, ids):
    """The outer prompt alone: the reference of `prepended` must not pass through what is attached now."""
    import copy

    plain = copy.deepcopy(model)
    for module in plain.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    plain.config._attn_implementation_internal = "eager"
    return prepended(plain, PROMPT, ids)


@two
def test_nested_prompts_per_row_of_different_lengths(kind, model_of):
    model = model_of(kind)
    ids = token_ids(model)
    with attach(model, [Filling("input", RAGGED)]), attach(model, [Filling("input", PROMPTS)]):
        found = model(ids).logits
    joined = [torch.cat([outer, inner]) for outer, inner in zip(RAGGED, PROMPTS, strict=True)]
    assert apart(found, one_by_one(model, joined, ids)) < NEAR


@two
def test_a_nested_model_object_is_the_same_model(kind, model_of):
    """The base model inside a head model is the same stack: what is attached to one is not lost at the other."""
    model, inner = model_of(kind), normal(3, WIDTH, seed=3)
    ids = token_ids(model)
    expected = prepended(model, torch.cat([PROMPT, inner]), ids)
    alone = prepended(model, PROMPT, ids)
    with attach(model, [Filling("input", PROMPT)]):
        with attach(model.base_model, [Filling("input", inner)]):
            assert apart(model(ids).logits, expected) < NEAR
        assert apart(model(ids).logits, alone) < NEAR


@every
def test_deep_prompts(kind, model_of):
    model, deep = model_of(kind), normal(5, WIDTH, seed=4)
    ids = token_ids(model)

    def replace(module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        hidden = torch.cat([deep.expand(len(hidden), -1, -1), hidden[:, 5:]], dim=1)
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    hook = blocks_of(model)[1].register_forward_pre_hook(replace, with_kwargs=True)
    expected = prepended(model, PROMPT, ids)
    hook.remove()
    with attach(model, [Filling("input", PROMPT), Filling("layer[1]", deep)]):
        found = model(ids).logits
    assert apart(found, expected) < NEAR
    assert apart(found, prepended(model, PROMPT, ids)) > FAR


@two
def test_deep_prompts_per_row(kind, model_of):
    model, deep = model_of(kind), normal(3, 5, WIDTH, seed=4)
    ids = token_ids(model)
    with attach(model, [Filling("input", PROMPTS), Filling("layer[1]", deep)]):
        found = model(ids).logits
    for i in range(3):
        with attach(model, [Filling("input", PROMPTS[i]), Filling("layer[1]", deep[i])]):
            assert apart(found[i : i + 1], model(ids[i : i + 1]).logits) < NEAR


@two
@pytest.mark.parametrize("kept", [False, True])
def test_nested_deep_prompts(kept, kind, model_of):
    """Each takes the place of its own virtual tokens; the inner ones read the outer ones as these are there."""
    model, inner = model_of(kind), normal(3, WIDTH, seed=3)
    deep, deeper = normal(5, WIDTH, seed=4), normal(3, WIDTH, seed=5)
    ids = token_ids(model)
    with attach(model, [Filling("input", torch.cat([PROMPT, inner])), Filling("layer[1]", torch.cat([deep, deeper]))]):
        expected = model(ids).logits
    with (
        torch.set_grad_enabled(not kept),
        attach(model, [Filling("input", PROMPT), Filling("layer[1]", deep)]),
        attach(model, [Filling("input", inner), Filling("layer[1]", deeper)]),
    ):
        for _ in range(2):
            assert apart(model(ids).logits, expected) < NEAR


@every
@ways
def test_gradients_equal_those_of_prepending(kind, attention, model_of):
    model = model_of(kind, attention=attention)
    ids, mask = token_ids(model), mask_of("right")
    attached, real = PROMPT.clone().requires_grad_(), PROMPT.clone().requires_grad_()
    with attach(model, [Filling("input", attached)]):
        (model(ids, attention_mask=mask).logits.square() * mask[:, :, None]).mean().backward()
    (prepended(model, real, ids, mask).square() * mask[:, :, None]).mean().backward()
    assert float(real.grad.norm()) > 1e-5
    assert apart(attached.grad, real.grad) < 1e-6
    assert all(p.grad is None for p in model.parameters())


@two
@pytest.mark.parametrize("filler", ["rows", "ragged", "deep"])
def test_several_steps_inside_one_block(filler, kind, model_of):
    """An optimiser changes the filler in place: the next forward must take the new values and a graph of its own."""
    model = model_of(kind)
    ids = token_ids(model)
    parts = [normal(n, WIDTH, seed=n).requires_grad_() for n in (2, 5, 4)]
    fillings = {
        "rows": [Filling("input", parts[1])],
        "ragged": [Filling("input", parts)],
        "deep": [Filling("input", PROMPT), Filling("layer[1]", parts[1])],
    }[filler]
    found = []
    with attach(model, fillings):
        for _ in range(3):
            loss = model(ids).logits.square().mean()
            loss.backward()
            found.append(loss.item())
            with torch.no_grad():
                for part in parts:
                    if part.grad is not None:
                        part -= 50 * part.grad
                        part.grad = None
    with attach(model, fillings), torch.no_grad():
        found.append(float(model(ids).logits.square().mean()))
    assert all(one > next_ for one, next_ in itertools.pairwise(found))
    assert found[0] - found[-1] > FAR


@two
def test_offsets_of_the_text_with_a_prompt(kind, model_of):
    model, offsets = model_of(kind), Offsets(normal(10, 3, seed=5), normal(3, WIDTH, seed=6), 0.5)
    ids, mask = token_ids(model), mask_of("left")
    text = model.get_input_embeddings()(ids)
    expected = torch.cat([PROMPT.expand(3, -1, -1), text + 0.5 * (offsets.A[:7] @ offsets.B)], dim=1)
    with attach(model, [Filling("input", PROMPT), Filling("input", offsets)]):
        assert apart(model(ids).logits, model_without(model, expected)) < NEAR
        padded = model(ids, attention_mask=mask, position_ids=positions_of(mask)).logits
        short = model(ids[1:2, 3:]).logits
    assert apart(padded[1:2, 3:], short) < NEAR  # positions count from the first token, wherever it stands


def model_without(model, embeddings):
    """Logits at the text of given embeddings, of a model onto which a prompt of five is attached."""
    import copy

    plain = copy.deepcopy(model)
    for module in plain.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    plain.config._attn_implementation_internal = "eager"
    return plain(inputs_embeds=embeddings).logits[:, 5:]


@every
@pytest.mark.parametrize("side", [None, "right"])
def test_a_loss_has_the_shape_that_it_has_without(kind, side, model_of):
    model = model_of(kind)
    ids, mask = token_ids(model), mask_of(side)
    labels = ids.masked_fill(mask == 0, -100)
    with attach(model, [Filling("input", PROMPT)]):
        found = model(ids, attention_mask=mask, labels=labels)
    expected = prepended(model, PROMPT, ids, mask)
    loss = torch.nn.functional.cross_entropy(expected[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert found.logits.shape == expected.shape
    assert abs(float(found.loss - loss)) < NEAR


@two
def test_hidden_states_and_attentions_have_the_text_s_shape(kind, model_of):
    model = model_of(kind, attention="eager")
    ids = token_ids(model)
    with attach(model, [Filling("input", PROMPT)]):
        out = model(ids, output_hidden_states=True, output_attentions=True)
    full = model(inputs_embeds=behind(PROMPT, ids, model), output_hidden_states=True, output_attentions=True)
    for found, expected in zip(out.hidden_states, full.hidden_states, strict=True):
        assert apart(found, expected[:, 5:]) < NEAR
    for found, expected in zip(out.attentions, full.attentions, strict=True):
        assert apart(found, expected[:, :, 5:]) < NEAR
