from __future__ import annotations

import copy

import numpy as np
import pytest

import promptology as pt
from promptology.data.items import Field, Signature
from promptology.errors import UsageError
from promptology.prompts import Learned, SiteModule, SiteTensors, Text, Weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import tiny  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tiny.tiny_gpt2(tmp_path_factory.mktemp("models") / "gpt2")
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def learned(*parts):
    return Learned(parts, Signature((Field("text"),)), {"model": "differentiable"})


IDS = torch.arange(8, 20).reshape(2, 6)
PROMPT = learned(SiteTensors("input", numbers(3, 32)))
DEEP = learned(*[SiteTensors(f"key_value[{n}]", numbers(2, 3, 4, 8, seed=n)) for n in range(2)])
OFFSETS = learned(SiteModule("input", "offsets", {"scale": 1.0}, {"A": numbers(9, 2), "B": numbers(2, 32)}))
HEAD = learned(Weights("full", {}, {"transformer.wpe.weight": numbers(192, 32)}))
LOW = {"transformer.h.0.attn.c_attn.A": numbers(2, 32), "transformer.h.0.attn.c_attn.B": numbers(96, 2)}
LORA = learned(Weights("lora", {"alpha": 2}, LOW))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("which", [PROMPT, DEEP, OFFSETS, HEAD, LORA], ids=["input", "deep", "module", "full", "lora"])
def test_attached_nested_and_gone(model, which):
    state = copy.deepcopy(model.state_dict())
    plain = logits(model)
    with pt.attach(model, which) as same:
        assert same is model
        inside = logits(model)
        with pt.attach(model, OFFSETS):
            both = logits(model)
        assert torch.equal(logits(model), inside)
    with pt.attach(model, which):
        assert torch.equal(logits(model), inside)
    assert torch.equal(logits(model), plain)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not torch.allclose(inside, plain, atol=1e-3)
    assert not torch.allclose(both, inside, atol=1e-3)


def test_gone_after_a_fault(model):
    plain = logits(model)
    with pytest.raises(ZeroDivisionError), pt.attach(model, PROMPT):
        _ = 1 // 0
    assert torch.equal(logits(model), plain)


def test_another_type_of_numbers(model):
    half = copy.deepcopy(model).to(torch.bfloat16)
    for which in (PROMPT, DEEP, OFFSETS, HEAD, LORA):
        with pt.attach(model, which):
            wanted = logits(model)
        with pt.attach(half, which):
            found = logits(half)
        assert found.dtype == torch.bfloat16
        assert torch.nn.functional.cosine_similarity(found.float().flatten(), wanted.flatten(), dim=0) > 0.999


@pytest.mark.parametrize(
    ("which", "numbers_named"),
    [
        (learned(SiteTensors("input", numbers(3, 16))), ("16", "32")),
        (learned(*DEEP.parts[:1]), ("1 of 2 layers",)),
        (learned(*DEEP.parts, SiteTensors("key_value[2]", numbers(2, 3, 4, 8))), ("2 layers",)),
        (learned(*[SiteTensors(f"key_value[{n}]", numbers(2, 3, 2, 8)) for n in range(2)]), ("2 heads of 8", "4 of 8")),
        (learned(*[SiteTensors(f"key_value[{n}]", numbers(2, 3, 4, 6)) for n in range(2)]), ("4 heads of 6", "4 of 8")),
        (learned(SiteModule("input", "offsets", {}, {"A": numbers(9, 2), "B": numbers(2, 16)})), ("16", "32")),
        (learned(SiteTensors("layer[7]", numbers(3, 32))), ("7", "2 layers")),
        (learned(SiteTensors("encoder.input", numbers(3, 32))), ("encoder",)),
        (learned(Weights("full", {}, {"transformer.wpe.weight": numbers(64, 32)})), ("(192, 32)", "(64, 32)")),
        (learned(Weights("full", {}, {"other.weight": numbers(64, 32)})), ("other.weight",)),
        (
            learned(Weights("lora", {"alpha": 2}, {name.replace("h.0", "h.5"): a for name, a in LOW.items()})),
            ("h.5.attn",),
        ),
        (
            learned(Weights("lora", {"alpha": 2}, {**LOW, "transformer.h.0.attn.c_attn.B": numbers(48, 2)})),
            ("32 to 96", "32 to 48"),
        ),
    ],
)
def test_another_models_prompt_is_one_line(model, which, numbers_named):
    plain = logits(model)
    with pytest.raises(UsageError) as caught, pt.attach(model, which):
        logits(model)
    assert all(words in str(caught.value) for words in numbers_named), str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.equal(logits(model), plain)


def test_what_cannot_be_attached(model):
    with pytest.raises(UsageError, match="holds nothing that enters a model"), pt.attach(model, learned(Text("a"))):
        pass
    with pytest.raises(UsageError, match="takes a transformers model, not a str"), pt.attach("gpt2", PROMPT):
        pass
