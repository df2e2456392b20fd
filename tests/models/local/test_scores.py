"""Log-probabilities: every shared beginning gives what one full forward pass per pair gives."""

from __future__ import annotations

import functools
import random

import pytest
import torch
from tiny import CAUSAL, WORDS, tiny_llama

import promptology as pt
from promptology.errors import UsageError
from promptology.injection import encode_prefix
from promptology.models.access import Request
from promptology.models.local import score_suffixes
from promptology.models.local.scoring import score_all
from promptology.models.local.sharing import Group, shared_beginnings
from promptology.run.handles import unmetered

CHOICES = [" great", " bad", " red green blue", " red green", " red train", "", " no answer at all"]


def words(count, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def plain(body, prompt, choice):
    """One full forward pass: the sum of log p of each token of the choice."""
    target = body.continuation(prompt, choice)
    if not target:
        return 0.0
    ids = body.encode(prompt)
    with torch.no_grad():
        if body.kind == "seq2seq":
            given = {"input_ids": torch.tensor([ids]), "decoder_input_ids": torch.tensor([[*body.start, *target[:-1]]])}
            logits, first = body.model(**given).logits[0], 0
        else:
            logits, first = body.model(torch.tensor([[*ids, *target]])).logits[0], len(ids) - 1
    table = logits.float().log_softmax(-1)
    return sum(float(table[first + n, token]) for n, token in enumerate(target))


@pytest.mark.parametrize("name", [*CAUSAL, "t5"])
def test_scores_equal_one_full_pass_per_pair(opened, name):
    model = opened(name)
    instructions = [words(60, 1), words(45, 2), "short"]
    prompts = [f"{i} {words(n + 3, 10 * k + n)}" for k, i in enumerate(instructions) for n in range(5)]
    choices = [CHOICES[: 1 + n % len(CHOICES)] for n in range(len(prompts))]
    found = model.score(prompts, choices)
    body = model.frozen()
    expected = [[plain(body, p, c) for c in some] for p, some in zip(prompts, choices, strict=True)]
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    assert (
        max(abs(a - b) for row, other in zip(found, expected, strict=True) for a, b in zip(row, other, strict=True))
        < 1e-5 * 20
    )


@pytest.mark.parametrize("name", CAUSAL)
def test_sharing_changes_nothing_and_reads_less(opened, name, monkeypatch):
    model = opened(name)
    body = model.frozen()
    prompts = [body.encode(f"{words(80, k)} {words(6, 10 * k + n)}") for k in range(3) for n in range(6)]
    targets = [[body.continuation("x", c) for c in CHOICES] for _ in prompts]
    inside = model._answering()
    seen = []
    forward = type(body.model.base_model).forward

    @functools.wraps(forward)
    def counting(self, input_ids=None, **given):
        seen.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **given)

    monkeypatch.setattr(body.model.base_model, "forward", counting.__get__(body.model.base_model))
    shared = score_all(body, inside.memory, prompts, targets)
    few, _ = sum(seen), seen.clear()
    whole = score_all(body, inside.memory, prompts, targets, share=False)
    assert sum(seen) > 4 * few
    torch.testing.assert_close(torch.tensor(shared), torch.tensor(whole), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", CAUSAL)
def test_score_suffixes_behind_one_prefix(opened, name):
    body = opened(name).frozen()
    before = body.encode(words(40, 3))
    with torch.no_grad():
        prefix = encode_prefix(body.model, input_ids=torch.tensor([before]))
    rows = [body.reader.ids([" " + words(n + 1, n)], special=False)[0] for n in range(4)]
    targets = [[body.continuation("x", c) for c in CHOICES] for _ in rows]
    found = score_suffixes(body, prefix, rows, targets)
    for row, some, values in zip(rows, targets, found, strict=True):
        whole = body.target_logprobs([[*before, *row]] * len(some), some)
        torch.testing.assert_close(torch.tensor(values), whole, atol=1e-5, rtol=1e-6)
    few = score_suffixes(body, prefix, rows, targets, tokens=16)
    torch.testing.assert_close(torch.tensor(few), torch.tensor(found), atol=1e-5, rtol=1e-6)
    with pytest.raises(UsageError, match="at least one token"):
        score_suffixes(body, prefix, [[]], [[[1]]])


def test_shared_beginnings_are_those_that_save_most():
    common, inner = list(range(100)), list(range(200, 260))
    rows = [[*common, *inner, n] for n in range(5)] + [[*common, 900 + n] for n in range(3)] + [[7, 8, 9]]
    assert shared_beginnings(rows) == [Group((0, 1, 2, 3, 4, 5, 6, 7), 100)]
    deep = [[*common, *inner, n] for n in range(50)] + [[*common, 900], [5, 6]]
    assert shared_beginnings(deep) == [Group(tuple(range(50)), 160)]
    assert shared_beginnings([[1, 2, 3], [1, 2, 4]]) == []
    same = shared_beginnings([common, common, common])
    assert same[0].length == 99, "a row keeps a token of its own"
    assert shared_beginnings([list(range(n)) for n in range(1, 3000)])[0].members


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_masked_models_score_label_words_at_a_mask(opened, name):
    model = opened(name)
    body = model.frozen()
    mask = body.tokenizer.mask_token
    found = model.score(["the movie is", f"the {mask} is great"], [["great", "bad"], ["movie"]])
    ids = body.tokenizer("the movie is")["input_ids"]
    rows = [[*ids[:-1], body.tokenizer.mask_token_id, ids[-1]], body.tokenizer(f"the {mask} is great")["input_ids"]]
    for row, words_, values in zip(rows, (["great", "bad"], ["movie"]), found, strict=True):
        with torch.no_grad():
            table = body.model(torch.tensor([row])).logits[0].log_softmax(-1)
        at = row.index(body.tokenizer.mask_token_id)
        tokens = [body.tokenizer.convert_tokens_to_ids("Ġ" + word) for word in words_]
        assert values == pytest.approx([float(table[at, t]) for t in tokens], abs=1e-5)
    with pytest.raises(UsageError, match=r"label word 'unheard' falls into \d+ tokens \('.*'\)"):
        model.score(["the movie is"], [["great", "unheard"]])
    with pytest.raises(UsageError, match="holds 2 mask tokens"):
        model.score([f"{mask} {mask}"], [["great"]])


def test_a_long_prompt_of_a_masked_model_keeps_its_mask(opened, caplog):
    model = opened("bert")
    long, cut = "red " * 400, model.frozen().tokenizer("red " * 400)["input_ids"][:190]
    body = model.frozen()
    row = [*cut, body.tokenizer.mask_token_id, body.tokenizer.sep_token_id]
    with torch.no_grad():
        table = body.model(torch.tensor([row])).logits[0, 190].log_softmax(-1)
    token = body.tokenizer.convert_tokens_to_ids("Ġgreat")
    assert model.score([long], [["great"]])[0][0] == pytest.approx(float(table[token]), abs=1e-5)
    assert body.truncated


def test_requests_with_a_continuation_go_through_handles(opened):
    for name in ("gpt2", "bert"):
        model = opened(name)
        handle = unmetered(model)
        assert handle.score(["the movie is"], [["great", "bad"]])[0] == pytest.approx(
            model.score(["the movie is"], [["great", "bad"]])[0], abs=1e-5
        )
    long = Request.user("red " * 400, continuation=" great")
    ((_, outcome),) = opened("gpt2").generate([long])
    assert "the model reads 192" in outcome.reason
    with pytest.raises(UsageError, match="the model reads 192"):
        opened("gpt2").score(["red " * 400], [["great"]])


def test_chat_models_score_behind_the_template(tmp_path):
    model = pt.model(f"hf:{tiny_llama(tmp_path / 'chat', chat=True)}")
    body = model.frozen()
    messages = (("user", "is the movie great"),)
    prompt = body.encode(messages)
    target = body.tokenizer("yes", add_special_tokens=False)["input_ids"]
    (value,) = body.target_logprobs([prompt], [target]).tolist()
    assert model.score(["is the movie great"], [["yes"]])[0][0] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bert"])
def test_target_logprobs_carry_gradients_and_mean_is_per_token(opened, name):
    body = opened(name).frozen()
    prompts = [body.encode("the movie is"), body.encode("my parcel")]
    targets = [body.continuation("the movie is", " great"), body.continuation("my parcel", " bad")]
    summed, mean = body.target_logprobs(prompts, targets), body.target_logprobs(prompts, targets, reduce="mean")
    lengths = torch.tensor([len(t) for t in targets])
    torch.testing.assert_close(mean * lengths, summed)
    from promptology.injection import Filling, attach

    prompt = torch.randn(3, body.dimension, requires_grad=True)
    site = "encoder.input" if name == "t5" else "input"
    with attach(body.model, [Filling(site, prompt)]):
        body.target_logprobs(prompts, targets).sum().backward()
    assert prompt.grad is not None and float(prompt.grad.abs().sum()) > 0
    assert all(p.grad is None for p in body.model.parameters())
