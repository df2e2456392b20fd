"""LiST: weights of pseudo-labels are the paper's, students begin anew, and only adapters and head are trained."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from whitebox import one_class, run_of, same_in_a_fresh_process, untouched, weights_of

import promptology as pt
from promptology.errors import UsageError
from promptology.injection import attach
from promptology.methods.weights.list import LiST
from promptology.models.local import open_local
from promptology.predict import bind
from promptology.prompts.sites import Weights
from promptology.training import loop
from promptology.training.adapters import Adapters
from promptology.training.cloze import ClozeObjective
from promptology.training.influence import divergence, influence

torch.set_num_threads(1)
SAID = "parcel,slow,invoice,card"
SMALL = {
    **{
        "words": SAID,
        "rank": 2,
        "std": 0.05,
        "rounds": 2,
        "steps": 5,
        "batch": 6,
        "labelled_batch": 4,
        "meta_batch": 4,
    },
    **{"teacher_steps": 3, "labelled_steps": 2, "warmup": 0.4, "rate": 0.01, "teacher_rate": 0.01},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "bert": tiny.tiny_bert(root / "bert"),
        "gpt2": tiny.tiny_gpt2(root / "gpt2"),
        "t5": tiny.tiny_t5(root / "t5"),
    }


@pytest.fixture(params=["bert", "gpt2", "t5"])
def model(request, folders):
    return open_local(folders[request.param])


@pytest.fixture
def bert(folders):
    return open_local(folders["bert"])


def with_texts(train=8, unlabelled=20, seed=0):
    task, spare = one_class(train=train, validation=4, test=8, seed=seed), one_class(train=unlabelled, seed=seed + 50)
    texts = [i.inputs["text"] for i in spare.train] if unlabelled else []
    return pt.Task(task.train, task.validation, task.open_test(), texts, signature=task.signature, name="texts")


def template(model):
    return "{input} it was about {mask}." if model.kind == "masked" else "{input} this is about {mask}"


def fit(model, task=None, seed=0, **settings):
    run = run_of(task or with_texts(), model, seed)
    return LiST(**{"template": template(model), **SMALL, **settings}).fit(run), run


def parts_of(model, std=0.2):
    run = run_of(with_texts(), model)
    goal = ClozeObjective(run, model.frozen(), template(model), SAID)
    theta = Adapters(run, model.frozen(), 2, std=std, relu=False, head=True, name="x")
    return goal, theta, goal.clozes(run.task.unlabeled), torch.softmax(torch.randn(20, 4, generator=_seeded()), dim=1)


def _seeded():
    return torch.Generator().manual_seed(5)


def test_influence_is_the_derivative_of_the_meta_loss_after_a_step(model):
    """Of a true bilevel graph: -d L_meta(theta - eta grad sum_i w_i l_i) / d w_i at w = 0."""
    goal, theta, rows, q = parts_of(model)
    rows, q, eta, labelled = rows[:5], q[:5], 0.1, [0, 1, 2, 5]
    found = influence(goal, theta, rows, q, labelled)
    parameters = theta.parameters
    w = torch.zeros(5, requires_grad=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with attach(goal.body.model, theta.fillings()):
            inner = (w * divergence(goal, rows, q)).sum()
        g = torch.autograd.grad(inner, list(parameters.values()), create_graph=True, allow_unused=True)
        moved = {name: p if d is None else p - eta * d for (name, p), d in zip(parameters.items(), g, strict=True)}
        with attach(goal.body.model, theta.fillings(moved)):
            (u,) = torch.autograd.grad(goal.loss(labelled), w)
    torch.testing.assert_close(found, -u / eta, rtol=1e-4, atol=1e-5)
    assert found.abs().max() > 1e-3


def test_influence_is_the_inner_product_of_gradients(model):
    goal, theta, rows, q = parts_of(model)
    rows, q = rows[:4], q[:4]
    found = influence(goal, theta, rows, q, [0, 3])
    with attach(goal.body.model, theta.fillings()):
        g = torch.autograd.grad(goal.loss([0, 3]), list(theta.parameters.values()), allow_unused=True)
        losses = divergence(goal, rows, q)
        each = []
        for loss in losses:
            own = torch.autograd.grad(loss, list(theta.parameters.values()), retain_graph=True, allow_unused=True)
            each.append(sum((a * b).sum() for a, b in zip(g, own, strict=True) if a is not None and b is not None))
    torch.testing.assert_close(found, torch.stack(each), rtol=1e-4, atol=1e-6)


def test_weights_are_not_negative_sum_to_one_and_treat_equal_texts_alike(bert):
    goal, theta, rows, q = parts_of(bert)
    rows, q = [*rows[:5], rows[2]], torch.cat([q[:5], q[2:3]])
    w = LiST().weigh(goal, theta, rows, q, [0, 1], range(6))
    u = influence(goal, theta, rows, q, [0, 1])
    assert (w >= 0).all()
    assert float(w.sum()) == pytest.approx(1.0)
    torch.testing.assert_close(w[2], w[5])
    torch.testing.assert_close(w, u.clamp(min=0) / u.clamp(min=0).sum())
    # What a student is sure of is not pulled anywhere: every product is 0, and so is every weight.
    with torch.no_grad(), attach(goal.body.model, theta.fillings()):
        own = goal.class_logprobs(rows).exp()
    assert float(LiST().weigh(goal, theta, rows, own, [0, 1], range(6)).sum()) <= 1.0 + 1e-6


def test_no_weight_where_nothing_helps(bert, monkeypatch):
    goal, theta, rows, q = parts_of(bert)
    monkeypatch.setattr("promptology.training.influence.influence", lambda *a: -torch.ones(3))
    assert LiST().weigh(goal, theta, rows[:3], q[:3], [0], range(3)).tolist() == [0.0, 0.0, 0.0]


def test_divergence_by_hand(bert):
    goal, theta, rows, q = parts_of(bert)
    hard = torch.eye(4)
    with torch.no_grad(), attach(bert.frozen().model, theta.fillings()):
        logs = goal.class_logprobs(rows[:4])
        torch.testing.assert_close(divergence(goal, rows[:4], hard), -logs.diagonal())
        torch.testing.assert_close(divergence(goal, rows[:4], logs.exp()), torch.zeros(4), atol=1e-6, rtol=0)
        expected = (q[:4] * (q[:4].log() - logs)).sum(dim=1)
        torch.testing.assert_close(divergence(goal, rows[:4], q[:4]), expected)


def test_it_goes_through_the_papers_phases(bert, monkeypatch):
    """Teacher 0, then rounds of equal weights, meta weights and labelled texts, each from fresh adapters."""
    seen = []
    train = loop.train

    def watched(run, step, batches, groups, **settings):
        start = {name: p.detach().clone() for name, p in groups[0].parameters.items()}
        phases = [batches(k) for k in range(settings["steps"])]
        seen.append((start, [{p for p, _, _ in picks} for picks in phases], [len(p) for p in phases], groups[0].rate))
        return train(run, step, batches, groups, **settings)

    monkeypatch.setattr(loop, "train", watched)
    fit(bert, teacher_rate=0.02)
    phases = [phase for _, phase, _, _ in seen]
    assert phases[0] == [{"labelled"}] * 3
    assert phases[1] == phases[2] == [{"uniform"}] * 2 + [{"weighted"}] * 3 + [{"labelled"}] * 2
    assert [sizes for _, _, sizes, _ in seen] == [[4] * 3, *[[6, 6, 6, 6, 6, 4, 4]] * 2]
    assert [rate for *_, rate in seen] == [0.02, 0.01, 0.01]
    base = dict(bert.frozen().model.named_parameters())
    for start, *_ in seen:
        assert all(torch.equal(p, base[name]) for name, p in start.items() if name in base)
        halves = torch.cat([p.flatten() for name, p in start.items() if name not in base])
        assert float(halves.std()) == pytest.approx(0.05, rel=0.15)
    first = next(name for name in seen[0][0] if name not in base)
    assert not torch.equal(seen[0][0][first], seen[1][0][first])
    assert not torch.equal(seen[1][0][first], seen[2][0][first])


def test_only_adapters_and_head_are_learned_and_the_base_is_bit_identical(model):
    before = weights_of(model)
    learned, run = fit(model)
    assert untouched(model, before)
    names = {name for part in learned.parts if isinstance(part, Weights) for name in part.arrays}
    assert {name for name in names if name in before} == {n for n in before if n.startswith("cls.") and n in names}
    assert sum(name.endswith((".A", ".B")) for name in names) == (16 if model.kind == "seq2seq" else 8)
    bind(learned, model).predict(run.task.test)
    assert untouched(model, before)


def test_no_validation_item_takes_part(bert):
    task = with_texts()
    blind = pt.Task(task.train, [], task.open_test(), task.unlabeled, signature=task.signature, name="texts")
    assert fit(bert, task)[0].same_as(fit(bert, blind)[0])


@pytest.mark.parametrize("settings", [{}, {"weights": "uniform"}, {"rounds": 0}])
def test_the_plan_is_what_it_takes(bert, settings):
    method = LiST(**{**SMALL, **settings})
    result = pt.fit(with_texts(), bert, method, budget="100000passes", cache=False, readout="nearest-label")
    assert result.learning.passes == method.plan(with_texts()).passes


def test_the_defaults_are_the_papers_steps():
    method = LiST()
    assert method._lengths(30) == (375, 375, 600)
    assert method._lengths(10)[0] == 125
    assert (method.rank, method.std, method.relu, method.rounds, method.steps) == (128, 0.0002, False, 6, 1000)
    assert (method.batch, method.labelled_batch, method.meta_batch, method.epochs, method.warmup) == (16, 4, 4, 50, 0.6)


def test_saved_it_predicts_the_same_in_a_fresh_process(folders, bert, tmp_path):
    learned, run = fit(bert)
    texts = [i.inputs["text"] for i in run.task.test]
    same_in_a_fresh_process(learned, bert, folders["bert"], texts, tmp_path / "prompt")


def test_faults(bert):
    with pytest.raises(UsageError, match="texts without labels, and task 'texts' has none: give a split 'unlabeled'"):
        fit(bert, with_texts(unlabelled=0))
    assert fit(bert, with_texts(unlabelled=0), rounds=0)[0].method == "list"
    with pytest.raises(UsageError, match="weights of pseudo-labels are meta or uniform, not 'some'"):
        fit(bert, weights="some")


def test_one_class_among_all_pseudo_labels_is_said_aloud(bert, monkeypatch):
    of = ClozeObjective.class_logprobs
    bias = torch.tensor([0.0, 50.0, 0.0, 0.0])
    monkeypatch.setattr(
        ClozeObjective, "class_logprobs", lambda self, rows: torch.log_softmax(of(self, rows) + bias, dim=1)
    )
    learned, run = fit(bert, rounds=1)
    assert any("calls every unlabelled text 'late'; self-training can only repeat that" in w for w in run.warnings)
    assert np.isfinite(bind(learned, bert).predict(run.task.test).scores).all()


def test_a_class_without_labelled_texts_and_fewer_texts_than_a_batch_are_no_trouble(bert):
    task = with_texts(unlabelled=3)
    few = pt.Task(
        [i for i in task.train if i.target != "late"][:2],
        [],
        task.open_test(),
        task.unlabeled,
        signature=task.signature,
    )
    learned, run = fit(bert, few)
    assert np.isfinite(bind(learned, bert).predict(run.task.test).scores).all()


def test_a_loss_that_is_not_finite_ends_a_round_with_a_line(bert):
    learned, run = fit(bert, rate=1e30, rounds=1)
    assert any("was not finite" in w for w in run.warnings)
    assert all(np.isfinite(a).all() for part in learned.parts for a in part.tensors().values())
