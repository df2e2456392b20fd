"""DSP: hints to imitate, rewards by hand, and a whole run with a real policy and a model that profits from hints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hinting import NOUNS, echo, policy, run_of, task
from tiny import tiny_t5
from whitebox import untouched, weights_of

import promptology as pt
from promptology.data.items import Item
from promptology.errors import AccessError, TooManyMissing, UsageError
from promptology.methods.search.dsp import DSP, TRIGGERS
from promptology.prompts.rewriter import Rewriter
from promptology.prompts.sites import Weights
from promptology.testing import check_method
from promptology.testing.fixtures import small_task
from promptology.training.rewarding import keyword_rewards, worths

SMALL = {"imitation_epochs": 2, "imitation_rate": 1e-2, "batch": 4, "iterations": 2, "texts": 4, "epochs": 2,
         "rate": 1e-3, "samples": 1, "max_tokens": 6}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def nouns(text):
    return "; ".join(w for w in text.split() if w in NOUNS) + "."


def history(run, step):
    return [entry["values"] for entry in run.history if entry["step"] == step]


def rewarded(text, references, hit=1.0, miss=0.25):
    body = policy().frozen()
    tokens = body.continuation("", text, end=True)
    found = keyword_rewards(body, tokens, references, hit, miss)
    pieces = [body.tokenizer.decode([tokens[at]]) for at in found]
    assert all(";" in piece for piece in pieces)
    return list(found.values())


def test_what_a_keyword_is_worth():
    reference = "The red lamp and the blue kettle."
    assert rewarded("red lamp; kettle; dog.", [reference]) == [1.0, 1.0]
    assert rewarded("kettle; kettle; Kettle; lamp;", [reference]) == [1.0, -0.25, -0.25, 1.0]  # told before
    assert rewarded("dog; the; ; lamp;", [reference]) == [-0.25, -0.25, -0.25, 1.0]  # no hit, stop word, nothing
    assert rewarded("lam; red; red lamp;", [reference]) == [-0.25, 1.0, 1.0]  # whole phrases
    assert rewarded("dog; lamp;", ["a dog", reference]) == [1.0, 1.0]  # several right texts
    assert rewarded("lamp.", [reference]) == [] and rewarded("", [reference]) == []


def test_hints_to_imitate_are_phrases_of_both_texts():
    run = run_of()
    found = DSP().imitated(run, run.start, run.task.train)
    assert found == {0: "lamp; kettle.", 1: "dog; cat.", 2: "bus; city.", 3: "water; stone."}
    odd = task()
    rows = [Item("new", {"text": "red lamp"}, "nothing of it"), *odd.train]
    odd = pt.Task(rows, [], [], signature=odd.signature, metric="token_f1")
    run = run_of(odd)
    assert sorted(DSP().imitated(run, run.start, odd.train)) == [1, 2, 3, 4]
    assert history(run, "hints to imitate") == [{"items": 4, "left_out": 1}]


def test_hints_that_items_bring_come_first():
    run = run_of(task(hint="[taxi] [request] phone"))
    assert set(DSP().imitated(run, run.start, run.task.train).values()) == {"[taxi] [request] phone"}


def test_trigger_sentences_are_those_with_which_the_model_is_right():
    whole = small_task()
    right = {i.inputs["text"]: i.target for i in whole.train[:3]}

    def model(prompt):
        hit = next((label for text, label in right.items() if text in prompt), "")
        return hit if TRIGGERS[1] in prompt else "no idea"

    run = run_of(whole, model)
    method = DSP(max_tokens=20)
    start = run.start.with_parts(method.rewriter(run))
    start = replace(start, roles={**start.roles, "policy": "trainable"})
    assert method.imitated(run, start, whole.train) == dict.fromkeys(range(3), TRIGGERS[1])
    assert run.meter.charged.calls == len(TRIGGERS) * len(whole.train)
    with pytest.raises(UsageError, match="gives no hint to imitate"):
        method.imitated(run_of(whole, lambda prompt: "no idea"), start, whole.train)


def test_rewards_are_the_mean_of_the_answers_that_came():
    method, run = DSP(max_tokens=20), run_of()
    start = replace(run.start.with_parts(method.rewriter(run)), roles={"model": "generates", "policy": "trainable"})
    items = run.task.train
    assert worths(run, start, items[:2], ["lamp kettle", "cat"]) == [1.0, pytest.approx(2 / 3)]
    # Without a hint the model keeps the first two words, one of which is right.
    assert worths(run, start, items[:2], ["", ""]) == [0.5, 0.5]
    # The same input twice, with two hints.
    assert worths(run, start, [items[1]] * 2, ["dog cat", "garden"], samples=3, temperature=0.7)[0] == 1.0


def test_the_defaults_are_the_authors():
    method = DSP()
    course = method.course()
    assert (course.gamma, course.decay, course.clip, course.value, course.norm) == (0.99, 0.95, 0.2, 0.5, 0.5)
    assert (course.weight_decay, course.rate, course.batch, course.epochs, course.critic) == (1e-6, 2e-6, 8, 5, "copy")
    assert (course.mask.p, course.mask.least, course.refresh, course.top_k) == (0.9, 100, 20, 100)
    assert (method.beta, method.target, method.reward, method.hit, method.miss) == (0.005, 0.5, 10.0, 1.0, 0.2)
    assert (method.samples, method.temperature, method.imitation_rate, method.max_tokens) == (4, 0.7, 2e-5, 80)


def test_c_the_baseline_and_keywords_make_the_reward():
    for baseline, ends in ((False, [10.0, 20 / 3]), (True, [5.0, 20 / 3 - 5.0])):
        method, run = DSP(max_tokens=20, samples=1, baseline=baseline), run_of()
        start = replace(run.start.with_parts(method.rewriter(run)), roles={"model": "generates", "policy": "trainable"})
        body = policy().frozen()
        texts = ["lamp; kettle;", "dog; bus;"]
        tokens = [body.continuation("", text, end=True) for text in texts]
        found = method.rewards(run, start, run.task.train, body)([0, 2], texts, tokens)
        assert [worth.end for worth in found] == pytest.approx(ends)
        assert [list(worth.along.values()) for worth in found] == [[1.0, 1.0], [-0.2, 1.0]]
        assert run.meter.charged.calls == 2 * (1 + baseline)


def test_a_missing_answer_leaves_its_hint_out():
    def model(prompt):
        if "late bus" in prompt and "<hint>" in prompt:
            raise RuntimeError("away")
        return echo(prompt)

    run = run_of(model=model)
    run.meter.limits = replace(run.meter.limits, missing=0.5)
    DSP(**SMALL).fit(run)
    assert [entry["left_out"] for entry in history(run, "rollout")] == [1, 1]

    def never(prompt):
        raise RuntimeError("away")

    with pytest.raises(TooManyMissing):
        DSP(**SMALL).fit(run_of(model=never))


def test_a_metric_that_gives_no_number_is_one_line():
    one = task()
    never = pt.Task(one.train, one.validation, one.open_test(), signature=one.signature, metric=lambda p, t: np.nan)
    with pytest.raises(UsageError, match="returned nan, which is not a finite number"):
        DSP(**SMALL).fit(run_of(never))


def test_a_run_learns_to_hint_and_leaves_both_models_as_they_were(tmp_path):
    before = weights_of(policy())
    many = task(train=6, validation=0)
    run = run_of(pt.Task(many.train, signature=many.signature, metric="token_f1"))
    settings = {**SMALL, "imitation_epochs": 150, "imitation_rate": 1e-2, "iterations": 1, "rate": 1e-4}
    learned = DSP(**settings).fit(run)
    assert untouched(policy(), before)
    found = learned.bind(echo, {"policy": policy()}).predict([i for i in many.train])
    right = [predicted == item.target for predicted, item in zip(found.outputs, many.train, strict=True)]
    assert np.mean(right) >= 0.5
    losses = [entry["loss"] for entry in history(run, "imitation")]
    assert losses[-1] < 0.5 * losses[0]
    loaded = pt.load(learned.save(tmp_path / "prompt"))
    assert loaded.bind(echo, {"policy": policy()}).predict(list(many.train)).outputs == found.outputs
    assert loaded.part(Rewriter).of == policy().name and loaded.part(Weights).role == "policy"


@pytest.mark.parametrize("kind", ["t5", "gpt2", "llama"])
def test_any_policy_that_writes_will_do(kind):
    run = run_of(helper=policy(kind))
    learned = DSP(**{**SMALL, "max_tokens": 4, "iterations": 1}).fit(run)
    assert not any(learned.bind(echo, {"policy": policy(kind)}).predict(list(run.task.train)).missing)


def test_another_architecture_from_a_fresh_folder(tmp_path):
    import transformers
    from tiny import save, tiny_tokenizer

    tokenizer = tiny_tokenizer("roberta")
    config = transformers.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id, forced_bos_token_id=tokenizer.bos_token_id, dropout=0.0,
    )  # fmt: skip
    bart = pt.model(f"hf:{save(transformers.BartForConditionalGeneration(config), tokenizer, tmp_path / 'bart')}")
    run = run_of(helper=bart)
    learned = DSP(**{**SMALL, "imitation_epochs": 40}).fit(run)
    assert history(run, "rollout")[0]["kl"] == pytest.approx(0, abs=1e-6)
    hints = learned.bind(echo, {"policy": bart})
    assert hints.predict(list(run.task.train)).outputs and any(hints.writer.hint(i) for i in run.task.train)


def test_imitation_alone_and_reinforcement_alone():
    run = run_of()
    DSP(**{**SMALL, "iterations": 0}).fit(run)
    assert not history(run, "rollout") and run.meter.charged.calls == 0
    run = run_of()
    DSP(**{**SMALL, "imitation_epochs": 0}).fit(run)
    assert not history(run, "imitation") and len(history(run, "rollout")) == 2


def test_where_the_budget_ends_in_reinforcement_what_was_imitated_is_kept():
    from promptology.run.engine import learn

    run = run_of(budget="3calls")
    learned = learn(DSP(**SMALL), run)
    assert learned.part(Weights) is not None and run.meter.charged.calls == 0


def test_checks_keep_the_best_state():
    run = run_of()
    DSP(**{**SMALL, "checks": 2}).fit(run)
    assert len([e for e in history(run, "reinforcement") if "value" in e]) == 2


def test_a_plan_is_what_it_costs():
    for settings in (SMALL, {**SMALL, "critic": "head", "nucleus": 1.0, "samples": 2, "temperature": 0.7}):
        method, run = DSP(**settings), run_of()
        said = method.plan(run.task)
        method.fit(run)
        assert said.passes == run.meter.charged.passes and said.calls >= run.meter.charged.calls


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"most_megabytes": 0}, "0.2 MB of weights of .* would be saved"),
        ({"critic": "none"}, "critic is copy or head"),
        ({"ask": "Keywords"}, "reads lacks {input}"),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings, said):
    with pytest.raises(Exception, match=said):
        DSP(**{**SMALL, **settings}).fit(run_of())


def test_hints_that_the_tokenizer_cannot_write_are_said(tmp_path):
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "</s>", "<unk>", "lamp", ".", *["red", "and", "blue", "in", "the", "kitchen"]]
    plain = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, "<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tiny_t5(tmp_path))
    model.resize_token_embeddings(len(words))
    run = run_of(helper=pt.model(model, tokenizer))
    DSP(**{**SMALL, "iterations": 0}).fit(run)
    assert "4 of 4 hints do not come back from" in run.warnings[0] and "lamp; kettle." in run.warnings[0]


@pytest.mark.parametrize("kind", ["bert", "encoder"])
def test_a_policy_that_cannot_write_is_one_line(kind):
    with pytest.raises(UsageError, match="is no model that writes"):
        DSP(**SMALL).fit(run_of(helper=policy(kind)))


def test_what_the_roles_need_is_one_line():
    with pytest.raises(AccessError, match="needs a model that is trainable as 'policy'"):
        pt.fit(task(), "simulated:tickets", "dsp", budget="10calls")


def test_it_keeps_what_every_method_promises(tmp_path):
    models = {"policy": pt.model(f"hf:{tiny_t5(tmp_path)}", device="cpu")}
    small = {**SMALL, "imitation_epochs": 1, "epochs": 1, "max_tokens": 3, "temperature": 0.7}
    check_method("dsp", settings=small, models=models, budget="120calls")
