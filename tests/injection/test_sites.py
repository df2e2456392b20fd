"""Which sites a model has: every entry of every table is a real module of a real model."""

from __future__ import annotations

import pytest
import torch
from injecting import normal, opt, random_weights, towers
from transformers import BartConfig, BartForConditionalGeneration

from promptology.errors import UsageError
from promptology.injection import Filling, Site, attach, sites_of
from promptology.injection.arch import TABLES, find

KINDS = {
    "gpt2": "causal",
    "llama": "causal",
    "mistral": "causal",
    "qwen2": "causal",
    "qwen3": "causal",
    "smollm3": "causal",
    "bert": "masked",
    "roberta": "masked",
    "xlm-roberta": "masked",
    "t5": "seq2seq",
    "mt5": "seq2seq",
    "clip": "two-tower",
    "siglip": "two-tower",
}


def made(kind, model_of):
    if kind in ("clip", "siglip"):
        return towers(kind)
    model = model_of({"xlm-roberta": "roberta", "mt5": "t5"}.get(kind, kind))
    model.config.model_type = kind
    return model


def test_every_table_is_tested():
    assert set(TABLES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_paths_of_a_table_lead_to_modules(kind, model_of):
    model = made(kind, model_of)
    sites = sites_of(model)
    assert sites.known
    assert sites.kind == KINDS[kind]
    for stack in sites.stacks.values():
        module = find(model.base_model, stack.path)
        assert isinstance(find(module, stack.embeddings), torch.nn.Module), stack.name
        assert not stack.norm or isinstance(find(module, stack.norm), torch.nn.Module), stack.norm
        blocks = find(module, stack.layers)
        assert len(blocks) == sites.layers[stack.name] == 2
        for block in blocks:
            parts = stack.block
            paths = [parts.attention, parts.core, parts.mlp, *parts.norms]
            paths += [parts.query, parts.key, parts.value, parts.out, *([parts.cross] if parts.cross else [])]
            for path in paths:
                assert path and isinstance(find(block, path), torch.nn.Module), f"{stack.name}: {path}"
            assert all("norm" in type(find(block, path)).__name__.lower() for path in parts.norms)
            assert all(hasattr(find(block, p), "weight") for p in (parts.query, parts.key, parts.value, parts.out))


@pytest.mark.parametrize("kind", KINDS)
def test_available_sites_resolve(kind, model_of):
    sites = sites_of(made(kind, model_of))
    assert len(set(sites.available)) == len(sites.available)
    for name in sites.available:
        assert str(sites.resolve(name)) == name
    for name, why in sites.missing.items():
        assert why
        assert not any(site.split("[")[0] == name for site in sites.available)


def test_a_head_model_and_its_base_have_the_same_sites(model_of):
    model = model_of("llama")
    assert sites_of(model).available == sites_of(model.base_model).available


def test_an_unknown_architecture_says_what_is_missing():
    sites = sites_of(opt())
    assert not sites.known
    assert sites.kind == "causal"
    assert set(sites.missing) == {"text.key_value", "text.attention", "text.mlp", "text.pooled"}
    assert sites.missing["text.key_value"] == "no table describes its attention"
    expected = (
        "text.input",
        "text.output",
        *(f"text.{place}[{i}]" for place in ("layer", "last_position") for i in (0, 1)),
    )
    assert sorted(sites.available) == sorted(expected)
    with pytest.raises(UsageError, match=r"site 'key_value\[0\]' is missing in this model: no table describes"):
        sites.resolve("key_value[0]")


def test_an_unknown_encoder_decoder_offers_weights_alone():
    size = {f"{side}_{part}": 2 for side in ("encoder", "decoder") for part in ("layers", "attention_heads")}
    config = BartConfig(vocab_size=60, d_model=32, encoder_ffn_dim=32, decoder_ffn_dim=32, **size)
    model = random_weights(BartForConditionalGeneration(config))
    assert sites_of(model).kind == "seq2seq"
    assert sites_of(model).available == ()
    with pytest.raises(UsageError, match="site 'input' is missing in this model: no table describes this encoder-dec"):
        sites_of(model).resolve("input")
    value = normal(32, 32)
    with attach(model, [Filling("weight:model.encoder.layers.0.fc1.weight", value)]):
        assert model.model.encoder.layers[0].fc1.weight is value


def test_a_model_without_blocks_offers_no_layers():
    class Config:
        model_type = "nothing-known"

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = Config()
            self.table = torch.nn.Embedding(5, 4)

        @property
        def base_model(self):
            return self

        def get_input_embeddings(self):
            return self.table

        def forward(self, input_ids=None, inputs_embeds=None):
            return inputs_embeds

    sites = sites_of(Flat())
    assert sites.available == ("text.input", "text.output")
    assert "its blocks were not found" in sites.missing["text.layer"]


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("input", Site("", "input")),
        ("encoder.input", Site("encoder", "input")),
        ("decoder.cross_key_value[11]", Site("decoder", "cross_key_value", 11)),
        ("vision.attention[0]", Site("vision", "attention", 0)),
        ("weight:transformer.wte.weight", Site("", "weight", -1, "transformer.wte.weight")),
        ("linear:model.layers.0.mlp.up_proj", Site("", "linear", -1, "model.layers.0.mlp.up_proj")),
    ],
)
def test_names_are_read_and_written(text, site):
    assert Site.parse(text) == site
    assert str(site) == text


@pytest.mark.parametrize("text", ["", "inputs", "layer", "layer[x]", "layer[-1]", "input[0]", "tower.input", "weight:"])
def test_a_name_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="is not understood; write"):
        Site.parse(text)


def test_a_filling_is_a_pair():
    assert Filling("input", 1) == ("input", 1)
