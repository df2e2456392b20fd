"""Prefix tuning: what is saved equals the live network; the prefix of a text equals the text."""

from __future__ import annotations

import numpy as np
import pytest
import separable
import torch
from separable import Seen, fit, found_by, part

from promptology.errors import UsageError
from promptology.injection import attach
from promptology.prompts.injected import injected_of


@pytest.mark.parametrize("kind", separable.KINDS)
def test_what_is_saved_gives_what_the_live_network_gives(kind, monkeypatch):
    seen = Seen(monkeypatch)
    learned = found_by(kind, "prefix-tuning", steps=3, rate=0.01)
    goal = seen.goal
    batch = [0, 1, 2, 3]
    with torch.no_grad():
        with attach(goal.body.model, seen.fillings()):
            live = float(goal.loss(batch))
        with attach(goal.body.model, injected_of(learned).fillings):
            baked = float(goal.loss(batch))
        bare = float(goal.loss(batch))
    assert live == baked != bare
    assert len(seen.fillings()) == 2 * len(goal.body.sites.stacks if kind == "t5" else [0])


def test_grouped_queries_share_keys_and_values():
    learned = found_by("llama", "prefix-tuning", steps=1)
    assert part(learned, "key_value[1]").shape == (2, 4, 2, 8)
    assert part(found_by("gpt2", "prefix-tuning", steps=1), "key_value[1]").shape == (2, 4, 4, 8)


def test_an_encoder_decoder_gets_a_prefix_in_both_stacks():
    sites = [p.site for p in found_by("t5", "prefix-tuning", steps=2).parts if hasattr(p, "site")]
    assert sites == [f"{stack}.key_value[{i}]" for stack in ("encoder", "decoder") for i in range(2)]
    head = found_by("t5", "prefix-tuning", steps=2, readout="head")
    assert [p.site for p in head.parts if hasattr(p, "site")] == ["encoder.key_value[0]", "encoder.key_value[1]"]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("mlp", [0, 16])
def test_the_prefix_of_a_text_is_the_text(kind, mlp):
    body = separable.model(kind).frozen()
    text = " good bad kettle lamp"
    shown = body.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(shown) == 4
    learned = found_by(kind, "prefix-tuning", steps=0, mlp=mlp, init="text", text=text)
    row = body.tokenizer(" the river was fine", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        wanted = body.hidden([shown + row]).states[:, 4:]
        with attach(body.model, injected_of(learned).fillings):
            found = body.hidden([row]).states
        bare = body.hidden([row]).states
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert (bare - wanted).abs().max() > 0.01


def test_the_network_moves_and_the_activations_do_not(monkeypatch):
    seen = Seen(monkeypatch)
    found_by("gpt2", "prefix-tuning", steps=3, mlp=16)
    moved = {n: not torch.equal(p, seen.start[n]) for n, p in seen.parameters.items()}
    # The last layer is zero at the first step, so what comes before it moves from the second on.
    assert all(moved.values())
    assert {n.partition(".")[2] for n in moved} == {
        "rows",
        *(f"mlp.{i}.{w}" for i in (0, 2) for w in ("weight", "bias")),
    }


def test_a_random_start_needs_no_words_of_the_task():
    one = part(found_by("gpt2", "prefix-tuning", steps=0, init="random", mlp=16), "key_value[0]")
    two = part(found_by("gpt2", "prefix-tuning", steps=0, init="random", mlp=16, text=" good"), "key_value[0]")
    np.testing.assert_array_equal(one, two)
    assert one.std() > 0
    plain = part(found_by("gpt2", "prefix-tuning", steps=0, init="random", mlp=0), "key_value[0]")
    assert plain.std() > 0
    with pytest.raises(UsageError, match="unknown start 'classes'"):
        fit("gpt2", "prefix-tuning", init="classes")


def test_the_start_from_activations_is_charged():
    assert fit("gpt2", "prefix-tuning", steps=0).learning.passes == 1
    assert fit("t5", "prefix-tuning", steps=0).learning.passes == 2
