"""Nothing stays behind: errors, nesting, other models, other threads; and nothing that was computed grows stale."""

from __future__ import annotations

import threading

import pytest
import torch
from injecting import (
    FAR,
    NEAR,
    WIDTH,
    Broken,
    Scaled,
    apart,
    key_values,
    left_as_it_was,
    mask_of,
    normal,
    opt,
    prepended,
    token_ids,
)

from promptology.errors import UsageError
from promptology.injection import Filling, attach, capture, encode_prefix
from promptology.injection.attaching import detached
from promptology.injection.modules import Lora
from promptology.injection.watching import WATCHED

PROMPT = normal(5, WIDTH, seed=1)
INNER = normal(3, WIDTH, seed=3)
STACKS = {"gpt2": "", "llama": "", "bert": "", "roberta": "", "t5": "encoder."}


def everything(model, kind):
    """Fillings at every site at once."""
    stack = STACKS[kind]
    deep = kind not in ("gpt2", "llama")
    fillings = [
        Filling(f"{stack}input", PROMPT),
        Filling(f"{stack}layer[1]", normal(5, WIDTH, seed=4)),
        Filling(f"{stack}layer[0]", Scaled()),
        Filling(f"{stack}attention[0]", Scaled()),
        Filling(f"{stack}mlp[1]", Scaled()),
        Filling(f"{stack}last_position[0]", normal(WIDTH, seed=5)),
        Filling(f"{stack}output", Scaled()),
    ]
    name, path = {
        "gpt2": ("transformer.h.0.ln_1.weight", "transformer.h.0.mlp.c_fc"),
        "llama": ("model.norm.weight", "model.layers.0.mlp.up_proj"),
        "bert": ("bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.output.dense"),
        "roberta": ("roberta.embeddings.LayerNorm.weight", "roberta.encoder.layer.0.output.dense"),
        "t5": ("encoder.final_layer_norm.weight", "decoder.block.0.layer.0.SelfAttention.q"),
    }[kind]
    layer = model.get_submodule(path).weight
    size = tuple(layer.shape) if kind == "gpt2" else tuple(layer.shape)[::-1]
    fillings += [Filling(f"weight:{name}", normal(WIDTH, seed=6))]
    fillings += [Filling(f"linear:{path}", Lora(normal(2, size[0]), normal(size[1], 2), 1.0))]
    if kind == "t5":
        fillings += [
            Filling(f"decoder.{p}[{i}]", v)
            for p in ("key_value", "cross_key_value")
            for i, v in enumerate(key_values(model))
        ]
    elif not deep:
        fillings += [Filling(f"key_value[{i}]", v) for i, v in enumerate(key_values(model))]
    return fillings


def logits(model, ids, mask=None):
    labels = {"labels": token_ids(model, len(ids), 4)} if model.config.is_encoder_decoder else {}
    return model(ids, attention_mask=mask, **labels).logits


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", STACKS)
def test_detached_is_bit_identical(kind, training, model_of):
    model = model_of(kind).train(training)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ids, mask = token_ids(model), mask_of("right")
    torch.manual_seed(0)
    plain = logits(model, ids, mask)
    with left_as_it_was(model):
        for _ in range(2):
            with attach(model, everything(model, kind)) as same:
                assert same is model
                assert model.training is training
                assert apart(logits(model, ids, mask), plain) > FAR
        torch.manual_seed(0)
        assert torch.equal(logits(model, ids, mask), plain)
    assert detached(model)
    assert not WATCHED


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize(
    "where", ["block", "input", "layer[1]", "attention[1]", "mlp[0]", "last_position[0]", "output"]
)
def test_an_error_leaves_no_trace(kind, where, model_of):
    model, stack = model_of(kind), STACKS[kind]
    ids = token_ids(model)
    plain = logits(model, ids)
    fillings = everything(model, kind)
    if where != "block":
        fillings.append(Filling(stack + where, Broken()))
    with left_as_it_was(model):
        with (
            pytest.raises(RuntimeError, match="on purpose"),
            attach(model, [Filling(f"{stack}input", INNER)]),
            attach(model, fillings),
        ):
            logits(model, ids)
            raise RuntimeError("on purpose")
        assert torch.equal(logits(model, ids), plain)
    assert not WATCHED


@pytest.mark.parametrize("kind", STACKS)
def test_an_attachment_works_on_after_an_error_in_a_forward(kind, model_of):
    """What a broken pass left half done must not be taken for a pass under way."""
    model, stack = model_of(kind), STACKS[kind]
    ids = token_ids(model)
    with attach(model, [Filling(f"{stack}input", PROMPT)]):
        expected = logits(model, ids)
        for site in ("layer[1]", "attention[0]", "input"):
            with attach(model, [Filling(stack + site, Broken())]), pytest.raises(RuntimeError, match="on purpose"):
                logits(model, ids)
            with pytest.raises((IndexError, RuntimeError)):
                logits(model, torch.full_like(ids, 10**6))
        assert torch.equal(logits(model, ids), expected)


@pytest.mark.parametrize("bad", ["input", "key_value[0]", "layer[7]", "nothing"])
def test_a_refused_attachment_leaves_no_trace(bad, model_of):
    model = model_of("llama")
    fillings = [*everything(model, "llama"), Filling(bad, normal(5, 7))]
    with left_as_it_was(model), pytest.raises(UsageError), attach(model, fillings):
        pass
    assert not WATCHED


def test_blocks_may_end_in_another_order(model_of):
    """Generators and notebooks end blocks when they like."""
    model = model_of("llama")
    ids, plain = token_ids(model), None
    plain = model(ids).logits
    inner_alone = prepended(model, INNER, ids)
    with left_as_it_was(model):
        outer, inner = attach(model, [Filling("input", PROMPT)]), attach(model, [Filling("input", INNER)])
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        assert apart(model(ids).logits, inner_alone) < NEAR
        inner.__exit__(None, None, None)
        assert torch.equal(model(ids).logits, plain)


@pytest.mark.parametrize("shared", [False, True])
def test_two_models_at_once(shared, model_of):
    one, other = model_of("llama"), model_of("llama")
    if shared:  # two models made of one config object
        other = type(one)(one.config).requires_grad_(False).eval()
    ids = token_ids(one)
    plain = other(ids).logits
    expected = prepended(one, PROMPT, ids), prepended(other, INNER, ids)
    with left_as_it_was(one), left_as_it_was(other), attach(one, [Filling("input", PROMPT)]):
        assert torch.equal(other(ids).logits, plain)
        with attach(other, [Filling("input", INNER)]):
            assert apart(one(ids).logits, expected[0]) < NEAR
            assert apart(other(ids).logits, expected[1]) < NEAR
        assert torch.equal(other(ids).logits, plain)
        assert apart(one(ids).logits, expected[0]) < NEAR


def test_two_threads_on_two_models(model_of):
    models = [model_of("llama"), model_of("gpt2")]
    ids = token_ids(models[0])
    prompts = [PROMPT, INNER]
    expected = [prepended(m, p, ids) for m, p in zip(models, prompts, strict=True)]
    worst, failures = [0.0, 0.0], []

    def work(n):
        try:
            for _ in range(25):
                with torch.no_grad(), attach(models[n], [Filling("input", prompts[n])]):
                    for _ in range(2):
                        worst[n] = max(worst[n], apart(models[n](ids).logits, expected[n]))
        except Exception as error:  # reported by the test itself
            failures.append(error)

    with left_as_it_was(models[0]), left_as_it_was(models[1]):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert max(worst) < NEAR


class TestKept:
    """Without gradients, keys and values of a prompt are computed once, and anew when anything changes."""

    def passes(self, model):
        """Count the passes of the stack, the prompt's own among them."""
        counted = []
        model.base_model.register_forward_pre_hook(lambda *_: counted.append(1))
        return counted

    def test_once_for_many_forwards(self, model_of):
        model = model_of("llama")
        ids = token_ids(model)
        with torch.no_grad(), attach(model, [Filling("input", PROMPT)]):
            counted = self.passes(model)
            for _ in range(3):
                model(ids)
            assert len(counted) == 4
            model.generate(ids, max_new_tokens=4, pad_token_id=0, eos_token_id=None)
            assert len(counted) == 8
        with attach(model, [Filling("input", PROMPT)]):
            counted.clear()
            for _ in range(2):
                model(ids)  # with gradients every pass has a graph of its own
            assert len(counted) == 4

    @pytest.mark.parametrize("how", ["in place", "optimiser", "data in place", "data", "ragged"])
    def test_a_prompt_that_changes(self, how, model_of):
        model = model_of("llama")
        ids, prompt, new = token_ids(model), torch.nn.Parameter(PROMPT.clone()), normal(5, WIDTH, seed=9)
        filler = [prompt, prompt, INNER] if how == "ragged" else prompt
        with attach(model, [Filling("input", filler)]), torch.no_grad():
            before = model(ids).logits
            if how in ("in place", "ragged"):
                prompt.copy_(new)
            elif how == "data in place":
                prompt.data.copy_(new)
            elif how == "data":
                prompt.data = new
            else:
                prompt.grad = prompt - new
                torch.optim.SGD([prompt], lr=1.0).step()
            found = model(ids).logits
        rows = [new, new, INNER] if how == "ragged" else new
        with attach(model, [Filling("input", rows)]), torch.no_grad():
            expected = model(ids).logits
        assert apart(found, expected) < NEAR
        assert apart(found, before) > FAR

    def test_inference_mode(self, model_of):
        model = model_of("llama")
        ids, new = token_ids(model), normal(5, WIDTH, seed=9)
        with torch.inference_mode():
            prompt = PROMPT.clone()
            with attach(model, [Filling("input", prompt)]):
                model(ids)
                prompt.copy_(new)
                found = model(ids).logits
        assert apart(found, prepended(model, new, ids)) < NEAR

    @pytest.mark.parametrize("order", ["inside", "outside", "beside"])
    def test_a_low_rank_addition_that_comes_goes_and_changes(self, order, model_of):
        model, path = model_of("llama"), "model.layers.0.self_attn.k_proj"
        ids, prompt = token_ids(model), Filling("input", PROMPT)
        part = Lora(normal(2, WIDTH), normal(WIDTH // 2, 2), 1.0)
        lora = Filling(f"linear:{path}", part)

        def merged_logits():
            with torch.no_grad():
                model.get_submodule(path).weight += part.B @ part.A
                found = prepended(model, PROMPT, ids)
                model.get_submodule(path).weight -= part.B @ part.A
            return found

        first = merged_logits()
        outer, inner = {"inside": ([prompt], [lora]), "outside": ([lora], [prompt]), "beside": ([prompt, lora], [])}[
            order
        ]
        with torch.no_grad(), attach(model, outer):
            model(ids)
            with attach(model, inner):
                assert apart(model(ids).logits, first) < NEAR
                part.A.mul_(-1)
                after = model(ids).logits
            if order == "inside":
                assert apart(model(ids).logits, apart_from_lora(model, ids)) < NEAR
        assert apart(after, merged_logits()) < NEAR
        assert apart(after, first) > FAR

    def test_weights_of_the_model_that_change(self, model_of):
        model = model_of("llama")
        ids = token_ids(model)
        with torch.no_grad(), attach(model, [Filling("input", PROMPT)]):
            model(ids)
            model.model.layers[0].self_attn.v_proj.weight.mul_(1.5)
            found = model(ids).logits
        assert apart(found, prepended(model, PROMPT, ids)) < NEAR

    def test_keys_and_values_that_change_under_a_prompt(self, model_of):
        model, values = model_of("llama"), key_values(model_of("llama"))
        ids = token_ids(model)
        fillings = [Filling("input", PROMPT), *(Filling(f"key_value[{i}]", v) for i, v in enumerate(values))]
        with torch.no_grad():
            with attach(model, fillings):
                before = model(ids).logits
                for value in values:
                    value.mul_(-0.5)
                found = model(ids).logits
            with attach(model, fillings):
                assert apart(found, model(ids).logits) < NEAR
        assert apart(found, before) > FAR

    def test_a_prompt_trained_between_generations(self, model_of):
        """A cache that was begun with gradients goes on without: what was kept before must not come back."""
        model, prompt = model_of("llama"), torch.nn.Parameter(PROMPT.clone())
        ids = token_ids(model)
        with attach(model, [Filling("input", prompt)]):
            with torch.no_grad():
                model(ids)
                prompt.copy_(normal(5, WIDTH, seed=9))
            cache = model(ids[:, :6], use_cache=True).past_key_values
            with torch.no_grad():
                found = model(ids[:, 6:], past_key_values=cache).logits
                expected = model(ids).logits[:, 6:]
        assert apart(found, expected) < NEAR


def apart_from_lora(model, ids):
    """Logits under PROMPT alone, of a model onto which it is attached now."""
    with attach(model, []):
        return model(ids).logits


def test_an_unknown_architecture_is_left_as_it_was():
    model = opt()
    ids = token_ids(model)
    expected = model(
        inputs_embeds=torch.cat([PROMPT.expand(3, -1, -1), model.get_input_embeddings()(ids)], dim=1)
    ).logits
    settings = {"max_new_tokens": 4, "attention_mask": torch.ones_like(ids), "eos_token_id": None}
    with left_as_it_was(model):
        with attach(model, [Filling("input", PROMPT), Filling("last_position[1]", 0 * normal(WIDTH))]):
            assert apart(model(ids).logits, expected[:, 5:]) < NEAR
            found = model.generate(ids, do_sample=False, **settings)
            assert torch.equal(found, model.generate(ids, do_sample=False, use_cache=False, **settings))
        with pytest.raises(RuntimeError, match="on purpose"), attach(model, [Filling("layer[0]", Broken())]):
            model(ids)


def test_capture_and_prefixes_leave_no_trace(model_of):
    model = model_of("llama")
    ids = token_ids(model)
    with left_as_it_was(model):
        prefix = encode_prefix(model, ids[:1])
        with capture(model, ["attention[0]"], maps=True), attach(model, [], prefixes=[prefix]):
            model(ids)
    assert not WATCHED
