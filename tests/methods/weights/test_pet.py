"""PET: patterns are weighted, their models teach one classifier; iPET's models teach each other."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from whitebox import WORDS, one_class, run_of, same_in_a_fresh_process, untouched, weights_of

import promptology as pt
from promptology.errors import UsageError
from promptology.injection import attach
from promptology.methods.weights.pet import PET
from promptology.models.local import open_local
from promptology.predict import bind
from promptology.prompts.injected import injected_of
from promptology.prompts.sites import Weights
from promptology.training import loop, pseudo
from promptology.training.cloze import ClozeObjective
from promptology.training.objectives import HeadObjective

torch.set_num_threads(1)
SMALL = {
    **{"words": "parcel,slow,invoice,card", "rank": 2, "std": 0.05, "repetitions": 2, "steps": 3, "batch": 4},
    **{"student_steps": 4, "student_batch": 6, "rate": 0.01},
}
TWO = {
    "bert": "{input} it was about {mask}. || {mask} is it: {input}",
    "gpt2": "{input} it is {mask} || {input} so {mask}",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {"bert": tiny.tiny_bert(root / "bert"), "gpt2": tiny.tiny_gpt2(root / "gpt2")}


@pytest.fixture(params=["bert", "gpt2"])
def model(request, folders):
    return open_local(folders[request.param])


@pytest.fixture
def bert(folders):
    return open_local(folders["bert"])


def with_texts(train=8, unlabelled=20, seed=0):
    task, spare = one_class(train=train, validation=4, test=8, seed=seed), one_class(train=unlabelled, seed=seed + 50)
    texts = [i.inputs["text"] for i in spare.train] if unlabelled else []
    return pt.Task(task.train, task.validation, task.open_test(), texts, signature=task.signature, name="texts")


def fit(model, task=None, **settings):
    patterns = TWO["bert" if model.kind == "masked" else "gpt2"]
    run = run_of(task or with_texts(), model)
    return PET(**{"templates": patterns, **SMALL, **settings}).fit(run), run


def entries(run, step):
    return [e["values"] for e in run.history if e["step"] == step]


def test_the_base_stays_bit_identical_and_one_classifier_is_left(model):
    before = weights_of(model)
    for tune in ("adapters", "full"):
        learned, run = fit(model, tune=tune, rate=1e-3)
        assert untouched(model, before)
        assert learned.readout.type == "head"
        assert bind(learned, model).predict(run.task.test).scores.shape == (8, len(WORDS))
        kinds = {part.type for part in learned.parts if isinstance(part, Weights)}
        assert kinds == ({"adapter"} if tune == "adapters" else {"full"})
    assert untouched(model, before)


def test_patterns_weigh_what_they_read_rightly_before_anything_is_tuned(bert):
    run = fit(bert)[1]
    (said,) = entries(run, "patterns")
    body = bert.frozen()
    for n, template in enumerate(TWO["bert"].split(" || ")):
        goal = ClozeObjective(run, body, template, SMALL["words"])
        with torch.no_grad():
            right = (goal.class_logprobs(goal.rows).argmax(dim=1) == goal.gold).float().mean()
        assert said[f"weight_{n + 1}"] == pytest.approx(float(right))
    assert entries(fit(bert, weighting="uniform")[1], "patterns") == [{"weight_1": 1.0, "weight_2": 1.0}]


def test_the_classifier_minimises_the_divergence_from_softened_labels(bert, monkeypatch):
    """T^2 KL(q || softmax(scores / T)), of q = softmax(mean z / T), in the first step of the classifier."""
    seen = {}
    ensembled, train = pseudo.ensembled, loop.train

    def watched_labels(z, weights, temperature=1.0):
        seen.update(z=z, w=weights, T=temperature, q=ensembled(z, weights, temperature))
        return seen["q"]

    def watched(run, step, batches, groups, **how):
        if how["label"] == "classifier":
            with torch.no_grad():
                seen.update(loss=float(step(batches(0))), batch=batches(0))
        return train(run, step, batches, groups, **how)

    monkeypatch.setattr(pseudo, "ensembled", watched_labels)
    monkeypatch.setattr(loop, "train", watched)
    _, run = fit(bert, std=0.0, weighting="uniform")
    mean = seen["z"].mean(axis=0)
    np.testing.assert_allclose(seen["q"], pseudo.softmax(mean.astype(float) / 2.0), atol=1e-6)
    goal = HeadObjective(run_of(with_texts(), bert), bert.frozen())
    texts = [run.task.unlabeled[n] for n in seen["batch"]]
    with torch.no_grad():
        p = torch.softmax(goal.scores(goal.encoded(texts)) / 2.0, dim=1)
    q = torch.tensor(seen["q"][seen["batch"]], dtype=torch.float32)
    assert seen["loss"] == pytest.approx(float(4.0 * (q * (q / p).log()).sum(dim=1).mean()), rel=1e-4)


def test_a_generation_trains_on_what_other_models_say(bert, monkeypatch):
    sizes, said = [], []
    grown = ClozeObjective.grown

    def watched(self, rows, classes):
        found = grown(self, rows, classes)
        sizes.append((len(rows), len(found.rows), len(found.gold)))
        said.append(list(classes))
        return found

    monkeypatch.setattr(ClozeObjective, "grown", watched)
    learned, run = fit(bert, generations=2, growth=2, share=1.0)
    assert [n for n, _, _ in sizes[:4]] == [0] * 4 and len(sizes) == 3 * 4
    # 8 labelled texts, 2 of each class: at most 8 further ones in the first generation, 24 in the second.
    assert all(0 < n <= 8 for n, _, _ in sizes[4:8]) and all(0 < n <= 20 for n, _, _ in sizes[8:])
    assert all(n + 8 == whole == gold for n, whole, gold in sizes)
    assert all(classes.count(c) <= 2 for classes in said[4:8] for c in range(4))
    assert [e["generation"] for e in entries(run, "generation")] == [1] * 4 + [2] * 4
    assert np.isfinite(bind(learned, bert).predict(run.task.test).scores).all()


@pytest.mark.parametrize("settings", [{}, {"generations": 1}, {"weighting": "uniform", "tune": "full"}])
def test_the_plan_is_what_it_takes(bert, settings):
    method = PET(**{"templates": TWO["bert"], **SMALL, **settings})
    result = pt.fit(with_texts(), bert, method, budget="100000passes", cache=False, readout="nearest-label")
    assert result.learning.passes == method.plan(with_texts()).passes


def test_no_validation_item_takes_part_and_a_seed_is_a_result(bert):
    task = with_texts()
    blind = pt.Task(task.train, [], task.open_test(), task.unlabeled, signature=task.signature, name="texts")
    assert fit(bert, task)[0].same_as(fit(bert, blind)[0])


def test_where_the_budget_ends_a_model_of_one_pattern_is_kept(bert):
    method = PET(**{"templates": TWO["bert"], **SMALL})
    result = pt.fit(with_texts(), bert, method, budget="200passes", cache=False, readout="nearest-label")
    assert result.learned.readout.type == "cloze" and result.learned.method == "pet"
    assert result.charged.passes <= 200


def test_saved_it_predicts_the_same_in_a_fresh_process(folders, bert, tmp_path):
    learned, run = fit(bert)
    texts = [i.inputs["text"] for i in run.task.test]
    same_in_a_fresh_process(learned, bert, folders["bert"], texts, tmp_path / "prompt")


def test_the_classifier_is_read_as_it_was_trained(bert):
    learned, run = fit(bert)
    goal = HeadObjective(run_of(with_texts(), bert), bert.frozen())
    rows, arrays = goal.encoded(run.task.test), learned.readout.arrays
    with torch.no_grad(), attach(bert.frozen().model, injected_of(learned).fillings):
        pooled = bert.frozen().pooled(rows).float().numpy()
    expected = pooled @ arrays["weight"].T + arrays["bias"]
    found = bind(learned, bert).predict(run.task.test)
    assert found.outputs == [list(WORDS)[n] for n in expected.argmax(axis=1)]


def test_faults(bert):
    for settings, said in (
        ({"weighting": "some"}, "patterns count by accuracy or uniform, not 'some'"),
        ({"repetitions": 0}, "at least one repetition"),
        ({"share": 0.0}, "share is 0.0"),
        ({"templates": "{input} {mask}", "repetitions": 1, "generations": 1}, "models learn from each other"),
        ({"tune": "head"}, "what is tuned is adapters or full, not 'head'"),
        ({"templates": "{input} it is"}, r"must hold \{mask\} once"),
        ({"templates": "{input} {mask} ||"}, r"cloze template '' must hold \{mask\} once"),
    ):
        with pytest.raises(UsageError, match=said):
            fit(bert, **settings)
    with pytest.raises(UsageError, match="pet learns from texts without labels, and task 'texts' has none"):
        fit(bert, with_texts(unlabelled=0))


def test_one_class_among_all_texts_and_a_class_without_labels_are_no_trouble(bert, monkeypatch):
    of = ClozeObjective.class_logprobs
    bias = torch.tensor([0.0, 50.0, 0.0, 0.0])
    monkeypatch.setattr(
        ClozeObjective, "class_logprobs", lambda self, rows: torch.log_softmax(of(self, rows) + bias, dim=1)
    )
    task = with_texts()
    few = pt.Task(
        [i for i in task.train if i.target != "late"][:3], [], task.open_test(), task.unlabeled,
        signature=task.signature,
    )  # fmt: skip
    learned, run = fit(bert, few, generations=1)
    assert any("calls every unlabelled text 'late'" in w for w in run.warnings)
    assert np.isfinite(bind(learned, bert).predict(run.task.test).scores).all()
