"""Shared tokens read once, and keys and values that were learned, in front of every row."""

from __future__ import annotations

import pytest
import torch
import transformers
from injecting import (
    CAUSAL,
    FAR,
    LAYERS,
    NEAR,
    WIDTH,
    apart,
    blocks_of,
    cached,
    heads_of,
    key_values,
    mask_of,
    normal,
    opt,
    positions_of,
    prepended,
    token_ids,
)

from promptology.errors import UsageError
from promptology.injection import Filling, attach, encode_prefix
from promptology.injection.modules import Offsets

every = pytest.mark.parametrize("kind", CAUSAL)
two = pytest.mark.parametrize("kind", ["gpt2", "llama"])
ways = pytest.mark.parametrize("attention", ["sdpa", "eager"])
LENGTHS = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]])


def fillings_of(values, place="key_value"):
    return [Filling(f"{place}[{i}]", value) for i, value in enumerate(values)]


@every
@ways
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_equal_to_reading_the_whole(kind, attention, side, model_of):
    model = model_of(kind, attention=attention)
    shared, ids, mask = token_ids(model, 1, 6, seed=2), token_ids(model), mask_of(side)
    prefix = encode_prefix(model, shared)
    assert (prefix.length, prefix.rows, len(prefix.layers)) == (6, 1, LAYERS)
    assert prefix.layers[0][0].shape == (1, heads_of(model), 6, WIDTH // 4)
    embeddings = model.get_input_embeddings()(shared)[0]
    expected = prepended(model, embeddings, ids, mask)
    with attach(model, [], prefixes=[prefix]):
        found = model(ids, attention_mask=mask, position_ids=positions_of(mask)).logits
    assert apart(found, expected, mask) < NEAR
    assert apart(found, model(ids).logits) > FAR


@two
def test_several_prefixes_stand_one_behind_the_other(kind, model_of):
    model = model_of(kind)
    first, second, ids = token_ids(model, 1, 3, seed=2), token_ids(model, 1, 2, seed=3), token_ids(model)
    expected = model(torch.cat([first.expand(3, -1), second.expand(3, -1), ids], dim=1)).logits[:, 5:]
    outer = encode_prefix(model, first)
    with attach(model, [], prefixes=[outer]):
        inner = encode_prefix(model, second)
        assert inner.length == 2
        with attach(model, [], prefixes=[inner]):
            assert apart(model(ids).logits, expected) < NEAR
    with attach(model, [], prefixes=[outer, inner]):
        assert apart(model(ids).logits, expected) < NEAR


@two
@ways
def test_a_prefix_of_its_own_for_each_row(kind, attention, model_of):
    model = model_of(kind, attention=attention)
    shared, ids, mask = token_ids(model, 3, 6, seed=2), token_ids(model), mask_of("right")
    prefix = encode_prefix(model, shared, attention_mask=LENGTHS)
    assert prefix.lengths.tolist() == [6, 4, 2]
    alone = []
    for i, n in enumerate(LENGTHS.sum(dim=1)):
        whole = torch.cat([shared[i : i + 1, :n], ids[i : i + 1]], dim=1)
        seen = torch.cat([torch.ones(1, n, dtype=torch.long), mask[i : i + 1]], dim=1)
        alone.append(model(whole, attention_mask=seen).logits[:, n:])
    expected = torch.cat(alone)
    with attach(model, [], prefixes=[prefix]):
        assert apart(model(ids, attention_mask=mask).logits, expected, mask) < NEAR
    for order in ([2, 0, 1], [1, 1, 2], [2]):
        taken = prefix.take(order)
        assert taken.length == int(LENGTHS[order].sum(dim=1).max())  # padding that none needs is cut
        with attach(model, [], prefixes=[taken]):
            found = model(ids[order], attention_mask=mask[order]).logits
        assert apart(found, expected[order], mask[order]) < NEAR


@two
def test_one_prefix_for_several_candidates_of_each_row(kind, model_of):
    """Rows that follow one another share the prefix of their item, as beams do."""
    model = model_of(kind)
    shared, ids = token_ids(model, 2, 6, seed=2), token_ids(model, 6)
    prefix = encode_prefix(model, shared)
    with attach(model, [], prefixes=[prefix]):
        found = model(ids).logits
    expected = model(torch.cat([shared.repeat_interleave(3, dim=0), ids], dim=1)).logits[:, 6:]
    assert apart(found, expected) < NEAR


@two
@ways
def test_under_a_prompt(kind, attention, model_of):
    model, prompt = model_of(kind, attention=attention), normal(5, WIDTH, seed=1)
    shared, ids = token_ids(model, 1, 6, seed=2), token_ids(model)
    whole = torch.cat([prompt, model.get_input_embeddings()(shared)[0]])
    expected = prepended(model, whole, ids)
    with attach(model, [Filling("input", prompt)]):
        prefix = encode_prefix(model, shared)
        assert prefix.length == 6
        with attach(model, [], prefixes=[prefix]):
            assert apart(model(ids).logits, expected) < NEAR
        padded = encode_prefix(model, token_ids(model, 3, 6, seed=2), attention_mask=LENGTHS)
        assert padded.mask is not None


@two
def test_offsets_around_a_prefix_count_from_its_first_token(kind, model_of):
    """A text that is read in two parts: the outer module sees each part as a text of its own."""
    model = model_of(kind)
    offsets = Offsets(normal(10, 3, seed=5), normal(3, WIDTH, seed=6), 0.5)
    shared = token_ids(model, 1, 6, seed=2)
    plain = encode_prefix(model, shared)
    with attach(model, [Filling("input", offsets)]):
        changed = encode_prefix(model, shared)
    embeddings = model.get_input_embeddings()(shared) + 0.5 * (offsets.A[:6] @ offsets.B)
    expected = encode_prefix(model, inputs_embeds=embeddings)
    assert apart(changed.layers[1][0], expected.layers[1][0]) < NEAR
    assert apart(changed.layers[1][0], plain.layers[1][0]) > FAR


@two
def test_gradients_flow_through_a_prefix(kind, model_of):
    model = model_of(kind)
    ids = token_ids(model)
    attached, real = normal(5, WIDTH).requires_grad_(), normal(5, WIDTH).requires_grad_()
    prefix = encode_prefix(model, inputs_embeds=attached[None])
    with attach(model, [], prefixes=[prefix]):
        model(ids).logits.square().mean().backward()
    prepended(model, real, ids).square().mean().backward()
    assert apart(attached.grad, real.grad) < 1e-6
    assert float(real.grad.norm()) > 1e-5
    assert not prefix.detach().layers[0][0].requires_grad
    with torch.no_grad():
        assert not encode_prefix(model, inputs_embeds=attached[None]).layers[0][0].requires_grad


@every
@ways
@pytest.mark.parametrize("side", [None, "left"])
def test_keys_and_values_equal_a_cache_that_holds_them(kind, attention, side, model_of):
    model = model_of(kind, attention=attention)
    ids, mask, values = token_ids(model), mask_of(side), key_values(model)
    cache = transformers.DynamicCache()
    for i, value in enumerate(values):
        key, val = (part.transpose(0, 1).expand(3, -1, -1, -1) for part in value)
        cache.update(key, val, i)
    full = torch.cat([torch.ones(3, 4, dtype=torch.long), mask], dim=1)
    positions = positions_of(full)[:, 4:]
    expected = model(ids, **cached(model, cache), attention_mask=full, position_ids=positions).logits
    with attach(model, fillings_of(values)):
        found = model(ids, attention_mask=mask, position_ids=positions_of(mask)).logits
    assert apart(found, expected, mask) < NEAR
    assert apart(found, model(ids).logits) > FAR


@two
@ways
def test_keys_and_values_per_row_and_of_different_lengths(kind, attention, model_of):
    model = model_of(kind, attention=attention)
    ids = token_ids(model)
    rows = [key_values(model, length, seed=length) for length in (2, 4, 3)]
    ragged = [[row[i] for row in rows] for i in range(LAYERS)]
    equal = [torch.stack([row[i][:, :2] for row in rows]) for i in range(LAYERS)]
    for values, cut in ((ragged, None), (equal, 2)):
        with attach(model, fillings_of(values)):
            found = model(ids).logits
        for i, row in enumerate(rows):
            with attach(model, fillings_of([layer[:, :cut] for layer in row])):
                assert apart(found[i : i + 1], model(ids[i : i + 1]).logits) < NEAR


@two
def test_a_prompt_stands_behind_keys_and_values_and_sees_them(kind, model_of):
    model, prompt, values = model_of(kind), normal(5, WIDTH, seed=1), key_values(model_of(kind))
    ids = token_ids(model)
    both = [Filling("input", prompt), *fillings_of(values)]
    with attach(model, fillings_of(values)):
        text = torch.cat([prompt.expand(3, -1, -1), model.get_input_embeddings()(ids)], dim=1)
        expected = model(inputs_embeds=text).logits[:, 5:]
    for fillings in (both, both[::-1]):
        with attach(model, fillings):
            assert apart(model(ids).logits, expected) < NEAR
    with attach(model, fillings_of(values)), attach(model, both[:1]):
        assert apart(model(ids).logits, expected) < NEAR
    with attach(model, fillings_of(values)):
        prefix = encode_prefix(model, inputs_embeds=prompt[None])
        with attach(model, [], prefixes=[prefix]):
            assert apart(model(ids).logits, expected) < NEAR


@two
def test_gradients_reach_keys_and_values(kind, model_of):
    model, values = model_of(kind), [v.requires_grad_() for v in key_values(model_of(kind))]
    losses = []
    with attach(model, fillings_of(values)):
        for _ in range(3):
            loss = model(token_ids(model)).logits.square().mean()
            loss.backward()
            losses.append(loss.item())
            assert all(float(v.grad.norm()) > 0 for v in values)
            with torch.no_grad():
                for value in values:
                    value -= 20 * value.grad
                    value.grad = None
    assert losses[0] > losses[1] > losses[2]


def test_a_prefix_of_a_bidirectional_model_is_refused(model_of):
    for kind in ("bert", "t5"):
        with pytest.raises(UsageError, match="in both directions, so no prefix of it can be shared"):
            encode_prefix(model_of(kind), torch.ones(1, 3, dtype=torch.long))


def test_a_prefix_of_an_unknown_architecture_is_refused():
    with pytest.raises(UsageError, match="no prefix can be encoded: no table describes the attention of 'opt'"):
        encode_prefix(opt(), torch.ones(1, 3, dtype=torch.long))


def test_encoding_leaves_no_trace(model_of):
    model = model_of("gpt2")
    ids = token_ids(model)
    before = model(ids).logits
    encode_prefix(model, ids[:1])
    assert torch.equal(model(ids).logits, before)
    assert model.config._attn_implementation == "sdpa"
    assert not any(block.attn._forward_hooks for block in blocks_of(model))
