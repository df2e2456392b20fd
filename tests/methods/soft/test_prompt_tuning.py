"""Prompt tuning: where the tokens start, one step by hand, which state is kept."""

from __future__ import annotations

import numpy as np
import pytest
import separable
import torch
from separable import Seen, fit, found_by, part

from promptology.errors import UsageError
from promptology.predict import bind
from promptology.training.initial import COMMON


def start(kind="gpt2", **settings):
    return part(found_by(kind, "prompt-tuning", steps=0, **settings), "input")


def table(kind="gpt2"):
    return separable.model(kind).frozen().embeddings.numpy()


def ids_of(rows, kind="gpt2"):
    """Return the token whose embedding each row is."""
    found = [np.flatnonzero((table(kind) == row).all(axis=1)) for row in rows]
    assert all(len(ids) == 1 for ids in found)
    return [int(ids[0]) for ids in found]


def test_a_start_from_the_vocabulary_draws_common_tokens_that_are_not_special():
    tokenizer = separable.model("llama").frozen().tokenizer
    ids = ids_of(start("llama", length=120), "llama")
    assert len(set(ids)) > 60
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert max(ids) < COMMON


def test_a_start_from_a_text_repeats_it():
    tokenizer = separable.model("gpt2").frozen().tokenizer
    wanted = tokenizer(" good bad", add_special_tokens=False)["input_ids"]
    assert len(wanted) == 2
    assert ids_of(start(init="text", text=" good bad", length=5)) == [*wanted, *wanted, wanted[0]]


def test_a_start_from_classes_averages_the_tokens_of_each_name():
    tokenizer = separable.model("gpt2").frozen().tokenizer
    rows = start(init="classes", length=3)
    for row, name in zip(rows, separable.task().signature.class_names, strict=False):
        ids = tokenizer(name, add_special_tokens=False)["input_ids"]
        np.testing.assert_allclose(row, table()[ids].mean(axis=0), rtol=1e-6, atol=1e-7)
    assert len(ids_of(rows[2:])) == 1


def test_a_random_start_is_uniform_in_half_a_unit():
    rows = start(init="random", length=100)
    assert abs(rows).max() <= 0.5
    assert abs(rows.mean()) < 0.03
    assert rows.std() == pytest.approx(1 / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "zeros"}, "unknown start 'zeros'"),
        ({"length": 0}, "0 virtual tokens"),
        ({"readout": "guess"}, "unknown readout 'guess'"),
        ({"steps": -1}, "steps is -1"),
        ({"length": 190}, "190 learned ones"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        fit("gpt2", "prompt-tuning", **settings)


def test_one_step_is_that_of_adamw_by_hand(monkeypatch):
    seen, rate, decay = Seen(monkeypatch), 0.05, 0.1
    settings = {"steps": 1, "schedule": "constant", "warmup": 0.0, "rate": rate, "decay": decay, "batch": 6}
    after = torch.tensor(part(found_by("gpt2", "prompt-tuning", **settings), "input"))
    body, before = seen.goal.body, seen.start["P"]
    prompt_now = before.clone().requires_grad_(True)
    losses = []
    for i in seen.goal.batches(6)(0):
        prompt, target = seen.goal.rows[i], seen.goal.targets[i]
        ids = torch.tensor([prompt + target])
        embedded = torch.cat([prompt_now[None], body.model.get_input_embeddings()(ids)], dim=1)
        logits = body.model(inputs_embeds=embedded).logits[0]
        begin = len(prompt_now) + len(prompt)
        losses.append(
            torch.nn.functional.cross_entropy(logits[begin - 1 : begin - 1 + len(target)], ids[0, -len(target) :])
        )
    torch.stack(losses).mean().backward()
    gradient = prompt_now.grad / max(1.0, float(prompt_now.grad.norm()))
    lr = rate * body.norm
    wanted = before * (1 - lr * decay) - lr * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(after, wanted, rtol=0, atol=lr * 2e-3)
    assert (after - before).abs().max() > 0.9 * lr


def test_without_steps_the_start_is_what_is_learned_and_learning_costs_nothing():
    result = fit("gpt2", "prompt-tuning", steps=0, checks=5)
    assert result.learning.passes == 0
    assert not any("training" in entry["step"] for entry in result.history)


def test_without_checks_the_last_state_is_kept_and_nothing_is_scored(monkeypatch):
    seen = Seen(monkeypatch)
    result = fit("gpt2", "prompt-tuning", steps=6, checks=0, rate=0.05)
    assert result.learning.passes == 3 * 6 * 8
    assert not any("value" in entry["values"] for entry in result.history)
    last = seen.parameters["P"].detach().numpy()
    np.testing.assert_array_equal(part(found_by("gpt2", "prompt-tuning", steps=6, rate=0.05), "input"), last)


def test_with_checks_the_best_state_is_kept(monkeypatch):
    seen = Seen(monkeypatch)
    states = []
    import promptology.training.objectives as objectives

    scores = iter([0.3, 0.9, 0.5])

    def scored(run, learned, items, metric=""):
        states.append(part(learned, "input"))
        return next(scores)

    monkeypatch.setattr(objectives, "score_of", scored)
    fit("gpt2", "prompt-tuning", steps=6, checks=3, rate=0.05)
    assert len(states) == 3
    np.testing.assert_array_equal(seen.parameters["P"].detach().numpy(), states[1])


def test_a_longer_prompt_begins_as_a_shorter_one():
    np.testing.assert_array_equal(start(length=40)[:16], start(length=16))
    learned = found_by("gpt2", "dept", steps=0, length=16)
    np.testing.assert_array_equal(part(learned, "input"), start(length=16))


def test_a_template_stands_in_place_of_the_words(monkeypatch):
    seen = Seen(monkeypatch)
    learned = found_by("gpt2", "prompt-tuning", steps=2, template="{input} sort", rate=0.05)
    body, items = seen.goal.body, seen.goal.items
    assert seen.goal.rows == [body.encode(f"{i.inputs['text']} sort") for i in items]
    requests = bind(learned, separable.model("gpt2")).requests(items[:1])
    assert [r.messages for r in requests] == [(("user", f"{items[0].inputs['text']} sort"),)] * 2
    assert [r.continuation for r in requests] == [" negative", " positive"]
    assert learned.instruction == ""


def test_a_template_needs_a_place_for_the_item_and_no_head():
    with pytest.raises(UsageError, match=r"lacks \{input\}"):
        fit("gpt2", "prompt-tuning", template="sort")
    with pytest.raises(UsageError, match="leave trie, balance and template out"):
        fit("encoder", "prompt-tuning", template="{input} sort")
