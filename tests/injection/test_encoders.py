"""Prompts on bidirectional stacks: really prepended, and the output cut back to the text."""

from __future__ import annotations

import pytest
import torch
from injecting import (
    FAR,
    HEADS,
    LAYERS,
    NEAR,
    SIZE,
    WIDTH,
    Scaled,
    apart,
    behind,
    blocks_of,
    capture_free,
    mask_of,
    normal,
    token_ids,
    wider,
)

from promptology.injection import Filling, attach, capture
from promptology.injection.modules import Offsets

PROMPT = normal(5, WIDTH, seed=1)
PROMPTS = normal(3, 5, WIDTH, seed=2)
RAGGED = [PROMPTS[0, :2], PROMPTS[1], PROMPTS[2, :4]]

both = pytest.mark.parametrize("kind", ["bert", "roberta"])
ways = pytest.mark.parametrize("attention", ["sdpa", "eager"])
sides = pytest.mark.parametrize("side", [None, "right", "left"])


def batch_of(model, side="right"):
    ids, mask = token_ids(model), mask_of(side)
    return ids.masked_fill(mask == 0, model.config.pad_token_id), mask


def positions_of(model, mask):
    """BERT counts padding too; RoBERTa begins behind the id of its padding and leaves padding there."""
    if model.config.model_type == "bert":
        return torch.arange(mask.shape[1])[None].expand_as(mask)
    return mask.cumsum(dim=1) * mask + model.config.pad_token_id


def prepended(model, prompt, ids, mask):
    full = wider(mask, prompt.shape[-2])
    return model(
        inputs_embeds=behind(prompt, ids, model), attention_mask=full, position_ids=positions_of(model, full)
    ).logits[:, prompt.shape[-2] :]


def one_by_one(model, prompts, ids, mask):
    found = []
    for i, prompt in enumerate(prompts):
        with attach(model, [Filling("input", prompt)]):
            found.append(model(ids[i : i + 1], attention_mask=mask[i : i + 1]).logits)
    return torch.cat(found)


@both
@ways
@sides
@pytest.mark.parametrize("prompt", [PROMPT, PROMPTS], ids=["shared", "per row"])
def test_equal_to_prepending(kind, attention, side, prompt, model_of):
    model = model_of(kind, attention=attention)
    ids, mask = batch_of(model, side)
    expected = prepended(model, prompt, ids, mask)
    with attach(model, [Filling("input", prompt)]):
        found = model(ids, attention_mask=mask).logits
        unmasked = model(ids).logits
    assert apart(found, expected, mask) < NEAR
    if side is None:
        assert apart(unmasked, expected) < NEAR
    assert apart(found, model(ids, attention_mask=mask).logits) > FAR


@both
@ways
@sides
def test_prompts_of_different_lengths(kind, attention, side, model_of):
    if (kind, side) == ("bert", "left"):
        pytest.skip("BERT's positions count the padding, so a row alone has others")
    model = model_of(kind, attention=attention)
    ids, mask = batch_of(model, side)
    with attach(model, [Filling("input", RAGGED)]):
        found = model(ids, attention_mask=mask).logits
    assert apart(found, one_by_one(model, RAGGED, ids, mask), mask) < NEAR


@both
@ways
def test_some_rows_without_a_prompt(kind, attention, model_of):
    model = model_of(kind, attention=attention)
    ids, mask = batch_of(model)
    with attach(model, [Filling("input", [PROMPT, PROMPT[:0], PROMPT[:2]])]):
        found = model(ids, attention_mask=mask).logits
    plain = model(ids, attention_mask=mask).logits
    assert apart(found[1:2], plain[1:2], mask[1:2]) < NEAR
    assert apart(found[:1], prepended(model, PROMPT, ids[:1], mask[:1])) < NEAR
    assert apart(found[2:], prepended(model, PROMPT[:2], ids[2:], mask[2:])) < NEAR


@both
def test_given_positions_move_behind_the_prompt(kind, model_of):
    model = model_of(kind)
    ids, mask = batch_of(model, None)
    given = positions_of(model, mask)
    with attach(model, [Filling("input", PROMPT)]):
        assert torch.equal(model(ids, position_ids=given).logits, model(ids).logits)


@both
def test_nested_prompts_are_joined(kind, model_of):
    model, inner = model_of(kind), normal(3, WIDTH, seed=3)
    ids, mask = batch_of(model)
    alone = prepended(model, PROMPT, ids, mask)
    expected = prepended(model, torch.cat([PROMPT, inner]), ids, mask)
    with attach(model, [Filling("input", PROMPT)]):
        for _ in range(2):
            with attach(model, [Filling("input", inner)]):
                assert apart(model(ids, attention_mask=mask).logits, expected, mask) < NEAR
            assert apart(model(ids, attention_mask=mask).logits, alone, mask) < NEAR
    with attach(model, [Filling("input", PROMPT), Filling("input", inner)]):
        assert apart(model(ids, attention_mask=mask).logits, expected, mask) < NEAR


@both
def test_nested_prompts_of_different_lengths(kind, model_of):
    model = model_of(kind)
    ids, mask = batch_of(model)
    with attach(model, [Filling("input", RAGGED)]), attach(model, [Filling("input", RAGGED[::-1])]):
        found = model(ids, attention_mask=mask).logits
    joined = [torch.cat(pair) for pair in zip(RAGGED, RAGGED[::-1], strict=True)]
    assert apart(found, one_by_one(model, joined, ids, mask), mask) < NEAR


NESTED = {
    "deep outside": (["layer[1]", "deep"], []),
    "deep inside": ([], ["layer[1]", "deep"]),
    "module outside": (["mlp[1]", "scaled"], []),
    "module inside": ([], ["mlp[1]", "scaled"]),
    "attention outside": (["attention[0]", "scaled"], []),
    "layer inside": ([], ["layer[1]", "scaled"]),
    "output outside": (["output", "scaled"], []),
    "output inside": ([], ["output", "scaled"]),
    "last outside": (["last_position[1]", "shift"], []),
    "last inside": ([], ["last_position[1]", "shift"]),
    "offsets outside": (["input", "offsets"], []),
    "offsets inside": ([], ["input", "offsets"]),
}


@both
@pytest.mark.parametrize("case", NESTED)
def test_parts_of_a_nested_attachment_find_their_tokens(kind, case, model_of):
    """Whether a part is attached with the outer or the inner prompt, it acts on the same tokens."""
    model, inner = model_of(kind), normal(3, WIDTH, seed=3)
    ids, mask = batch_of(model)
    parts = {
        "scaled": Scaled(),
        "shift": normal(WIDTH, seed=7),
        "offsets": Offsets(normal(9, 2, seed=5), normal(2, WIDTH, seed=6), 1.0),
    }
    deep = {"outside": normal(5, WIDTH, seed=4), "inside": normal(3, WIDTH, seed=4)}
    where = case.split()[1]
    outer_parts, inner_parts = (
        [Filling(pair[0], deep[where] if pair[1] == "deep" else parts[pair[1]])] if pair else []
        for pair in NESTED[case]
    )
    with (
        attach(model, [Filling("input", PROMPT), *outer_parts]),
        attach(model, [Filling("input", inner), *inner_parts]),
    ):
        found = model(ids, attention_mask=mask).logits
    joined = torch.cat([PROMPT, inner])
    if "deep" in case:
        states = {}
        blocks = blocks_of(model)
        full = capture_free(blocks[1], states)
        prepended(model, joined, ids, mask)
        full.remove()
        entering = states["hidden"].clone()
        span = slice(0, 5) if where == "outside" else slice(5, 8)
        entering[:, span] = deep[where]
        swap = blocks[1].register_forward_pre_hook(
            lambda m, args, kwargs: (
                ((entering, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": entering})
            ),
            with_kwargs=True,
        )
        expected = prepended(model, joined, ids, mask)
        swap.remove()
    else:
        site, name = NESTED[case][0] or NESTED[case][1]
        with attach(model, [Filling("input", joined), Filling(site, parts[name])]):
            expected = model(ids, attention_mask=mask).logits
    assert apart(found, expected, mask) < NEAR
    assert apart(found, prepended(model, joined, ids, mask), mask) > FAR


@both
def test_gradients_equal_those_of_prepending(kind, model_of):
    model = model_of(kind)
    ids, mask = batch_of(model)
    attached, real = PROMPT.clone().requires_grad_(), PROMPT.clone().requires_grad_()
    with attach(model, [Filling("input", attached)]):
        (model(ids, attention_mask=mask).logits.square() * mask[:, :, None]).mean().backward()
    (prepended(model, real, ids, mask).square() * mask[:, :, None]).mean().backward()
    assert float(real.grad.norm()) > 1e-5
    assert apart(attached.grad, real.grad) < 1e-6


def test_the_pooler_reads_the_first_token_of_the_text(model_of):
    model = model_of("bert", head="")
    ids, mask = batch_of(model)
    with attach(model, [Filling("input", PROMPT)]), attach(model, [Filling("input", RAGGED)]):
        out = model(ids, attention_mask=mask)
    assert out.last_hidden_state.shape == (3, 7, WIDTH)
    assert torch.equal(out.pooler_output, model.pooler(out.last_hidden_state))
    assert apart(out.pooler_output, model(ids, attention_mask=mask).pooler_output) > FAR
    scaled = Scaled()
    with attach(model, [Filling("pooled", scaled)]):
        found = model(ids, attention_mask=mask).pooler_output
    assert torch.equal(found, model(ids, attention_mask=mask).pooler_output * scaled.by)


@both
def test_heads_on_top_of_an_encoder(kind, model_of):
    """A classifier, a tagger and the masked language model see hidden states of the text alone."""
    for head, shape in (("SequenceClassification", (3, 2)), ("TokenClassification", (3, 7, 2))):
        torch.manual_seed(0)
        model = model_of(kind, head=head)
        ids, mask = batch_of(model)
        with attach(model, [Filling("input", PROMPT)]):
            assert model(ids, attention_mask=mask).logits.shape == shape
    model = model_of(kind)
    ids, mask = batch_of(model)
    labels = ids.masked_fill(mask == 0, -100)
    with attach(model, [Filling("input", PROMPT)]):
        out = model(ids, attention_mask=mask, labels=labels)
    expected = torch.nn.functional.cross_entropy(prepended(model, PROMPT, ids, mask).flatten(0, 1), labels.flatten())
    assert abs(float(out.loss - expected)) < NEAR


@both
@ways
def test_keys_and_values(kind, attention, model_of):
    """Against attention computed by hand; masked rows equal rows alone."""
    model, values = (
        model_of(kind, attention=attention),
        [normal(2, 4, HEADS, SIZE, seed=i, scale=1.0) for i in range(LAYERS)],
    )
    ids, mask = batch_of(model)
    fillings = [Filling(f"key_value[{i}]", value) for i, value in enumerate(values)]
    with attach(model, fillings):
        found = model(ids, attention_mask=mask).logits
        row = model(ids[1:2, :4]).logits
        with capture(model, ["layer[0]", "attention[0]"]) as states:
            model(ids[:1])
    assert apart(found[1:2, :4], row) < NEAR
    assert apart(found, model(ids, attention_mask=mask).logits, mask) > FAR
    core, block = blocks_of(model)[0].attention, states["layer[0]"]

    def heads(x):
        return x.unflatten(-1, (HEADS, SIZE)).transpose(1, 2)

    key = torch.cat([values[0][0][None].transpose(1, 2), heads(core.self.key(block))], dim=2)
    value = torch.cat([values[0][1][None].transpose(1, 2), heads(core.self.value(block))], dim=2)
    weights = (heads(core.self.query(block)) @ key.transpose(2, 3) / SIZE**0.5).softmax(dim=-1)
    expected = core.output((weights @ value).transpose(1, 2).flatten(2), block)
    assert apart(states["attention[0]"], expected) < NEAR


def test_an_encoder_s_positions_are_as_without_a_prompt(model_of):
    """Keys and values before the text move its positions, as a prompt does: RoBERTa's padding stays where it is."""
    model, values = model_of("roberta"), [normal(2, 4, HEADS, SIZE, seed=i) for i in range(LAYERS)]
    ids, mask = batch_of(model)
    fillings = [Filling(f"key_value[{i}]", value) for i, value in enumerate(values)]
    with attach(model, fillings):
        implicit = model(ids, attention_mask=mask).logits
        positions = mask.cumsum(dim=1) * mask + model.config.pad_token_id
        explicit = model(ids, attention_mask=mask, position_ids=positions).logits
    assert torch.equal(implicit, explicit)


def test_segments_of_a_text_stay_with_it(model_of):
    model = model_of("bert")
    ids, mask = batch_of(model, None)
    types = torch.zeros_like(ids)
    types[:, 4:] = 1
    full = torch.cat([torch.zeros(3, 5, dtype=torch.long), types], dim=1)
    expected = model(inputs_embeds=behind(PROMPT, ids, model), token_type_ids=full).logits[:, 5:]
    with attach(model, [Filling("input", PROMPT)]):
        found = model(ids, token_type_ids=types).logits
    assert apart(found, expected) < NEAR
    assert apart(found, prepended(model, PROMPT, ids, mask)) > FAR
