"""Modules and states along a stack: steering of the last position, modules at layers, attention, MLP and output."""

from __future__ import annotations

import pytest
import torch
from injecting import (
    CAUSAL,
    FAR,
    NEAR,
    WIDTH,
    Scaled,
    apart,
    blocks_of,
    key_values,
    left_as_it_was,
    mask_of,
    normal,
    positions_of,
    token_ids,
)

from promptology.injection import Filling, attach, capture, encode_prefix
from promptology.injection.modules import MODULES, Offsets, Spans, lora, offsets

PROMPT = normal(5, WIDTH, seed=1)
SHIFT = normal(WIDTH, seed=7)
SHIFTS = normal(3, WIDTH, seed=8)
LAST = {None: [6, 6, 6], "left": [6, 6, 6], "right": [6, 3, 6]}

stacks = pytest.mark.parametrize("kind", [*CAUSAL, "bert", "roberta"])
sides = pytest.mark.parametrize("side", [None, "left", "right"])


def given_of(mask, model):
    causal = model.config.model_type not in ("bert", "roberta")
    return {"attention_mask": mask, **({"position_ids": positions_of(mask)} if causal else {})}


@stacks
@sides
@pytest.mark.parametrize("shift", [SHIFT, SHIFTS], ids=["shared", "per row"])
def test_the_last_position_is_steered(kind, side, shift, model_of):
    """Against a plain hook that knows where the last token of each row stands."""
    model, mask = model_of(kind), mask_of(side)
    ids, given = token_ids(model), given_of(mask, model)

    def steer(module, args, out):
        hidden = (out if isinstance(out, torch.Tensor) else out[0]).clone()
        hidden[torch.arange(3), LAST[side]] += shift
        return hidden if isinstance(out, torch.Tensor) else (hidden, *out[1:])

    hook = blocks_of(model)[0].register_forward_hook(steer)
    expected = model(ids, **given).logits
    hook.remove()
    with left_as_it_was(model):
        plain = model(ids, **given).logits
        with attach(model, [Filling("last_position[0]", shift)]):
            found = model(ids, **given).logits
    assert apart(found, expected, mask) < NEAR
    assert apart(found, plain, mask) > FAR


@stacks
def test_the_last_position_behind_a_prompt_and_a_prefix(kind, model_of):
    model, mask = model_of(kind), mask_of("right")
    ids, given = token_ids(model), given_of(mask, model)
    steer = Filling("last_position[1]", SHIFT)
    with attach(model, [Filling("input", PROMPT)]):
        with capture(model, ["last_position[1]"]) as plain:
            model(ids, **given)
        with attach(model, [steer]), capture(model, ["last_position[1]"]) as states:
            model(ids, **given)
    found, expected = states["last_position[1]"][:, -7:], plain["last_position[1]"][:, -7:].clone()
    expected[torch.arange(3), LAST["right"]] += SHIFT
    assert apart(found, expected) < NEAR
    if kind not in ("bert", "roberta"):
        prefix = encode_prefix(model, token_ids(model, 1, 4, seed=5))
        with attach(model, [steer], prefixes=[prefix]), capture(model, ["last_position[1]"]) as states:
            model(ids, **given)
        with attach(model, [], prefixes=[prefix]), capture(model, ["last_position[1]"]) as plain:
            model(ids, **given)
        moved = (states["last_position[1]"] - plain["last_position[1]"]).abs().sum(dim=-1) > FAR
        assert moved.nonzero().tolist() == [[row, last] for row, last in enumerate(LAST["right"])]


def test_a_module_at_the_last_position(model_of):
    model, scaled = model_of("llama"), Scaled()
    ids = token_ids(model)
    with capture(model, ["last_position[1]"]) as plain:
        model(ids)
    with attach(model, [Filling("last_position[1]", scaled)]), capture(model, ["last_position[1]"]) as states:
        model(ids)
    assert apart(states["last_position[1]"][:, -1], plain["last_position[1]"][:, -1] * scaled.by) < NEAR
    assert torch.equal(states["last_position[1]"][:, :-1], plain["last_position[1]"][:, :-1])
    assert scaled.seen[0][0] == (3, 1, WIDTH)


def test_gradients_reach_a_steering_vector(model_of):
    model, shift = model_of("llama"), SHIFT.clone().requires_grad_()
    with attach(model, [Filling("last_position[0]", shift)]):
        model(token_ids(model)).logits[:, -1].square().mean().backward()
    assert float(shift.grad.norm()) > 0


@stacks
@pytest.mark.parametrize("site", ["layer[0]", "layer[1]", "attention[0]", "mlp[1]"])
def test_modules_along_a_stack(kind, site, model_of):
    """Against a plain hook at the module that is meant."""
    model, scaled = model_of(kind), Scaled()
    ids = token_ids(model)
    block = blocks_of(model)[int(site[-2])]
    names = {"attention": ["attention", "attn", "self_attn"], "mlp": ["output.dense", "mlp"], "layer": [""]}
    part = next(
        block.get_submodule(name)
        for name in names[site.split("[")[0]]
        if name == "" or name in dict(block.named_modules())
    )
    if site.startswith("layer"):

        def enter(module, args, kwargs):
            hidden = (args[0] if args else kwargs["hidden_states"]) * scaled.by
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        hook = part.register_forward_pre_hook(enter, with_kwargs=True)
    else:
        hook = part.register_forward_hook(
            lambda m, args, out: out * scaled.by if isinstance(out, torch.Tensor) else (out[0] * scaled.by, *out[1:])
        )
    expected = model(ids).logits
    hook.remove()
    plain = model(ids).logits
    with attach(model, [Filling(site, scaled)]):
        found = model(ids).logits
    assert apart(found, expected) < NEAR
    assert apart(found, plain) > FAR
    assert torch.equal(model(ids).logits, plain)


@stacks
@pytest.mark.parametrize("site", ["layer[1]", "attention[0]", "mlp[0]", "output"])
def test_modules_see_the_text_alone(kind, site, model_of):
    """Virtual tokens of this attachment, or of one around or inside it, are none of their business."""
    model = model_of(kind)
    ids, prompt = token_ids(model), Filling("input", PROMPT)
    inner = Filling("input", PROMPT[:2])
    ways = ([[prompt, None]], [[prompt], [None]], [[None], [prompt]], [[prompt], [None, inner]])
    for way in ways:
        scaled = Scaled()
        blocks = [[one or Filling(site, scaled) for one in fillings] for fillings in way]
        if len(blocks) == 1:
            with attach(model, blocks[0]):
                model(ids)
        else:
            with attach(model, blocks[0]), attach(model, blocks[1]):
                model(ids)
        assert [shape for shape, *_ in scaled.seen] == [(3, 7, WIDTH)], way
        spans, batch = scaled.seen[0][1:]
        assert torch.equal(spans.positions, torch.arange(7).expand(3, -1))
        assert spans.past == 0
        assert batch["input"].shape[:2] == (3, 7) if site[:3] in ("att", "mlp") else batch == {}


@pytest.mark.parametrize("kind", CAUSAL)
def test_two_adapters_in_a_row_and_generation(kind, model_of):
    """Modules act at every step of a cache as they do in one pass."""
    model, first, second = model_of(kind), Scaled(seed=1), Scaled(seed=2)
    ids, mask = token_ids(model), mask_of("left")
    settings = {"attention_mask": mask, "max_new_tokens": 5, "pad_token_id": 0, "eos_token_id": None}
    fillings = [
        Filling("input", PROMPT),
        Filling("mlp[0]", first),
        Filling("mlp[0]", second),
        Filling("output", second),
    ]
    with attach(model, fillings):
        found = model.generate(ids, **settings)
        again = model.generate(ids, use_cache=False, **settings)
    assert torch.equal(found, again)
    with attach(model, [Filling("mlp[1]", first), Filling("mlp[1]", second)]):
        both = model(ids).logits
    joined = Scaled()
    joined.by.data = first.by.data * second.by.data
    with attach(model, [Filling("mlp[1]", joined)]):
        assert apart(model(ids).logits, both) < NEAR


def test_spans_tell_padding_and_generated_tokens(model_of):
    model, seen = model_of("llama"), Scaled()
    ids, mask = token_ids(model), mask_of("left")
    with attach(model, [Filling("input", seen)]):
        model.generate(ids, attention_mask=mask, max_new_tokens=3, pad_token_id=0, eos_token_id=None)
    first, second, third = (spans for _, spans, _ in seen.seen)
    assert first.past == 0
    assert first.positions[1].tolist() == [-1, -1, -1, 0, 1, 2, 3]
    assert (second.past, third.past) == (7, 8)
    assert second.positions.tolist() == [[7], [4], [7]]


class TestOffsets:
    def made(self, scale=1.0):
        return Offsets(normal(4, 2, seed=1), normal(2, WIDTH, seed=2), scale)

    def test_by_position(self):
        part, hidden = self.made(0.5), normal(2, 6, WIDTH, seed=3)
        positions = torch.tensor([[0, 1, 2, 3, 4, 5], [-1, -1, 0, 1, 2, 3]])
        rows = 0.5 * part.A @ part.B
        found = part(hidden, Spans(positions), {}) - hidden
        assert apart(found[0, :4], rows) < NEAR
        assert apart(found[1, 2:], rows) < NEAR
        assert not found[0, 4:].any()
        assert not found[1, :2].any()

    def test_generated_tokens_and_empty_texts_get_none(self):
        part, hidden = self.made(), normal(1, 1, WIDTH)
        assert part(hidden, Spans(torch.tensor([[2]]), past=2), {}) is hidden
        assert part(hidden, Spans(torch.tensor([[-1]])), {}) is hidden

    def test_made_of_tensors(self):
        made = offsets({"scale": 0.5}, {"A": normal(4, 2).double(), "B": normal(2, WIDTH)})
        assert (made.scale, made.A.dtype) == (0.5, torch.float32)
        assert MODULES["offsets"] is offsets


class TestSavedModules:
    def test_lora(self):
        made = lora({"alpha": 8}, {"A": normal(4, 6), "B": normal(10, 4)})
        x, out = normal(2, 3, 6, seed=1), normal(2, 3, 10, seed=2)
        assert apart(made(x, out), out + 2.0 * x @ made.A.T @ made.B.T) < NEAR
        assert lora({}, {"A": normal(4, 6), "B": normal(10, 4)}).scale == 1.0

    @pytest.mark.parametrize(
        ("make", "tensors", "message"),
        [
            (lora, {"A": normal(4, 6)}, "module 'lora' lacks its tensor 'B'"),
            (
                lora,
                {"A": normal(4, 6), "B": normal(10, 3)},
                r"module 'lora': shapes \(4, 6\) and \(10, 3\) have no rank",
            ),
            (lora, {"A": normal(6), "B": normal(10, 3)}, r"module 'lora': shapes \(6,\) and \(10, 3\) have no rank"),
            (offsets, {"B": normal(4, 6)}, "module 'offsets' lacks its tensor 'A'"),
            (offsets, {"A": normal(4, 6), "B": normal(5, 8)}, "module 'offsets': shapes"),
        ],
    )
    def test_a_module_that_does_not_fit_itself(self, make, tensors, message):
        from promptology.errors import ArtifactError

        with pytest.raises(ArtifactError, match=message):
            make({}, tensors)


def test_modules_with_keys_and_values(model_of):
    model = model_of("llama")
    scaled, values = Scaled(), [Filling(f"key_value[{i}]", v) for i, v in enumerate(key_values(model))]
    with attach(model, [*values, Filling("mlp[0]", scaled)]):
        model(token_ids(model))
    assert [shape for shape, *_ in scaled.seen] == [(3, 7, WIDTH)]
