"""PTEC: the card's exact invariants, on tiny causal models and encoders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from whitebox import WORDS, many_classes, one_class, run_of, untouched, weights_of

import promptology as pt
from promptology.data.metrics import as_metric
from promptology.errors import UsageError
from promptology.injection import Filling, attach
from promptology.methods.soft.prompt_tuning import PromptTuning
from promptology.methods.soft.ptec import PTEC
from promptology.models.local import open_local
from promptology.models.local.trie import Tries
from promptology.predict import bind
from promptology.prompts.outputs import choices_of
from promptology.prompts.sites import SiteTensors
from promptology.training.initial import virtual_tokens
from promptology.training.losses import positive_weights
from promptology.training.objectives import HeadObjective, TextObjective, class_weights, gold_of
from promptology.training.thresholds import best_thresholds

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "llama": tiny.tiny_llama(root / "llama"),
        "gpt2": tiny.tiny_gpt2(root / "gpt2"),
        "bert": tiny.tiny_bert(root / "bert", head=False),
        "t5": tiny.tiny_t5(root / "t5"),
    }


@pytest.fixture(params=["llama", "bert"])
def model(request, folders):
    return open_local(folders[request.param])


@pytest.fixture
def causal(folders):
    return open_local(folders["llama"])


def fit(task, model, **settings):
    run = run_of(task, model)
    return PTEC(**{"length": 4, "steps": 6, "batch": 8, "select": False} | settings).fit(run), run


def prompt_of(learned):
    return learned.part(SiteTensors).values


def test_defaults_are_the_papers():
    method = PTEC()
    assert (method.batch, method.patience, method.better_by, method.epochs, method.cap) == (32, 2, 0.005, 10, 0.0)


@pytest.mark.parametrize("several", [False, True])
def test_without_virtual_tokens_it_is_a_linear_probe_trained_the_same_way(model, several):
    task = many_classes() if several else one_class()
    steps, batch, rate, decay = 7, 8, 0.01, 0.1
    learned, _ = fit(task, model, length=0, steps=steps, batch=batch, head_rate=rate, decay=decay)
    run = run_of(task, model)
    goal = HeadObjective(run, model.frozen(), bias=False, cue=learned.readout.options["input_template"][7:])
    body, batches = model.frozen(), goal.batches(batch)
    with torch.no_grad():  # each text alone: no padding takes part
        features = torch.cat([body.pooled([row]) for row in goal.rows])
    head = goal.weight.detach().clone().requires_grad_()
    optimizer = torch.optim.AdamW([head], lr=rate, weight_decay=decay)
    gold = gold_of(goal.items, task.signature.class_names)
    weight = torch.tensor(positive_weights(gold.sum(dim=0).int().tolist()))
    for k in range(steps):
        rows = batches(k)
        scores = features[rows] @ head.T
        if several:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, gold[rows], pos_weight=weight)
        else:
            loss = torch.nn.functional.cross_entropy(scores, gold[rows].argmax(dim=1))
        optimizer.param_groups[0]["lr"] = rate * 0.01 ** (k / (steps - 1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([head], 1.0)
        optimizer.step()
    assert learned.part(SiteTensors) is None
    np.testing.assert_allclose(learned.readout.arrays["weight"], head.detach().numpy(), atol=1e-5)


def test_the_model_is_untouched_and_both_parts_move(model):
    before = weights_of(model)
    task = many_classes()
    learned, _ = fit(task, model)
    assert untouched(model, before)
    body = model.frozen()
    run = run_of(task, model)
    start, head = virtual_tokens(run, body, 4, "names"), HeadObjective(run, body, bias=False).weight
    assert np.abs(prompt_of(learned) - start.detach().numpy()).max() > 1e-4
    assert np.abs(learned.readout.arrays["weight"] - head.detach().numpy()).max() > 1e-4
    assert "bias" not in learned.readout.arrays


def test_rates_are_separate(causal):
    run = run_of(many_classes(), causal)
    start, head = (
        virtual_tokens(run, causal.frozen(), 4, "names"),
        HeadObjective(run, causal.frozen(), bias=False).weight,
    )
    frozen, _ = fit(many_classes(), causal, rate=0.0)
    np.testing.assert_array_equal(prompt_of(frozen), start.detach().numpy())
    assert np.abs(frozen.readout.arrays["weight"] - head.detach().numpy()).max() > 1e-4
    still, _ = fit(many_classes(), causal, head_rate=0.0)
    np.testing.assert_array_equal(still.readout.arrays["weight"], head.detach().numpy())
    assert np.abs(prompt_of(still) - start.detach().numpy()).max() > 1e-4
    # AdamW's first step is as long as the rate, here a multiple of the embeddings' mean norm.
    one, _ = fit(many_classes(), causal, steps=1, rate=0.01, decay=0.0)
    moved = np.abs(prompt_of(one) - start.detach().numpy()).max()
    assert moved == pytest.approx(0.01 * causal.frozen().norm, rel=1e-3)


def test_the_order_of_labels_does_not_matter_to_the_last_bit(causal):
    task = many_classes()
    rows = [(i.inputs["text"], list(i.target)) for i in task.train]
    assert sum(len(target) > 1 for _, target in rows) > 10
    turned = [(text, target[::-1]) for text, target in rows]
    first, second = (pt.Task(r, r[:4], r[:4], classes=list(WORDS)) for r in (rows, turned))
    a, b = (fit(task, causal, steps=4)[0] for task in (first, second))
    np.testing.assert_array_equal(prompt_of(a), prompt_of(b))
    np.testing.assert_array_equal(a.readout.arrays["weight"], b.readout.arrays["weight"])
    # A task sorts the classes of an item; the loss does not count on it.
    items = [item.with_target(item.target[::-1]) for item in task.train]
    assert torch.equal(gold_of(items, list(WORDS)), gold_of(task.train, list(WORDS)))
    losses = [HeadObjective(run_of(task, causal), causal.frozen()).loss(range(24)).item() for task in (first, second)]
    assert losses[0] == losses[1]


def test_it_does_matter_to_the_text_of_the_answer(causal):
    run = run_of(many_classes(), causal)
    body = causal.frozen()
    first = TextObjective(run, body, "answer")
    second = TextObjective(run, body, "answer", order=lambda names: list(reversed(first.order(names))))
    rows = [n for n, item in enumerate(first.items) if len(item.target) > 1]
    with torch.no_grad():
        apart = [abs(first.loss([n]).item() - second.loss([n]).item()) for n in rows]
    assert np.mean(apart) > 1e-3


def test_several_classes_are_listed_most_frequent_first(causal):
    goal = TextObjective(run_of(many_classes(), causal), causal.frozen(), "answer")
    counts = {name: sum(name in i.target for i in goal.items) for name in WORDS}
    tokenizer = causal.frozen().tokenizer
    for item, target in zip(goal.items, goal.targets, strict=True):
        said = tokenizer.decode(target[:-1]).strip().split(", ")
        assert sorted(said) == sorted(item.target)
        assert [counts[name] for name in said] == sorted((counts[name] for name in said), reverse=True)
        assert target[-1] == tokenizer.eos_token_id


def test_a_batch_of_different_lengths_scores_as_its_items_alone(model):
    goal = HeadObjective(run_of(many_classes(), model), model.frozen())
    assert len({len(row) for row in goal.rows}) > 3
    tokens = virtual_tokens(goal.run, model.frozen(), 4, "names")
    with torch.no_grad(), attach(model.frozen().model, [Filling(goal.site, tokens)]):
        together = goal.logits(range(len(goal.rows)))
        alone = torch.cat([goal.logits([n]) for n in range(len(goal.rows))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_causal_model_is_read_at_the_last_token_of_text_and_cue(causal):
    body = causal.frozen()
    goal = HeadObjective(run_of(many_classes(), causal), body, cue=" sort this")
    ends = body.tokenizer(" sort this", add_special_tokens=False)["input_ids"]
    assert all(row[-len(ends) :] == ends for row in goal.rows)
    with torch.no_grad():
        states = body.model.base_model(input_ids=torch.tensor([goal.rows[0]])).last_hidden_state[0, -1]
        torch.testing.assert_close(body.pooled(goal.rows[:3])[0], states, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_weighted_cross_entropy_of_the_paper(causal):
    task = many_classes()
    counts = np.array([sum(name in i.target for i in task.train) for name in task.signature.class_names])
    for cap in (0.0, 2.0):
        goal = HeadObjective(run_of(task, causal), causal.frozen(), bias=False, cap=cap)
        weight = counts.max() / counts
        weight = np.minimum(weight, cap) if cap else weight
        assert weight.max() > 2 or cap
        s = goal.logits(range(24)).detach().double().numpy()
        gold = np.array([[name in i.target for name in task.signature.class_names] for i in task.train])
        losses = np.where(gold, weight * np.log1p(np.exp(-s)), np.log1p(np.exp(s)))
        assert goal.loss(range(24)).item() == pytest.approx(losses.mean(), rel=1e-5)


def test_the_start_is_the_class_names_and_then_a_fixed_run(causal):
    run, body = run_of(many_classes(), causal), causal.frozen()
    table = body.embeddings
    ids = body.tokenizer(" ".join(run.task.signature.class_names), add_special_tokens=False)["input_ids"]
    longer = virtual_tokens(run, body, len(ids) + 3, "names").detach()
    run_ids = [(1000 + n) % len(table) for n in range(len(ids) + 3)]
    assert torch.equal(longer, table[[*ids, *run_ids[:3]]])
    shorter = virtual_tokens(run, body, 3, "names").detach()
    assert all((table[ids] == row).all(dim=1).any() for row in shorter)
    assert torch.equal(shorter, virtual_tokens(run_of(many_classes(), causal), body, 3, "names").detach())
    assert torch.equal(virtual_tokens(run, body, 5, "run").detach(), table[run_ids[:5]])


def test_it_learns_selects_and_stops(causal):
    learned, run = fit(
        many_classes(train=48), causal, select=True, steps=60, head_rate=0.05, rate=0.01, patience=2, better_by=0.005
    )
    values = [h["values"]["value"] for h in run.history if "value" in h["values"]]
    kept = [values[0]]
    for value in values[1:]:
        kept.append(value if value > kept[-1] + 0.005 else kept[-1])
    assert len(values) < 10, "patience ended it"
    assert kept[-1] == kept[-2] == kept[-3]
    assert kept[-1] > 0.5
    task = many_classes(train=48)
    items = task.validation
    outputs = bind(learned, causal).predict(items).outputs
    figure = as_metric("macro_f1").aggregate(outputs, [i.target for i in items])["macro_f1"]
    assert figure == pytest.approx(kept[-1])


@pytest.mark.parametrize("select", [True, False])
def test_the_plan_is_what_it_takes(causal, select):
    task = many_classes()
    method = PTEC(length=3, epochs=3, batch=10, select=select, patience=0, thresholds=not select)
    result = pt.fit(task, causal, method, budget="100000passes", cache=False)
    assert result.learning.passes == method.plan(task).passes


def test_micro_batches_change_nothing_but_rounding(causal):
    whole, _ = fit(many_classes(), causal, steps=3)
    parts, _ = fit(many_classes(), causal, steps=3, micro=3)
    np.testing.assert_allclose(prompt_of(whole), prompt_of(parts), atol=1e-4)


def test_thresholds_are_the_best_of_each_class():
    scores = np.array([[0.9, -2.0], [0.2, -1.0], [-0.5, -3.0], [-0.7, -0.5]], np.float32)
    gold = np.array([[1, 0], [1, 1], [1, 0], [0, 1]], np.float32)
    found = best_thresholds(scores, gold)
    np.testing.assert_allclose(found, [-0.6, -1.5], atol=1e-6)
    np.testing.assert_array_equal(best_thresholds(scores, np.zeros_like(gold)), [0, 0])


def test_thresholds_are_saved_and_used(causal):
    plain, _ = fit(many_classes(), causal, select=True, steps=9)
    tuned, run = fit(many_classes(), causal, select=True, steps=9, thresholds=True)
    (said,) = [h["values"] for h in run.history if h["step"] == "thresholds"]
    assert said["macro_f1_without"] <= said["macro_f1_with"]
    np.testing.assert_array_equal(prompt_of(plain), prompt_of(tuned))
    assert "thresholds" not in plain.readout.options
    items = many_classes().validation
    scores = bind(tuned, causal).predict(items)
    limits = np.array([tuned.readout.options["thresholds"][name] for name in many_classes().signature.class_names])
    names = many_classes().signature.class_names
    said = [tuple(name for name, over in zip(names, row > limits, strict=True) if over) for row in scores.scores]
    assert scores.outputs == said


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_other_models(folders, kind):
    learned, _ = fit(one_class(), open_local(folders[kind]), steps=3)
    site = learned.part(SiteTensors).site
    assert site == ("encoder.input" if kind == "t5" else "input")


def test_untrained_text_prompts_say_labels_only_with_the_trie(folders):
    for kind in ("gpt2", "llama", "t5"):
        model = open_local(folders[kind])
        task = many_classes(test=30)
        run, body = run_of(task, model), model.frozen()
        shares = {}
        for trie in (True, False):
            goal = TextObjective(run, body, "answer", trie=trie)
            tokens = virtual_tokens(run, body, 8)
            learned = goal.learned(SiteTensors(goal.site, tokens.detach().numpy()))
            readout = replace(learned.readout, options={**learned.readout.options, "max_tokens": 24})
            found = bind(learned.with_parts(readout), model).predict(task.test)
            said = [raw.strip().split(", ") for raw in found.raw]
            shares[trie] = np.mean([{*some} <= {*WORDS} and len({*some}) == len(some) for some in said])
            if trie:
                assert found.parse_rate == 1.0
                assert all(found.outputs)
        assert shares == {True: 1.0, False: 0.0}


def test_trained_targets_are_what_the_trie_allows(folders):
    for kind in ("gpt2", "llama", "t5"):
        model = open_local(folders[kind])
        body = model.frozen()
        goal = TextObjective(run_of(many_classes(), model), body, "answer", trie=True)
        tries = Tries(body.reader, body.tokenizer.eos_token_id)
        predictor = bind(goal.learned(), model)
        for item, target, request in zip(goal.items, goal.targets, predictor.requests(goal.items), strict=True):
            assert (request.choices, request.separator) == choices_of(goal.signature, goal.readout.options["before"])
            state = tries.trie(request.messages, request.choices, request.separator).begin()
            for token in target:
                assert token in state.allowed()
                state.take(token)
            assert state.over
            answer = body.tokenizer.decode(target[:-1])
            assert predictor._parse(answer, item) == tuple(n for n in goal.signature.class_names if n in item.target)


def test_items_of_rare_classes_count_more_in_text(causal):
    run, body = run_of(many_classes(), causal), causal.frozen()
    weights = class_weights(run.task.train)
    counts = {name: sum(name in i.target for i in run.task.train) for name in WORDS}
    assert weights == {name: pytest.approx(max(counts.values()) / n) for name, n in counts.items()}
    plain, balanced = TextObjective(run, body, "answer"), TextObjective(run, body, "answer", weights=weights)
    with torch.no_grad():
        for n, item in enumerate(plain.items):
            factor = sum(weights[name] for name in item.target)
            assert balanced.loss([n]).item() == pytest.approx(factor * plain.loss([n]).item(), rel=1e-5)
    learned = PromptTuning(steps=2, batch=4, checks=0, balance=True, trie=True).fit(run)
    assert bind(learned, causal).predict(run.task.test).parse_rate == 1.0
    with pytest.raises(
        UsageError, match="a head on the pooled state writes no text: leave trie, balance and template out"
    ):
        PromptTuning(steps=2, balance=True, readout="head").fit(run)


def test_nothing_is_trained_in_no_epochs(causal):
    learned, run = fit(many_classes(), causal, steps=0, epochs=0)
    start = virtual_tokens(run, causal.frozen(), 4, "names")
    np.testing.assert_array_equal(prompt_of(learned), start.detach().numpy())
    assert run.meter.charged.passes == 0


def test_items_without_a_class_may_say_none(causal):
    rows = [(f"text {n}", [] if n % 3 == 0 else list(WORDS)[: 1 + n % 3]) for n in range(12)]
    task = pt.Task(rows, rows[:6], rows[6:], classes=list(WORDS))
    goal = TextObjective(run_of(task, causal), causal.frozen(), "answer", trie=True)
    assert goal.readout.options["none"]
    assert bind(goal.learned(), causal).requests(goal.items)[0].choices[-1] == " none"


def test_a_head_needs_classes(causal):
    task = pt.Task([(f"text {n}", f"answer {n}") for n in range(12)])
    with pytest.raises(UsageError, match="a head tells classes apart"):
        pt.fit(task, causal, "ptec", budget="1000passes")
