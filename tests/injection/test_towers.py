"""CLIP and SigLIP: two towers as stacks, with modules along them."""

from __future__ import annotations

import pytest
import torch
from injecting import FAR, LAYERS, NEAR, WIDTH, Broken, Scaled, apart, left_as_it_was, normal, token_ids, towers

from promptology.errors import UsageError
from promptology.injection import Filling, attach, capture, sites_of

kinds = pytest.mark.parametrize("kind", ["clip", "siglip"])
SITES = [
    f"{tower}.{place}[{i}]" for tower in ("text", "vision") for place in ("layer", "attention", "mlp") for i in (0, 1)
]


def batch_of(model):
    ids = token_ids(model, rows=2, length=6)
    ids[:, -1] = 2  # CLIP pools at the end of the text
    return {"input_ids": ids, "pixel_values": normal(2, 3, 32, 32, scale=1.0), "return_dict": True}


def outputs(model, batch):
    out = model(**batch)
    return {
        "text": out.text_model_output.last_hidden_state,
        "vision": out.vision_model_output.last_hidden_state,
        "logits": out.logits_per_image,
    }


@kinds
@pytest.mark.parametrize("site", SITES)
def test_modules_change_their_own_tower(kind, site, model_of):
    model, scaled = towers(kind), Scaled()
    batch, other = batch_of(model), "vision" if site.startswith("text") else "text"
    with left_as_it_was(model):
        before = outputs(model, batch)
        with attach(model, [Filling(site, scaled)]):
            found = outputs(model, batch)
        assert all(torch.equal(before[name], value) for name, value in outputs(model, batch).items())
    own = site.split(".")[0]
    assert apart(found[own], before[own]) > FAR
    assert apart(found["logits"], before["logits"]) > FAR
    assert torch.equal(found[other], before[other])
    (shape, spans, given), *rest = scaled.seen
    assert not rest
    assert shape == before[own].shape
    assert ("input" in given) == ("layer" not in site)
    if own == "text":
        assert torch.equal(spans.positions, torch.arange(6).expand(2, -1))


@kinds
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_module_at_the_output(kind, tower):
    model, scaled = towers(kind), Scaled()
    batch = batch_of(model)
    before = outputs(model, batch)
    with attach(model, [Filling(f"{tower}.output", scaled)]):
        found = outputs(model, batch)
    assert apart(found[tower], before[tower] * scaled.by) < NEAR


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_module_at_the_pooled_state(tower):
    model, scaled = towers("siglip"), Scaled()
    batch = batch_of(model)
    name = {"text": "text_embeds", "vision": "image_embeds"}[tower]
    with attach(model, [Filling(f"{tower}.pooled", scaled)]):
        found = model(**batch)[name]
    plain = getattr(model(**batch), f"{tower}_model_output").pooler_output * scaled.by
    assert apart(found, plain / plain.norm(dim=-1, keepdim=True)) < NEAR


@kinds
def test_attention_sees_its_input_and_output(kind):
    model = towers(kind)
    batch = batch_of(model)

    class Doubles(torch.nn.Module):
        def forward(self, hidden, spans, given):
            return hidden + given["input"]

    with capture(model, ["vision.layer[1]", "vision.attention[1]"]) as states:
        plain = outputs(model, batch)["vision"]
    with attach(model, [Filling("vision.attention[1]", Doubles())]), capture(model, ["vision.attention[1]"]) as changed:
        assert apart(outputs(model, batch)["vision"], plain) > FAR
    entering = model.base_model.vision_model.encoder.layers[1].layer_norm1(states["vision.layer[1]"])
    assert apart(changed["vision.attention[1]"], states["vision.attention[1]"] + entering) < NEAR


@kinds
def test_gradients_reach_modules_and_no_weight(kind):
    model = towers(kind)
    scaled = {site: Scaled(seed=n) for n, site in enumerate(SITES)}
    with attach(model, [Filling(site, module) for site, module in scaled.items()]):
        model(**batch_of(model)).logits_per_image.square().mean().backward()
    assert all(float(module.by.grad.norm()) > 0 for module in scaled.values())
    assert all(p.grad is None for p in model.parameters())


@kinds
def test_maps_of_both_towers(kind):
    model = towers(kind)
    names = [f"{tower}.attention[{i}]" for tower in ("text", "vision") for i in range(LAYERS)]
    with capture(model, names, maps=True) as maps:
        model(**batch_of(model))
    assert maps["text.attention[0]"].shape == (2, 4, 6, 6)
    assert all(apart(m.sum(dim=-1), torch.ones(m.shape[:3])) < NEAR for m in maps.values())
    assert (float(maps["text.attention[0]"].triu(1).abs().max()) == 0) == (kind == "clip")


@kinds
def test_an_error_in_a_tower_leaves_no_trace(kind):
    model = towers(kind)
    with (
        left_as_it_was(model),
        pytest.raises(RuntimeError, match="on purpose"),
        attach(model, [Filling("text.mlp[0]", Scaled()), Filling("vision.attention[1]", Broken())]),
    ):
        model(**batch_of(model))


@kinds
def test_what_towers_lack(kind):
    model = towers(kind)
    assert sites_of(model).layers == {"text": LAYERS, "vision": LAYERS}
    for tower in ("text", "vision"):
        with pytest.raises(UsageError, match=r"a tower reads a fixed number of positions; use layer\[0\]"):
            sites_of(model).resolve(f"{tower}.input")
        with (
            pytest.raises(UsageError, match="a tower reads a fixed number of positions"),
            attach(model, [Filling(f"{tower}.input", normal(5, WIDTH))]),
        ):
            pass
