"""Tensors in place of weights, and low-rank additions behind linear layers."""

from __future__ import annotations

import copy

import pytest
import torch
from injecting import FAR, NEAR, WIDTH, Broken, apart, left_as_it_was, normal, token_ids

from promptology.errors import UsageError
from promptology.injection import Filling, attach
from promptology.injection.modules import Lora

WEIGHTS = [
    ("llama", "model.layers.1.mlp.up_proj.weight"),
    ("gpt2", "transformer.h.0.attn.c_attn.weight"),
    ("gpt2", "transformer.h.1.ln_1.bias"),
    ("bert", "bert.encoder.layer.0.attention.self.query.bias"),
    ("t5", "decoder.block.1.layer.2.DenseReluDense.wi.weight"),
    ("t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
]
LINEAR = [
    ("llama", "model.layers.1.self_attn.q_proj"),
    ("llama", "model.layers.0.mlp.down_proj"),
    ("gpt2", "transformer.h.0.attn.c_attn"),
    ("gpt2", "transformer.h.1.mlp.c_proj"),
    ("bert", "bert.encoder.layer.0.attention.self.query"),
    ("t5", "decoder.block.1.layer.1.EncDecAttention.v"),
]
TIED = {"gpt2": "transformer.wte.weight", "bert": "bert.embeddings.word_embeddings.weight", "t5": "shared.weight"}


def logits(model, ids):
    return model(ids, **({"labels": ids} if model.config.is_encoder_decoder else {})).logits


def with_weight(model, name, value):
    changed = copy.deepcopy(model)
    changed.load_state_dict({name: value}, strict=False)
    changed.tie_weights()
    return changed


@pytest.mark.parametrize(("kind", "name"), WEIGHTS)
def test_a_tensor_stands_in_place_of_a_weight(kind, name, model_of):
    model = model_of(kind)
    ids, value = token_ids(model), normal(*model.get_parameter(name).shape, seed=1)
    plain, expected = logits(model, ids), logits(with_weight(model, name, value), ids)
    with left_as_it_was(model):
        with attach(model, [Filling(f"weight:{name}", value)]):
            found = logits(model, ids)
        assert torch.equal(logits(model, ids), plain)
    assert apart(found, expected) < NEAR
    assert apart(found, plain) > FAR


@pytest.mark.parametrize("kind", TIED)
def test_tied_embeddings_are_swapped_in_both_places(kind, model_of):
    model, name = model_of(kind, tie_word_embeddings=True), TIED[kind]
    ids, value = token_ids(model), normal(*model.get_parameter(name).shape, seed=1)
    output = model.get_output_embeddings()
    assert output.weight is model.get_parameter(name)
    expected = logits(with_weight(model, name, value), ids)
    with left_as_it_was(model):
        with attach(model, [Filling(f"weight:{name}", value)]):
            assert output.weight is value
            found = logits(model, ids)
        assert output.weight is model.get_parameter(name)
    assert apart(found, expected) < NEAR


def test_gradients_reach_the_tensor_and_not_the_weight(model_of):
    model = model_of("llama")
    name, ids = "model.layers.0.mlp.up_proj.weight", token_ids(model)
    value = torch.nn.Parameter(model.get_parameter(name).clone())
    trained = copy.deepcopy(model)
    trained.get_parameter(name).requires_grad_()
    trained(ids).logits.square().mean().backward()
    losses = []
    with left_as_it_was(model), attach(model, [Filling(f"weight:{name}", value)]):
        for step in range(3):
            loss = model(ids).logits.square().mean()
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                assert apart(value.grad, trained.get_parameter(name).grad) < 1e-6
            with torch.no_grad():
                value -= 20 * value.grad
            value.grad = None
    assert losses[0] > losses[1] > losses[2]


def test_swaps_nest(model_of):
    model, name = model_of("llama"), "model.norm.weight"
    first, second = normal(WIDTH, seed=1), normal(WIDTH, seed=2)
    with left_as_it_was(model), attach(model, [Filling(f"weight:{name}", first)]):
        with attach(model, [Filling(f"weight:{name}", second)]):
            assert model.model.norm.weight is second
        assert model.model.norm.weight is first


def merged(model, path, part):
    """Return the model with a low-rank addition in the weight itself."""
    changed = copy.deepcopy(model)
    layer = changed.get_submodule(path)
    added = part.scale * part.B.detach() @ part.A.detach()
    layer.weight.data += added.T if type(layer).__name__ == "Conv1D" else added
    return changed


def low_rank(model, path, seed=0):
    weight = model.get_submodule(path).weight
    conv = type(model.get_submodule(path)).__name__ == "Conv1D"
    inside, outside = weight.shape if conv else weight.shape[::-1]
    return Lora(normal(3, inside, seed=seed), normal(outside, 3, seed=seed + 1), 0.5)


@pytest.mark.parametrize(("kind", "path"), LINEAR)
def test_a_low_rank_addition_equals_a_merged_weight(kind, path, model_of):
    model = model_of(kind)
    ids, part = token_ids(model), low_rank(model, path)
    plain, expected = logits(model, ids), logits(merged(model, path, part), ids)
    with left_as_it_was(model):
        with attach(model, [Filling(f"linear:{path}", part)]):
            found = logits(model, ids)
        assert torch.equal(logits(model, ids), plain)
    assert apart(found, expected) < NEAR
    assert apart(found, plain) > FAR


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_prompt_passes_through_low_rank_additions(kind, model_of):
    """Virtual tokens are run by the model as it is changed, in whatever order the two are attached."""
    model = model_of(kind)
    path = dict(LINEAR)[kind] if kind == "gpt2" else LINEAR[0][1]
    ids, part, prompt = token_ids(model), low_rank(model, path), Filling("input", normal(5, WIDTH, seed=3))
    lora = Filling(f"linear:{path}", part)
    with attach(merged_ := merged(model, path, part), [prompt]):
        expected = merged_(ids).logits
    for outer, inner in (([prompt], [lora]), ([lora], [prompt]), ([prompt, lora], [])):
        with attach(model, outer), attach(model, inner):
            assert apart(model(ids).logits, expected) < NEAR


def test_two_additions_on_one_layer_add_up(model_of):
    model, path = model_of("llama"), LINEAR[0][1]
    ids, first, second = token_ids(model), low_rank(model, path, 1), low_rank(model, path, 5)
    expected = merged(merged(model, path, first), path, second)(ids).logits
    with attach(model, [Filling(f"linear:{path}", first), Filling(f"linear:{path}", second)]):
        assert apart(model(ids).logits, expected) < NEAR


def test_gradients_of_a_low_rank_addition(model_of):
    model, path = model_of("llama"), LINEAR[0][1]
    part = low_rank(model, path)
    with attach(model, [Filling(f"linear:{path}", part)]):
        model(token_ids(model)).logits.square().mean().backward()
    assert float(part.A.grad.norm()) > 0
    assert float(part.B.grad.norm()) > 0
    assert all(p.grad is None for p in model.parameters())


def test_an_error_behind_a_layer_leaves_no_trace(model_of):
    model = model_of("llama")
    fillings = [Filling("weight:model.norm.weight", normal(WIDTH)), Filling(f"linear:{LINEAR[0][1]}", Broken())]
    with left_as_it_was(model), pytest.raises(RuntimeError, match="on purpose"), attach(model, fillings):
        model(token_ids(model))


@pytest.mark.parametrize(
    ("site", "filler", "message"),
    [
        ("weight:model.nothing.weight", normal(3), "this model has no such weight"),
        ("weight:model.norm", normal(3), "this model has no such weight"),
        (
            "weight:model.norm.weight",
            normal(3),
            r"the weight has shape \(32,\), what was learned \(3,\); it belongs to",
        ),
        ("weight:model.norm.weight", torch.nn.Identity(), "takes a tensor, not a Identity"),
        ("linear:model.layers.9.mlp.up_proj", Broken(), "this model has no such layer"),
        ("linear:model.layers.0.mlp.up_proj", normal(3), "takes a module, not a Tensor"),
        (
            "linear:model.layers.0.mlp.up_proj",
            Lora(normal(3, 16), normal(64, 3), 1.0),
            "the layer maps 32 to 64, what was learned 16 to 64; it belongs to a model of another size",
        ),
        ("linear:model.layers.0", Broken(), "it is a LlamaDecoderLayer, not a linear layer"),
    ],
)
def test_what_does_not_fit(site, filler, message, model_of):
    model = model_of("llama")
    swapped = Filling("weight:model.layers.0.mlp.up_proj.weight", normal(64, WIDTH))
    fillings = [swapped, Filling(site, filler)]
    with left_as_it_was(model), pytest.raises(UsageError, match=message) as raised, attach(model, fillings):
        pass
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"site {site}")
