"""Half precision, sliding windows, gradient checkpointing: models as users load them."""

from __future__ import annotations

import pytest
import torch
from injecting import (
    CAUSAL,
    FAR,
    HEADS,
    LAYERS,
    NEAR,
    SIZE,
    WIDTH,
    Scaled,
    apart,
    heads_of,
    key_values,
    left_as_it_was,
    mask_of,
    normal,
    prepended,
    token_ids,
)

from promptology.errors import UsageError
from promptology.injection import Filling, attach, capture, encode_prefix
from promptology.injection.modules import Lora, Offsets

PROMPT = normal(5, WIDTH, seed=1)


def logits(model, ids, mask=None):
    labels = {"labels": ids} if model.config.is_encoder_decoder else {}
    return model(ids, attention_mask=mask, **labels).logits


class TestHalfPrecision:
    """Learned parts stay in float32; the model's own type is what comes out."""

    @pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "t5"])
    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_every_site_takes_float32(self, kind, attention, model_of):
        model, reference = (model_of(kind, attention=attention, dtype=d) for d in (torch.bfloat16, torch.float32))
        stack = "encoder." if kind == "t5" else ""
        linear, name = {
            "gpt2": ("transformer.h.0.mlp.c_proj", "transformer.h.0.ln_1.weight"),
            "llama": ("model.layers.0.mlp.down_proj", "model.norm.weight"),
            "bert": ("bert.encoder.layer.0.output.dense", "bert.embeddings.LayerNorm.weight"),
            "t5": ("encoder.block.0.layer.1.DenseReluDense.wo", "encoder.final_layer_norm.weight"),
        }[kind]
        inside = model.get_submodule(linear).weight.numel() // WIDTH
        fillings = [
            Filling(f"{stack}input", PROMPT),
            Filling(f"{stack}input", Offsets(normal(7, 2), normal(2, WIDTH), 1.0)),
            Filling(f"{stack}layer[1]", normal(5, WIDTH, seed=4)),
            Filling(f"{stack}layer[0]", Scaled()),
            Filling(f"{stack}mlp[0]", Scaled(seed=1)),
            Filling(f"{stack}attention[1]", Scaled(seed=2)),
            Filling(f"{stack}output", Scaled(seed=3)),
            Filling(f"{stack}last_position[0]", normal(WIDTH, seed=5)),
            Filling(f"linear:{linear}", Lora(normal(2, inside), normal(WIDTH, 2), 1.0)),
            Filling(f"weight:{name}", 1 + normal(WIDTH, seed=6)),
        ]
        places = ("decoder.key_value", "decoder.cross_key_value") if kind == "t5" else ("key_value",)
        heads = heads_of(model)
        fillings += [
            Filling(f"{place}[{i}]", normal(2, 4, heads, SIZE, seed=i)) for place in places for i in range(LAYERS)
        ]
        ids = token_ids(model)
        for filling in [[f] for f in fillings if not f.site.endswith("layer[1]") and "key_value" not in f.site] + [
            fillings
        ]:
            with left_as_it_was(model), attach(model, filling):
                found = logits(model, ids)
            with attach(reference, filling):
                expected = logits(reference, ids)
            assert found.dtype == torch.bfloat16
            assert apart(found, expected) < 0.05 * float(expected.abs().max())

    def test_gradients_are_float32(self, model_of):
        model, prompt = model_of("llama", dtype=torch.bfloat16), PROMPT.clone().requires_grad_()
        value = torch.ones(WIDTH, requires_grad=True)
        path = "model.layers.0.self_attn.q_proj"
        lora = Lora(normal(2, WIDTH), normal(WIDTH, 2), 1.0)
        fillings = [
            Filling("input", prompt),
            Filling("weight:model.norm.weight", value),
            Filling(f"linear:{path}", lora),
        ]
        losses = []
        with attach(model, fillings):
            for _ in range(3):
                loss = model(token_ids(model)).logits.float().square().mean()
                loss.backward()
                losses.append(loss.item())
                with torch.no_grad():
                    value -= 0.5 * value.grad
                    assert (prompt.grad.dtype, value.grad.dtype, lora.A.grad.dtype) == (torch.float32,) * 3
                    value.grad = None
        assert float(prompt.grad.norm()) > 0
        assert losses[0] > losses[1] > losses[2]  # a weight in float32 is cast anew for every pass

    @pytest.mark.parametrize("kind", CAUSAL)
    def test_generation_and_prefixes(self, kind, model_of):
        model = model_of(kind, dtype=torch.bfloat16)
        ids, mask = token_ids(model), mask_of("left")
        with attach(model, [Filling("input", PROMPT)]):
            prefix = encode_prefix(model, ids[:1])
            with attach(model, [], prefixes=[prefix]), capture(model, ["attention[0]"], maps=True) as maps:
                out = model.generate(ids, attention_mask=mask, max_new_tokens=4, pad_token_id=0, eos_token_id=None)
        assert out.shape == (3, 11)
        assert prefix.layers[0][0].dtype == torch.bfloat16
        assert maps["attention[0]"].dtype == torch.float32

    def test_prompts_under_autocast(self, model_of):
        model = model_of("llama")
        ids = token_ids(model)
        expected = prepended(model, PROMPT, ids)
        with attach(model, [Filling("input", PROMPT)]), torch.autocast("cpu", torch.bfloat16):
            found = model(ids).logits
        assert apart(found, expected) < 0.05 * float(expected.abs().max())


class TestSlidingWindow:
    """A window cuts off text that is far away; what was attached stays in sight of every token."""

    def test_within_the_window_it_is_prepending(self, model_of):
        model = model_of("sliding")
        ids = token_ids(model)  # 5 + 7 of 16
        assert model.config.sliding_window == 16
        with attach(model, [Filling("input", PROMPT)]):
            assert apart(model(ids).logits, prepended_of(model_of, PROMPT, ids)) < NEAR

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_beyond_the_window_the_prompt_stays_in_sight(self, attention, model_of):
        model = model_of("sliding", attention=attention)
        ids = token_ids(model, length=40)
        with attach(model, [Filling("input", PROMPT)]), capture(model, ["attention[0]"], maps=True) as maps:
            found = model(ids).logits
        seen = maps["attention[0]"] > 0
        expected = torch.zeros(40, 45, dtype=torch.bool)
        expected[:, :5] = True
        for token in range(40):
            expected[token, 5 + max(0, token - 15) : 6 + token] = True
        assert torch.equal(seen, expected.expand_as(seen))
        assert apart(found, prepended_of(model_of, PROMPT, ids)) > FAR  # a real prompt would be out of sight

    def test_generation_beyond_the_window(self, model_of):
        model = model_of("sliding")
        ids = token_ids(model, length=14)
        settings = {"max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": None}
        with attach(model, [Filling("input", PROMPT)]):
            found = model.generate(ids, **settings)
            again = model.generate(ids, use_cache=False, **settings)
        assert torch.equal(found, again)


def prepended_of(model_of, prompt, ids):
    return prepended(model_of("sliding"), prompt, ids)


class TestCheckpointing:
    """Layers run again in the backward pass and must see what they saw the first time."""

    FILLINGS = ("prompt", "ragged", "deep", "prefix", "key values", "lora", "nested", "everything")

    def attached(self, model, kind, case, parts):
        prompt, other, values, lora = parts
        stack = "encoder." if kind == "t5" else ""
        place = "decoder.key_value" if kind == "t5" else "key_value"
        path = {
            "gpt2": "transformer.h.0.attn.c_proj",
            "llama": "model.layers.0.self_attn.o_proj",
            "bert": "bert.encoder.layer.0.attention.self.query",
            "t5": "decoder.block.0.layer.0.SelfAttention.q",
        }[kind]
        one, two = Filling(f"{stack}input", prompt), Filling(f"{stack}input", other)
        deep, low = Filling(f"{stack}layer[1]", other), Filling(f"linear:{path}", lora)
        keys = [Filling(f"{place}[{i}]", v) for i, v in enumerate(values)]
        return {
            "prompt": [[one]],
            "ragged": [[Filling(f"{stack}input", [prompt, other[:3], other[:2]])]],
            "deep": [[one, deep]],
            "key values": [keys],
            "lora": [[low]],
            "nested": [[one], [two]],
            "everything": [[one, deep, low, Filling(f"{stack}mlp[0]", Scaled())], [two, *keys]],
        }[case]

    def gradients(self, model, kind, case):
        parts = (
            PROMPT.clone().requires_grad_(),
            normal(5, WIDTH, seed=4).requires_grad_(),
            [v.requires_grad_() for v in key_values(model)],
            Lora(normal(2, WIDTH), normal(WIDTH, 2), 1.0),
        )
        outer, *inner = self.attached(model, kind, case, parts)
        with attach(model, outer), attach(model, *inner or [[]]):
            loss = logits(model, token_ids(model), mask_of("right")).square().mean()
            loss.backward()
        leaves = [*parts[:2], *parts[2], *parts[3].parameters()]
        return loss, [leaf.grad for leaf in leaves]

    @pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "t5"])
    @pytest.mark.parametrize("case", ["prompt", "ragged", "deep", "key values", "lora", "nested", "everything"])
    def test_gradients_are_right(self, kind, case, model_of):
        model = undropped(model_of(kind))
        loss, expected = self.gradients(model, kind, case)
        model.train()
        checkpointed(model)
        with left_as_it_was(model):
            found_loss, found = self.gradients(model, kind, case)
        assert abs(float(loss - found_loss)) < NEAR
        assert any(grad is not None and float(grad.norm()) > 0 for grad in expected)
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            assert one is None or apart(one, other) < 1e-6

    def test_gradients_through_a_prefix(self, model_of):
        model = undropped(model_of("llama"))

        def gradient():
            prompt = PROMPT.clone().requires_grad_()
            prefix = encode_prefix(model, inputs_embeds=prompt[None])
            with attach(model, [], prefixes=[prefix]):
                model(token_ids(model)).logits.square().mean().backward()
            return prompt.grad

        expected = gradient()
        checkpointed(model.train())
        assert apart(gradient(), expected) < 1e-6

    def test_backward_outside_of_the_block_is_one_clear_line(self, model_of):
        model = checkpointed(undropped(model_of("llama")).train())
        with attach(model, [Filling("input", PROMPT.clone().requires_grad_())]):
            loss = model(token_ids(model)).logits.square().mean()
        with pytest.raises(UsageError, match="call backward inside the block in which the parts are attached"):
            loss.backward()

    def test_the_reentrant_kind_is_one_clear_line(self, model_of):
        model = checkpointed(undropped(model_of("llama")).train(), use_reentrant=True)
        with attach(model, [Filling("input", PROMPT.clone().requires_grad_())]):
            with pytest.raises(UsageError, match="enable it with use_reentrant=False, which is the default"):
                model(token_ids(model))
            with torch.no_grad():
                model(token_ids(model))
            model.eval()
            model(token_ids(model))


def checkpointed(model, **settings):
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable(settings or None)
    return model


def undropped(model):
    """Switch every dropout off: two passes must agree in training mode."""
    for module in model.modules():
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def test_grouped_heads_are_what_the_table_says(model_of):
    model = model_of("llama")
    assert heads_of(model) == HEADS // 2
    prefix = encode_prefix(model, token_ids(model, 1))
    assert prefix.layers[0][0].shape[1] == HEADS // 2
