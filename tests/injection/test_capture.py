"""What capture records: hidden states and attention maps, with prompts and without."""

from __future__ import annotations

import pytest
import torch
from injecting import (
    CAUSAL,
    HEADS,
    LAYERS,
    NEAR,
    WIDTH,
    apart,
    behind,
    key_values,
    left_as_it_was,
    mask_of,
    normal,
    positions_of,
    token_ids,
    wider,
)

from promptology.errors import UsageError
from promptology.injection import Filling, attach, capture, encode_prefix

PROMPT = normal(5, WIDTH, seed=1)
LAYERED = [f"layer[{i}]" for i in range(LAYERS)]
MAPS = [f"attention[{i}]" for i in range(LAYERS)]


@pytest.mark.parametrize("kind", [*CAUSAL, "bert", "roberta"])
def test_hidden_states_equal_the_model_s_own(kind, model_of):
    model = model_of(kind)
    ids = token_ids(model)
    names = [*LAYERED, "last_position[1]", "output"]
    expected = model(ids, output_hidden_states=True).hidden_states
    with left_as_it_was(model), capture(model, names) as states:
        model(ids)
    assert set(states) == set(names)
    for i, name in enumerate(LAYERED):
        assert torch.equal(states[name], expected[i])
    assert torch.equal(states["output"], expected[-1])
    assert states["last_position[1]"].shape == expected[-1].shape


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_parts_of_a_block_add_up(kind, model_of):
    """A residual stream is what enters a block and what attention and MLP return."""
    model = model_of(kind)
    with capture(model, ["layer[0]", "attention[0]", "mlp[0]", "layer[1]"]) as states:
        model(token_ids(model))
    assert apart(states["layer[0]"] + states["attention[0]"] + states["mlp[0]"], states["layer[1]"]) < NEAR


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_maps_equal_those_of_a_prompt_really_prepended(kind, attention, side, model_of):
    model, reference = model_of(kind, attention=attention), model_of(kind, attention="eager")
    ids, mask = token_ids(model), mask_of(side)
    full = wider(mask, 5)
    out = reference(
        inputs_embeds=behind(PROMPT, ids, reference),
        attention_mask=full,
        position_ids=positions_of(full),
        output_attentions=True,
    )
    given = {"attention_mask": mask, "position_ids": positions_of(mask)}
    with capture(model, MAPS, maps=True) as maps, attach(model, [Filling("input", PROMPT)]):
        model(ids, **given)
    with attach(model, [Filling("input", PROMPT)]), capture(model, MAPS, maps=True) as inside:
        model(ids, **given)
    real = mask[:, None, :, None].bool()  # what padding attends to means nothing
    for i, name in enumerate(MAPS):
        assert maps[name].shape == (3, HEADS, 7, 12)
        assert maps[name].dtype == torch.float32
        assert torch.equal(maps[name], inside[name])
        assert float(((maps[name].sum(dim=-1) - 1).abs() * real[..., 0]).max()) < NEAR
        expected = out.attentions[i][:, :, 5:]
        assert float(((maps[name] - expected).abs() * real).max()) < NEAR
    with capture(model, MAPS, maps=True) as plain:
        model(ids, **given)
    assert plain[MAPS[0]].shape == (3, HEADS, 7, 7)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_maps_of_an_encoder(kind, model_of):
    model, reference = model_of(kind), model_of(kind, attention="eager")
    ids, mask = token_ids(model), mask_of("right")
    with capture(model, MAPS, maps=True) as maps:
        model(ids, attention_mask=mask)
    expected = reference(ids, attention_mask=mask, output_attentions=True).attentions
    for i, name in enumerate(MAPS):
        assert float((maps[name] - expected[i]).abs().max()) < NEAR


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("prefixed", [False, True])
def test_maps_of_both_stacks_of_t5(attention, prefixed, model_of):
    model, reference = model_of("t5", attention=attention), model_of("t5", attention="eager")
    ids, labels, mask = token_ids(model), token_ids(model, 3, 4, seed=9), mask_of("right")
    names = [f"{stack}.{name}" for stack in ("encoder", "decoder") for name in MAPS]
    fillings = [Filling(f"decoder.key_value[{i}]", v) for i, v in enumerate(key_values(model))] if prefixed else []
    with attach(model, fillings), capture(model, names, maps=True) as maps:
        model(ids, attention_mask=mask, labels=labels)
    out = reference(ids, attention_mask=mask, labels=labels, output_attentions=True)
    for name, found in maps.items():
        assert apart(found.sum(dim=-1), torch.ones(found.shape[:3])) < NEAR
        layer = int(name[-2])
        if name.startswith("encoder"):
            assert apart(found, out.encoder_attentions[layer]) < NEAR
        elif not prefixed:
            assert apart(found, out.decoder_attentions[layer]) < NEAR
        else:
            assert found.shape == (3, HEADS, 4, 8)
            assert float(found[:, :, 0, 5:].max()) == 0


def test_maps_with_a_shared_prefix(model_of):
    model, reference = model_of("llama"), model_of("llama", attention="eager")
    shared, ids = token_ids(model, 1, 4, seed=5), token_ids(model)
    whole = torch.cat([shared.expand(3, -1), ids], dim=1)
    expected = reference(whole, output_attentions=True).attentions
    prefix = encode_prefix(model, shared)
    with attach(model, [], prefixes=[prefix]), capture(model, MAPS, maps=True) as maps:
        model(ids)
    for i, name in enumerate(MAPS):
        assert apart(maps[name], expected[i][:, :, 4:]) < NEAR


def test_recorded_tensors_keep_their_graph(model_of):
    model, prompt = model_of("llama"), PROMPT.clone().requires_grad_()
    with (
        attach(model, [Filling("input", prompt)]),
        capture(model, ["last_position[1]"]) as states,
        capture(model, ["attention[1]"], maps=True) as maps,
    ):
        model(token_ids(model))
    (from_state,) = torch.autograd.grad(states["last_position[1]"].square().sum(), prompt, retain_graph=True)
    (from_map,) = torch.autograd.grad(maps["attention[1]"][..., :5].square().sum(), prompt)
    assert float(from_state.norm()) > 0
    assert float(from_map.norm()) > 0


def test_the_last_pass_is_recorded(model_of):
    model = model_of("gpt2")
    first, second = token_ids(model, seed=1), token_ids(model, 2, 4, seed=2)
    with capture(model, ["output"]) as states:
        assert states == {}
        model(first)
        model(second)
    with capture(model, ["output"]) as again:
        model(second)
    assert torch.equal(states["output"], again["output"])


@pytest.mark.parametrize("site", ["input", "key_value[0]"])
def test_where_nothing_passes(site, model_of):
    with pytest.raises(UsageError, match="nothing can be recorded at site"), capture(model_of("llama"), [site]):
        pass


def test_an_error_inside_takes_the_listeners_off(model_of):
    model = model_of("llama")
    with (
        left_as_it_was(model),
        pytest.raises(RuntimeError, match="on purpose"),
        capture(model, [*LAYERED, *MAPS], maps=True),
    ):
        raise RuntimeError("on purpose")
