"""Models of every table keep the contract of sites, and broken tables break it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from injecting import FOLDERS, frozen, left_as_it_was, load, normal, opt, random_weights, towers  # noqa: E402

from promptology.errors import UsageError  # noqa: E402
from promptology.injection.arch import TABLES  # noqa: E402
from promptology.testing import check_sites  # noqa: E402

ALWAYS = ["fillers", "gradients"]
INPUT = [
    "text.input: prompts",
    "text.input: rows",
    "text.input: padding on the left",
    "text.input: padding on the right",
]
CAUSAL = ["parts", *ALWAYS, *INPUT, "prefixes", "generation", "detached"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    torch.set_num_threads(1)
    models = {}

    def model(kind):
        if kind not in models:
            make, settings = FOLDERS[kind]
            models[kind] = load(make(tmp_path_factory.mktemp(kind), **settings), kind)
        return copy.deepcopy(models[kind])

    return model


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "mistral", "sliding", "qwen3", "smollm3"])
def test_causal_models(kind, made):
    model = made(kind)
    with left_as_it_was(model):
        checked = check_sites(model)
    assert checked.promises == CAUSAL
    assert checked.skipped == {"text.pooled": "it has no pooler"}


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_masked_models(kind, made):
    checked = check_sites(made(kind))
    padded = "text.input: padding on the left"
    assert checked.promises == ["parts", *ALWAYS, *(p for p in INPUT if kind != "bert" or p != padded), "detached"]
    if kind == "bert":
        assert "with nothing attached a padded row differs by" in checked.skipped[padded]
    assert checked.skipped["prefixes"] == "a masked model reads its input in both directions"
    assert checked.skipped["generation"] == "it does not generate"


def test_encoders_with_a_pooler():
    config = transformers.BertConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, vocab_size=60
    )
    checked = check_sites(random_weights(transformers.BertModel(config)))
    assert "fillers" in checked.promises
    assert "text.pooled" not in checked.skipped


def test_t5(made):
    checked = check_sites(made("t5"))
    assert checked.promises == [
        "parts", *ALWAYS, "encoder.input: prompts", "encoder.input: rows", "encoder.input: padding on the right",
        "generation", "detached",
    ]  # fmt: skip
    assert checked.skipped["encoder.input: padding on the left"].startswith("as in a prompt really prepended, padding")
    assert checked.skipped["decoder.input"].endswith("use decoder.key_value[i]")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_towers(kind):
    model = towers(kind)
    with left_as_it_was(model):
        checked = check_sites(model)
    assert checked.promises == ["parts", *ALWAYS, "detached"]
    assert checked.skipped["text.input"].startswith("a tower reads a fixed number of positions")
    assert ("vision.pooled" in checked.skipped) == (kind == "clip")


def test_an_unknown_architecture():
    checked = check_sites(opt())
    assert checked.promises == [*ALWAYS, *INPUT, "generation", "detached"]
    assert checked.skipped["parts"] == "no table describes 'opt'"
    assert checked.skipped["prefixes"] == "no table describes its attention"
    assert "text.attention not checked: no table says where its blocks have it" in str(checked)


SIZE = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
UNKNOWN = {
    "GPTNeoXForCausalLM": SIZE,
    "Gemma2ForCausalLM": {**SIZE, "num_key_value_heads": 2, "head_dim": 8},
    "CamembertForMaskedLM": SIZE,
    "AlbertForMaskedLM": {**SIZE, "embedding_size": 16},
    "ModernBertForMaskedLM": SIZE,
    "DebertaV2ForMaskedLM": SIZE,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_more_unknown_architectures(name):
    """What generic hooks give is right: positions behind the padding index, narrow embeddings, relative positions."""
    config = getattr(transformers, f"{name.partition('For')[0]}Config")(**UNKNOWN[name])
    checked = check_sites(random_weights(getattr(transformers, name)(config)))
    assert set(checked.promises) >= {*ALWAYS, *INPUT[:2], INPUT[3], "detached"}
    assert ("generation" in checked.promises) == ("Causal" in name)


def test_untrained_models_of_usual_scale_and_half_precision():
    """Weights of 0.02 make small effects, bfloat16 makes large errors; both must be told apart."""
    config = transformers.LlamaConfig(
        vocab_size=60, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    assert check_sites(model).promises == CAUSAL
    assert all(p.requires_grad for p in model.parameters())
    assert model.training
    assert check_sites(random_weights(model).to(torch.bfloat16)).promises == CAUSAL


def test_what_pt_model_returns(made):
    class Body:
        model = made("llama")

    class White:
        def frozen(self):
            return Body

    assert check_sites(White()).promises == CAUSAL


def test_what_is_no_model():
    with pytest.raises(UsageError, match="attach takes a transformers model, not a int"):
        check_sites(5)
    vision = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
    )
    with pytest.raises(UsageError, match="check_sites asks models of text and pairs of towers, not CLIPVisionModel"):
        check_sites(frozen(transformers.CLIPVisionModel(vision)))


def changed(kind, monkeypatch, number=0, block=None, **changes):
    """Put a wrong table in the place of a right one."""
    stacks = list(TABLES[kind])
    stack = replace(stacks[number], **changes)
    stacks[number] = replace(stack, block=replace(stack.block, **(block or {})))
    monkeypatch.setitem(TABLES, kind, tuple(stacks))


BROKEN = {
    "a path to nothing": (
        "llama",
        {"block": {"query": "self_attn.queries"}},
        "its table says 'self_attn.queries' in each",
    ),
    "a missing norm": ("llama", {"norm": "last_norm"}, "its table says 'last_norm' in stack 'text': nothing there"),
    "another module's attention": (
        "llama",
        {"block": {"core": "mlp"}},
        "filled at text.input, it raised ModelError: attention was seen in 0 of 2",
    ),
    "causal, of an encoder": ("bert", {"causal": True}, "virtual tokens at text.input differ by"),
    "not causal, of a decoder": (
        "gpt2",
        {"causal": False, "positions": "none"},
        "prompts of different lengths at text",
    ),
    "positions from 0": ("roberta", {"positions": "ids"}, "of one row at text.key_value[0] change the output of ano"),
    "no positions": ("gpt2", {"positions": "none"}, "virtual tokens at text.input differ by"),
    "a decoder that sees no prompt": ("t5", {"keeps": False}, "virtual tokens at encoder.input differ by"),
    "a part that nobody calls": ("gpt2", {"block": {"mlp": "idle"}}, "a part at text.mlp[0] changes nothing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_named(case, made, monkeypatch):
    kind, changes, message = BROKEN[case]
    model = made(kind)
    if "idle" in str(changes):
        for block in model.transformer.h:
            block.idle = torch.nn.Identity()
    changed(kind, monkeypatch, **changes)
    with left_as_it_was(model), pytest.raises(AssertionError) as raised:
        check_sites(model)
    said = str(raised.value)
    assert said.startswith(f"model {type(model).__name__}: ")
    assert message in said


class Drifts(transformers.GPT2LMHeadModel):
    """Gives another output each time."""

    calls = 0

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        self.calls += 1
        out.logits = out.logits + self.calls
        return out


class IgnoresItsCache(transformers.GPT2LMHeadModel):
    """Forgets what it generated so far."""

    def forward(self, *args, **kwargs):
        if kwargs.get("cache") is not None or kwargs.get("past_key_values") is not None:
            kwargs.update(cache=None, past_key_values=None, attention_mask=None)
        return super().forward(*args, **kwargs)


class Leaks(transformers.GPT2LMHeadModel):
    """Keeps a hook of every call."""

    def forward(self, *args, **kwargs):
        self.lm_head.register_forward_hook(lambda *_: None)
        return super().forward(*args, **kwargs)


class Mixes(transformers.GPT2LMHeadModel):
    """Lets rows see each other."""

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = out.logits + out.logits.mean(dim=0, keepdim=True)
        return out


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Drifts, "a neutral part at text.input changes the output by"),
        (IgnoresItsCache, "of a generation with a cache has logits that differ by"),
        (Leaks, "what was attached left traces"),
        (Mixes, "keys and values of one row at .* change the output of another by"),
    ],
)
def test_a_broken_promise_is_named(kind, message, made):
    model = made("gpt2")
    model.__class__ = kind
    with pytest.raises(AssertionError, match=message):
        check_sites(model)


def test_a_gradient_of_before_is_left_alone(made):
    model = made("llama")
    weight = model.get_parameter("model.norm.weight").requires_grad_()
    weight.grad = normal(*weight.shape)
    with left_as_it_was(model):
        check_sites(model)
