"""Cloze tuning: what is read at the gap is what is trained there, and adapters are what their formula says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny
import torch
import transformers
from whitebox import WORDS, many_classes, one_class, run_of, same_in_a_fresh_process, untouched, weights_of

import promptology as pt
from promptology.errors import ArtifactError, UsageError
from promptology.injection import attach
from promptology.methods.weights.cloze_tuning import ClozeTuning
from promptology.models.local import open_local
from promptology.predict import bind
from promptology.prompts.injected import injected_of
from promptology.prompts.sites import Weights
from promptology.training.adapters import Adapters
from promptology.training.cloze import ClozeObjective
from promptology.training.layers import block_outputs, head_weights

torch.set_num_threads(1)
SAID = "parcel,slow,invoice,card"
SHORT = {"steps": 4, "batch": 8, "checks": 0, "rank": 2, "words": SAID, "rate": 0.01}


def tiny_bart(folder):
    tokenizer = tiny.tiny_tokenizer("roberta")
    config = transformers.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id, forced_bos_token_id=tokenizer.bos_token_id, dropout=0.0,
    )  # fmt: skip
    return tiny.save(transformers.BartForConditionalGeneration(config), tokenizer, folder)


MAKE = {
    "bert": tiny.tiny_bert,
    "roberta": tiny.tiny_roberta,
    "gpt2": tiny.tiny_gpt2,
    "llama": tiny.tiny_llama,
    "t5": tiny.tiny_t5,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: make(root / name) for name, make in MAKE.items()}


@pytest.fixture(params=list(MAKE))
def model(request, folders):
    return open_local(folders[request.param])


@pytest.fixture
def bert(folders):
    return open_local(folders["bert"])


def template(model):
    return "{input} it was about {mask}." if model.kind == "masked" else "{input} this is about {mask}"


def fit(model, task=None, **settings):
    task = task or one_class()
    return ClozeTuning(**{"template": template(model), **SHORT, **settings}).fit(run_of(task, model))


def test_what_is_trained_is_what_is_read(model):
    """The objective's probabilities and the readout's, with and without what was learned."""
    task = one_class()
    for learned in (fit(model, tune="none"), fit(model), fit(model, tune="full", rate=1e-3)):
        goal = ClozeObjective(run_of(task, model), model.frozen(), template(model), SAID)
        inside = injected_of(learned)
        with torch.no_grad(), attach(model.frozen().model, inside.fillings if inside else ()):
            expected = goal.class_logprobs(goal.clozes(task.test)).numpy()
        found = bind(learned, model).predict(task.test)
        np.testing.assert_allclose(found.scores, expected, atol=2e-5)
        assert found.outputs == [list(WORDS)[n] for n in expected.argmax(axis=1)]


def test_probabilities_are_a_softmax_of_the_models_own_logits(bert):
    body = bert.frozen()
    goal = ClozeObjective(run_of(one_class(), bert), body, template(bert), SAID)
    text = f"{one_class().train[0].inputs['text']} it was about [MASK]."
    ids = body.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = body.model(ids).logits[0, ids[0].tolist().index(body.tokenizer.mask_token_id)]
    said = [body.reader.label(word) for word in SAID.split(",")]
    with torch.no_grad():
        found = goal.class_logprobs(goal.rows[:1])[0]
    torch.testing.assert_close(found, torch.log_softmax(logits[said], dim=0), atol=1e-5, rtol=1e-5)


def test_adapters_stand_at_the_end_of_attention_and_feed_forward(folders):
    ends = {
        "bert": ("attention.output.dense", "output.dense"),
        "roberta": ("attention.output.dense", "output.dense"),
        "gpt2": ("attn.c_proj", "mlp.c_proj"),
        "llama": ("self_attn.o_proj", "mlp.down_proj"),
    }
    for name in ends:
        paths = [layer.path for layer in block_outputs(open_local(folders[name]).frozen().model)]
        assert len(paths) == 4
        assert all(path.endswith(ends[name][n % 2]) for n, path in enumerate(paths))
    heads = {name: len(head_weights(open_local(folder).frozen().model)) for name, folder in folders.items()}
    assert heads == {"bert": 5, "roberta": 5, "gpt2": 0, "llama": 0, "t5": 0}


def adapters(model, std=0.02, relu=False):
    return Adapters(run_of(one_class(), model), model.frozen(), 2, std=std, relu=relu, head=True, name="x")


def test_the_number_of_parameters_is_the_closed_form(bert):
    made = adapters(bert)
    d, layers = 32, 2
    head = sum(p.numel() for p in head_weights(bert.frozen().model).values())
    assert sum(p.numel() for p in made.parameters.values()) == layers * 2 * 2 * d * 2 + head


def test_without_its_second_half_the_adapted_model_is_the_base_bit_for_bit(model):
    made = adapters(model)
    body = model.frozen()
    rows = body.reader.ids(["my parcel is late", "a card"])
    with torch.no_grad():
        before = body.hidden(rows).states
        for m in made.modules.values():
            m.B.zero_()
        with attach(body.model, made.fillings()):
            assert torch.equal(body.hidden(rows).states, before)
            made.modules[next(iter(made.modules))].B.fill_(0.1)
            assert not torch.equal(body.hidden(rows).states, before)


def test_linear_adapters_merge_into_their_layers(model):
    """W <- (I + B A) W, b <- (I + B A) b."""
    made, body = adapters(model, std=0.2), model.frozen()
    rows = body.reader.ids(["my parcel is late", "a card"])
    merged = copy.deepcopy(body.model)
    with torch.no_grad():
        for path, m in made.modules.items():
            layer = merged.get_submodule(path)
            change = torch.eye(m.B.shape[0]) + m.B @ m.A
            transposed = type(layer).__name__ == "Conv1D"
            layer.weight.copy_(layer.weight @ change.T if transposed else change @ layer.weight)
            if getattr(layer, "bias", None) is not None:
                layer.bias.copy_(change @ layer.bias)
        other = pt.model(merged, body.tokenizer).frozen()
        with attach(body.model, made.fillings()):
            ours = body.logits(body.hidden(rows).states)
        plain = body.logits(body.hidden(rows).states)
        theirs = other.logits(other.hidden(rows).states)
    assert (ours - plain).abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_relu_makes_another_model(bert):
    with torch.no_grad():
        made, body = adapters(bert, std=0.5, relu=True), bert.frozen()
        rows = body.reader.ids(["my parcel is late"])
        with attach(body.model, made.fillings()):
            ours = body.hidden(rows).states
        with attach(body.model, adapters(bert, std=0.5).fillings()):
            assert not torch.allclose(ours, body.hidden(rows).states)


def test_the_base_stays_bit_identical(model):
    before = weights_of(model)
    for tune in ("adapters", "full"):
        learned = fit(model, tune=tune)
        bind(learned, model).predict(one_class().test)
        assert untouched(model, before)


def test_a_step_is_adamw_on_the_cross_entropy_over_the_words(bert):
    """Against a copy of the whole model with plain modules behind its layers."""
    task = one_class(train=8, validation=0)
    learned = fit(bert, task, steps=1, decay=0.1, schedule="constant", warmup=0.0, std=0.1)
    run = run_of(task, bert)
    start = Adapters(run, bert.frozen(), 2, std=0.1, relu=False, head=True, name="cloze")
    goal = ClozeObjective(run, bert.frozen(), template(bert), SAID)
    with attach(bert.frozen().model, start.fillings()):
        goal.loss(goal.batches(8)(0)).backward()
    parameters = start.parameters
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    clear = {name: p.grad.abs() > 1e-5 for name, p in parameters.items()}
    torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1).step()
    found = {name: array for part in learned.parts if isinstance(part, Weights) for name, array in part.arrays.items()}
    assert found.keys() == parameters.keys()
    assert sum(int(c.sum()) for c in clear.values()) > 300
    for name, p in parameters.items():
        apart = np.abs(found[name] - p.detach().numpy())
        assert apart[clear[name].numpy()].max(initial=0.0) < 1e-5


def test_an_architecture_without_a_table_is_tuned_whole_and_adapters_are_one_line(tmp_path):
    model, task = open_local(tiny_bart(tmp_path / "bart")), one_class()
    before = weights_of(model)
    learned = fit(model, task, tune="full", rate=1e-3)
    found = bind(learned, model).predict(task.test)
    goal = ClozeObjective(run_of(task, model), model.frozen(), template(model), SAID)
    with torch.no_grad(), attach(model.frozen().model, injected_of(learned).fillings):
        expected = goal.class_logprobs(goal.clozes(task.test)).numpy()
    np.testing.assert_allclose(found.scores, expected, atol=2e-5)
    assert untouched(model, before)
    with pytest.raises(UsageError, match="no table says which layers end the blocks of 'bart' models"):
        fit(model, task)


def test_it_learns(bert):
    task = one_class(train=64, validation=24, test=24)
    learned = fit(bert, task, tune="full", steps=100, checks=4, rate=0.003)
    outputs = bind(learned, bert).predict(task.open_test()).outputs
    assert np.mean([o == i.target for o, i in zip(outputs, task.open_test(), strict=True)]) > 0.8


def test_the_plan_is_what_it_takes(bert):
    method = ClozeTuning(**{**SHORT, "steps": 7, "checks": 3, "words": "parcel|order,slow,invoice,card"})
    result = pt.fit(one_class(), bert, method, budget="100000passes", cache=False, readout="nearest-label")
    assert result.learning.passes == method.plan(one_class()).passes
    assert ClozeTuning(tune="none").plan(one_class()).passes == 0


def test_saved_it_predicts_the_same_in_a_fresh_process(folders, tmp_path, bert):
    learned, texts = (
        fit(bert, words="parcel|order,slow,invoice,card", aggregate="words"),
        ["a parcel", "my card is lost"],
    )
    same_in_a_fresh_process(learned, bert, folders["bert"], texts, tmp_path / "prompt")


def test_texts_beyond_the_context_keep_template_and_mask(bert):
    task = one_class()
    learned = fit(bert, tune="none")
    long = " ".join(["parcel"] * 500)
    goal = ClozeObjective(run_of(task, bert), bert.frozen(), template(bert), SAID)
    (row,) = goal.clozes([pt.Item("x", {"text": long})])
    assert len(row) <= bert.frozen().max_tokens
    assert "it was about [MASK]." in bert.frozen().tokenizer.decode(row)
    assert bind(learned, bert).predict([long]).outputs[0] in WORDS


def test_a_template_longer_than_the_context_is_one_line(model):
    long = "{input} " + "it was " * 400 + "about {mask}"
    with pytest.raises(UsageError, match=r"reads 192 tokens, and the cloze template alone has 80.: no text fits"):
        fit(model, template=long, tune="none")


def test_faults(bert, folders, tmp_path):
    llama = open_local(folders["llama"])
    with pytest.raises(UsageError, match="the output of this task is classes"):
        fit(bert, many_classes())
    with pytest.raises(UsageError, match="the label word 'late parcel' falls into 2 tokens"):
        fit(bert, words="")
    with pytest.raises(UsageError, match="label word 'late parcel' falls into 2 tokens"):
        fit(llama, words="")
    with pytest.raises(
        UsageError, match=r"llama is causal: \{mask\} must be the end of a template, not before ' it is: "
    ):
        fit(llama, template="{mask} it is: {input}")
    with pytest.raises(UsageError, match="tunes adapters, full, none, not 'head'"):
        fit(bert, tune="head")
    with pytest.raises(UsageError, match="adapters of rank -1 cannot be"):
        fit(bert, rank=-1)
    with pytest.raises(UsageError, match="nothing to train: give adapters a rank above 0"):
        fit(llama, rank=0)
    encoder = open_local(tiny.tiny_bert(tmp_path / "encoder", head=False))
    with pytest.raises(UsageError, match="a cloze is for language models, and this one is of kind encoder"):
        ClozeTuning(**SHORT).fit(run_of(one_class(), encoder))
    with pytest.raises(UsageError, match=r"t5 is seq2seq: \{mask\} must be the end of a template"):
        fit(open_local(folders["t5"]), template="{mask} it is: {input}")
    shapes = {"x.A": np.zeros((2, 4), "f"), "x.B": np.zeros((8, 2), "f")}
    with pytest.raises(ArtifactError, match="adapter at x has A of 2 x 4 and B of 8 x 2; it needs rank x out"):
        Weights("adapter", {}, shapes)
    with pytest.raises(ArtifactError, match="adapter at x holds A; it must hold A and B"):
        Weights("adapter", {}, {"x.A": shapes["x.A"]})
    other = open_local(tiny.tiny_bert(tmp_path / "wide", hidden_size=48))
    with pytest.raises(UsageError, match="belongs to a model of another size"):
        bind(fit(bert), other).predict(["a parcel"])
