"""Generation against transformers' own; a request's answer is its own, whatever stands beside it."""

from __future__ import annotations

import threading

import pytest
import torch
from tiny import CAUSAL, tiny_gpt2, tiny_llama

import promptology as pt
from promptology.errors import ModelError, UsageError
from promptology.models.access import Answer, Failure, Request
from promptology.models.local import decoding

PROMPTS = [
    "the movie is great and the train is fast",
    "my parcel is lost",
    "red",
    "where is my order please help me with the refund for the broken kettle in the kitchen",
    "sort the following text into classes",
]


def answers(model, requests):
    found = dict(model.generate(requests))
    assert sorted(found) == list(range(len(requests)))
    return [found[n] for n in range(len(requests))]


def own(body, prompt, tokens):
    """Generate by transformers, one prompt at a time."""
    ids = torch.tensor([body.encode((("user", prompt),))])
    out = body.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0
    )[0]
    new = out[1:] if body.kind == "seq2seq" else out[ids.shape[1] :]
    return body.tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("name", [*CAUSAL, "t5"])
def test_greedy_equals_transformers(opened, name):
    model = opened(name)
    requests = [Request.user(p, max_tokens=n) for p, n in zip(PROMPTS, (20, 3, 11, 20, 7), strict=True)]
    expected = [own(model.frozen(), r.messages[0][1], r.max_tokens) for r in requests]
    found = answers(model, requests)
    assert [a.text for a in found] == expected
    assert len(set(expected)) > 1
    body = model.frozen()
    assert [a.tokens_in for a in found] == [len(body.encode(r.messages)) for r in requests]
    assert all(a.tokens_out == r.max_tokens for a, r in zip(found, requests, strict=True) if a.truncated)
    assert not any(a.estimated for a in found)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_sampling_depends_on_request_and_seed_alone(opened, name):
    model = opened(name)
    requests = [
        Request.user(p, max_tokens=12, temperature=t, seed=s, sample=s)
        for p in PROMPTS
        for s, t in ((1, 0.7), (2, 1.3))
    ]
    together = [a.text for a in answers(model, requests)]
    alone = [answers(model, [r])[0].text for r in requests]
    backwards = [a.text for a in answers(model, requests[::-1])][::-1]
    assert together == alone == backwards
    assert together[0] != together[1]
    assert answers(model, [Request.user(PROMPTS[0], max_tokens=12, temperature=0.7, seed=9)])[0].text != together[0]


def test_sampling_follows_the_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.0, 0.2]]))

    class Row:
        asked = decoding.Asked(Request.user("x", temperature=1.0), [1], 1)
        generator = torch.Generator().manual_seed(0)

        def draw(self):
            return float(torch.rand((), generator=self.generator, dtype=torch.float64))

        def allowed(self):
            return None

    row = Row()
    counts = torch.bincount(torch.tensor([decoding.chosen(logits, [row])[0] for _ in range(4000)]), minlength=4)
    assert counts[2] == 0
    assert (counts / 4000 - torch.tensor([0.5, 0.3, 0.0, 0.2])).abs().max() < 0.03


def test_stop_marks_end_an_answer_and_are_not_in_it(opened):
    model = opened("gpt2")
    (whole,) = answers(model, [Request.user(PROMPTS[0], max_tokens=24)])
    mark = whole.text[7:10]
    first = whole.text.index(mark)
    (cut,) = answers(model, [Request.user(PROMPTS[0], max_tokens=24, stop=("never said", mark))])
    assert cut.text == whole.text[:first]
    assert not cut.truncated and cut.tokens_out < whole.tokens_out
    assert whole.truncated and whole.tokens_out == 24


def test_the_end_token_ends_an_answer(tmp_path):
    folder = tiny_gpt2(tmp_path / "model")
    model = pt.model(f"hf:{folder}")
    body = model.frozen()
    ids = torch.tensor([body.encode("red")])
    new = body.model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :].tolist()
    at = next(n for n in range(1, 6) if new[n] not in new[:n])
    body.model.generation_config.eos_token_id = [body.tokenizer.eos_token_id, new[at]]
    (ended,) = answers(model, [Request.user("red", max_tokens=6)])
    assert not ended.truncated and ended.tokens_out == at + 1
    assert ended.text == body.tokenizer.decode(new[:at])


def test_answers_come_as_they_finish(opened):
    requests = [Request.user(PROMPTS[0], max_tokens=40), Request.user(PROMPTS[1], max_tokens=2)]
    order = [n for n, _ in opened("gpt2").generate(requests)]
    assert order == [1, 0]


def test_prompts_longer_than_the_context_fail_with_both_figures(opened):
    for name in ("gpt2", "llama", "t5"):
        long, fine = answers(opened(name), [Request.user("red " * 400), Request.user("red", max_tokens=2)])
        assert isinstance(long, Failure) and not long.transient
        assert "192" in long.reason and "tokens" in long.reason and "\n" not in long.reason
        assert isinstance(fine, Answer)
        with pytest.raises(UsageError, match="the model reads 192"):
            opened(name).frozen().encode("red " * 400)


def test_an_answer_ends_at_the_last_position(opened):
    (answer,) = answers(opened("gpt2"), [Request.user(" red" * 185, max_tokens=64)])
    assert answer.tokens_in + answer.tokens_out == 192 and answer.truncated


def test_chat_templates_are_used_and_can_be_left_out(tmp_path):
    folder = tiny_llama(tmp_path / "chat", chat=True)
    chat, plain = pt.model(f"hf:{folder}"), pt.model(f"hf:{folder}", chat=False)
    messages = (("system", "please answer"), ("user", "the movie"))
    body = chat.frozen()
    expected = body.tokenizer.apply_chat_template(
        [{"role": r, "content": c} for r, c in messages], add_generation_prompt=True, tokenize=False
    )
    assert body.encode(messages) == body.tokenizer(expected, add_special_tokens=False)["input_ids"]
    joined = plain.frozen().tokenizer("please answer\n\nthe movie")["input_ids"]
    assert plain.frozen().encode(messages) == joined
    assert body.encode("the movie") == body.tokenizer("the movie")["input_ids"]
    assert chat.identity != plain.identity
    assert answers(chat, [Request(messages, max_tokens=8)])[0].text
    with pytest.raises(UsageError, match="no chat template"):
        pt.model(f"hf:{tiny_gpt2(tmp_path / 'none')}", chat=True).frozen()


def test_a_template_without_a_system_turn_gets_it_in_the_users(tmp_path):
    folder = tiny_llama(tmp_path / "chat", chat=True)
    body = pt.model(f"hf:{folder}").frozen()
    template = body.tokenizer.chat_template
    body.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + template
    )
    assert body.encode((("system", "please"), ("user", "help"))) == body.encode((("user", "please\n\nhelp"),))


def test_threads_get_what_one_gets_alone(opened):
    model = opened("llama")
    requests = [[Request.user(p, max_tokens=10)] for p in PROMPTS]
    expected = [answers(model, r)[0].text for r in requests]
    found = [None] * len(requests)

    def ask(n):
        for _ in range(3):
            found[n] = answers(model, requests[n])[0].text
            model.score(["the movie is"], [[" great", " bad"]])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_out_of_memory_halves_the_batch_and_is_said_once(folders, caplog, monkeypatch):
    model = pt.model(f"hf:{folders('gpt2')}")
    body = model.frozen()
    requests = [Request.user(p, max_tokens=5) for p in PROMPTS * 2]
    expected = [a.text for a in answers(model, requests)]
    states = [model.states(PROMPTS)]
    forward = type(body.model.base_model).forward
    sizes = []

    def small(self, input_ids=None, **given):
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return forward(self, input_ids=input_ids, **given)

    monkeypatch.setattr(body.model.base_model, "forward", small.__get__(body.model.base_model))
    with caplog.at_level("WARNING", logger="promptology"):
        assert [a.text for a in answers(model, requests)] == expected
    assert any("out of memory; batches of at most" in r.getMessage() for r in caplog.records)
    tried = len([n for n in sizes if n > 3])
    answers(model, requests)
    assert len([n for n in sizes if n > 3]) == tried, "the smaller size is remembered"
    torch.testing.assert_close(torch.tensor(model.states(PROMPTS)), torch.tensor(states[0]))


def test_one_input_that_does_not_fit_is_one_line(folders, monkeypatch):
    model = pt.model(f"hf:{folders('gpt2')}")
    base = model.frozen().model.base_model

    def never(self, **given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(base, "forward", never.__get__(base))
    with pytest.raises(ModelError, match="tokens does not fit into memory"):
        answers(model, [Request.user("red", max_tokens=4)])
