"""What does not fit says so: one line, what, where, and what to do."""

from __future__ import annotations

import pytest
import torch
from injecting import HEADS, SIZE, WIDTH, Scaled, key_values, left_as_it_was, normal, opt, token_ids

from promptology.errors import UsageError
from promptology.injection import Filling, attach, encode_prefix
from promptology.injection.watching import implementation

PROMPT = normal(5, WIDTH, seed=1)


def fault_of(model, fillings, *inputs, prefixes=(), **given):
    """Return the one line of a fault, at attaching or at the first forward."""
    with left_as_it_was(model), pytest.raises(UsageError) as raised, attach(model, fillings, prefixes):
        model(*(inputs or (token_ids(model),)), **given)
    line = str(raised.value)
    assert "\n" not in line
    return line


class TestPrompts:
    @pytest.mark.parametrize("kind", ["gpt2", "llama", "bert"])
    def test_another_width(self, kind, model_of):
        assert fault_of(model_of(kind), [Filling("input", normal(5, 16))]) == (
            "site text.input: the prompt is 16 wide, the model's embeddings are 32; "
            "it belongs to a model of another size"
        )

    def test_another_width_in_t5(self, model_of):
        model = model_of("t5")
        line = fault_of(model, [Filling("encoder.input", normal(5, 16))], labels=token_ids(model))
        assert line.startswith("site encoder.input: the prompt is 16 wide")

    @pytest.mark.parametrize(
        "filler",
        [torch.ones(5, WIDTH, dtype=torch.long), normal(WIDTH), "a text", [PROMPT, "a text"], [normal(WIDTH)], None],
    )
    def test_what_is_no_prompt(self, filler, model_of):
        line = fault_of(model_of("llama"), [Filling("input", filler)])
        assert line == "site text.input takes virtual tokens of shape (length, 32), or a module"

    @pytest.mark.parametrize("filler", [normal(0, WIDTH), [], [normal(0, WIDTH)] * 3])
    def test_a_prompt_without_tokens(self, filler, model_of):
        line = fault_of(model_of("llama"), [Filling("input", filler)])
        assert line == "site text.input: a prompt has no virtual token at all"

    @pytest.mark.parametrize("filler", [normal(2, 5, WIDTH), [PROMPT, PROMPT[:2]]], ids=["rows", "ragged"])
    @pytest.mark.parametrize("kind", ["llama", "bert"])
    def test_a_batch_that_is_no_multiple_of_the_prompts(self, kind, filler, model_of):
        line = fault_of(model_of(kind), [Filling("input", filler)])
        assert line == "2 prompts were attached, one per row, and the batch has 3 rows"

    @pytest.mark.parametrize("kind", ["gpt2", "bert", "roberta"])
    def test_longer_than_the_context(self, kind, model_of):
        line = fault_of(model_of(kind), [Filling("input", normal(190, WIDTH))])
        assert line == ("prompt and text take 197 positions, the model has 192: take a shorter prompt or shorter texts")

    def test_longer_than_the_context_by_itself(self, model_of):
        line = fault_of(model_of("gpt2"), [Filling("input", normal(200, WIDTH))])
        assert line == ("prompt and text take 200 positions, the model has 192: take a shorter prompt or shorter texts")

    def test_longer_than_the_context_with_what_is_generated(self, model_of):
        model = model_of("gpt2")
        with (
            left_as_it_was(model),
            attach(model, [Filling("input", normal(180, WIDTH))]),
            pytest.raises(UsageError, match="prompt and text take 193 positions, the model has 192"),
        ):
            model.generate(token_ids(model), max_new_tokens=20, pad_token_id=0, eos_token_id=None)

    def test_a_mask_of_another_shape(self, model_of):
        model = model_of("bert")
        line = fault_of(model, [Filling("input", PROMPT)], attention_mask=torch.ones(3, 1, 7, 7))
        assert line == "virtual tokens at input need a mask of shape (rows, tokens)"


class TestDeepPrompts:
    def test_without_a_prompt(self, model_of):
        assert fault_of(model_of("llama"), [Filling("layer[1]", PROMPT)]) == (
            "site text.layer[1]: it takes the place of virtual tokens, and there are none at input"
        )

    @pytest.mark.parametrize("filler", [normal(4, WIDTH), normal(5, 16), normal(3, 4, WIDTH)])
    def test_of_another_shape(self, filler, model_of):
        line = fault_of(model_of("llama"), [Filling("input", PROMPT), Filling("layer[1]", filler)])
        assert line.startswith("site text.layer[1]: virtual tokens of shape (")
        assert line.endswith("cannot take the place of 5 x 32")


class TestKeysAndValues:
    def test_of_another_number_of_layers(self, model_of):
        model = model_of("llama")
        first, second = key_values(model)
        assert fault_of(model, [Filling("key_value[0]", first)]) == (
            "keys and values for 1 of 2 layers were learned, key_value[1] is missing; "
            "they belong to a model of another size"
        )
        line = fault_of(model, [Filling(f"key_value[{i}]", second) for i in range(3)])
        assert line == "site 'key_value[2]': stack 'text' has 2 layers, 0 to 1"

    def test_of_other_heads(self, model_of):
        model = model_of("llama")  # it has two heads of keys and values
        fillings = [Filling(f"key_value[{i}]", normal(2, 4, HEADS, SIZE)) for i in range(2)]
        assert fault_of(model, fillings) == (
            "site key_value[0]: 4 heads of 8 were learned, the model has 2 of 8; they belong to a model of another size"
        )

    @pytest.mark.parametrize(
        "filler", [normal(2, 4, SIZE), normal(3, 4, 2, SIZE), "a text", PROMPT, torch.nn.Identity()]
    )
    def test_what_is_none(self, filler, model_of):
        line = fault_of(model_of("llama"), [Filling(f"key_value[{i}]", filler) for i in range(2)])
        assert line == "site key_value[0] takes keys and values of shape (2, length, 2, 8)"

    def test_filled_twice(self, model_of):
        model = model_of("llama")
        fillings = [Filling(f"key_value[{i}]", v) for i, v in enumerate(key_values(model))]
        line = fault_of(model, [*fillings, *fillings])
        assert line == "site key_value[0] is filled twice; join the two along their length"

    def test_layers_of_different_lengths(self, model_of):
        model = model_of("llama")
        line = fault_of(
            model, [Filling("key_value[0]", normal(2, 4, 2, SIZE)), Filling("key_value[1]", normal(2, 3, 2, SIZE))]
        )
        assert line == "keys and values have 4 positions in layer 0 and 3 in layer 1; one number is due"

    @pytest.mark.parametrize("ragged", [False, True])
    def test_a_batch_that_is_no_multiple_of_the_rows(self, ragged, model_of):
        rows = [normal(2, n, 2, SIZE) for n in ((4, 3) if ragged else (4, 4))]
        filler = rows if ragged else torch.stack(rows)
        line = fault_of(model_of("llama"), [Filling(f"key_value[{i}]", filler) for i in range(2)])
        assert line == "2 prompts were attached, one per row, and the batch has 3 rows"

    def test_behind_the_context(self, model_of):
        model = model_of("gpt2")
        fillings = [Filling(f"key_value[{i}]", normal(2, 190, HEADS, SIZE)) for i in range(2)]
        assert "prompt and text take 197 positions, the model has 192" in fault_of(model, fillings)


class TestPrefixes:
    def test_of_another_model(self, model_of):
        prefix = encode_prefix(model_of("gpt2"), torch.ones(1, 4, dtype=torch.long))  # four heads
        line = fault_of(model_of("llama"), [], prefixes=[prefix])
        assert line == (
            "a prefix of 2 layers with 4 heads of 8 does not fit the model's 2 layers with 2 heads of 8; "
            "encode it with this model"
        )

    def test_rows_that_do_not_fit(self, model_of):
        model = model_of("llama")
        prefix = encode_prefix(model, token_ids(model, 2))
        assert (
            fault_of(model, [], prefixes=[prefix]) == "2 prompts were attached, one per row, and the batch has 3 rows"
        )


class TestSites:
    @pytest.mark.parametrize(
        ("site", "line"),
        [
            ("layer[2]", "site 'layer[2]': stack 'text' has 2 layers, 0 to 1"),
            ("vision.layer[0]", "site 'vision.layer[0]': this model has no stack 'vision'; it has text"),
            ("pooled", "site 'pooled' is missing in this model: it has no pooler"),
            ("cross_key_value[0]", "site 'cross_key_value[0]' is missing in this model: it has no cross-attention"),
            ("embedding", "site 'embedding' is not understood; write [STACK.]input, output, pooled, layer[i], "),
        ],
    )
    def test_that_the_model_lacks(self, site, line, model_of):
        assert fault_of(model_of("llama"), [Filling(site, PROMPT)]).startswith(line)

    @pytest.mark.parametrize("site", ["attention[0]", "mlp[1]", "output"])
    def test_that_take_a_module(self, site, model_of):
        line = fault_of(model_of("llama"), [Filling(site, PROMPT)])
        assert line == f"site text.{site} takes a module (hidden, spans, batch), not a Tensor"

    def test_that_take_a_tensor_or_a_module(self, model_of):
        assert fault_of(model_of("llama"), [Filling("layer[0]", "a text")]) == (
            "site text.layer[0] takes a module (hidden, spans, batch), not a str"
        )
        assert fault_of(model_of("llama"), [Filling("last_position[0]", "a text")]) == (
            "site text.last_position[0] takes a state of shape (32,) or a module, not a str"
        )
        assert fault_of(model_of("llama"), [Filling("last_position[0]", normal(16))]) == (
            "site text.last_position[0]: the state is 16 wide, the model's are 32; "
            "it belongs to a model of another size"
        )

    def test_that_an_unknown_architecture_lacks(self):
        model = opt()
        for site in ("attention[0]", "mlp[0]"):
            line = fault_of(model, [Filling(site, Scaled())])
            assert line == f"site {site!r} is missing in this model: no table says where its blocks have it"
        line = fault_of(model, [Filling("key_value[0]", normal(2, 4, HEADS, SIZE))])
        assert line == "site 'key_value[0]' is missing in this model: no table describes its attention"

    @pytest.mark.parametrize("site", ["input", "layer[0]", "key_value[0]", "mlp[0]"])
    def test_of_a_known_architecture_in_a_wrapper(self, site, model_of):
        """A wrapper passes for a Llama by its config, and has nothing where its table says."""

        class Wrapper(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.inside, self.config = model, model.config

            @property
            def base_model(self):
                return self

        with (
            pytest.raises(UsageError, match="is missing in this model: "),
            attach(Wrapper(model_of("llama")), [Filling(site, PROMPT)]),
        ):
            pass


class TestAttentionImplementations:
    @pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3", "flex_attention"])
    def test_of_flash_and_flex_give_way_to_sdpa(self, name, model_of):
        model, plain = model_of("llama"), model_of("llama")
        model.config._attn_implementation_internal = name
        ids = token_ids(model)
        with attach(plain, [Filling("input", PROMPT)]):
            expected = plain(ids).logits
        with left_as_it_was(model), attach(model, [Filling("input", PROMPT)]):
            assert torch.equal(model(ids).logits, expected)
        assert model.config._attn_implementation == name

    def test_that_nobody_knows(self):
        with pytest.raises(UsageError, match=r"'paged\|eager' cannot be watched; load the model with attn_impl"):
            implementation("paged|eager")


def test_something_that_is_no_transformers_model():
    with (
        pytest.raises(UsageError, match="attach takes a transformers model, not a Linear"),
        attach(torch.nn.Linear(2, 2), []),
    ):
        pass
