"""Linear probe: against scikit-learn on plain features, equal whatever way leads to the model."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from whitebox import WORDS, many_classes, one_class, run_of

import promptology as pt
from promptology.errors import AccessError, UsageError
from promptology.methods.soft.linear_probe import LinearProbe
from promptology.models.local import open_local
from promptology.predict import bind
from promptology.training.regression import GRID, best_decay, loss_of, regression

torch.set_num_threads(1)


class Embedder:
    """The same vectors, and nothing else."""

    local = True
    simulated = False

    def __init__(self, model):
        self.model, self.name, self.identity = model, "embedder", "embedder"

    def embed(self, texts):
        return self.model.embed(texts)


@pytest.fixture(scope="module", params=["llama", "encoder"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("m") / request.param
    causal = request.param == "llama"
    return open_local(tiny.tiny_llama(folder) if causal else tiny.tiny_bert(folder, head=False))


def fit(task, model, seed=0, **settings):
    return LinearProbe(**settings).fit(run_of(task, model, seed))


def texts_of(items):
    return [i.inputs["text"] for i in items]


@pytest.mark.parametrize("decay", [0.01, 1.0])
def test_it_is_logistic_regression_on_scaled_features(model, decay):
    task = one_class(train=40)
    learned = fit(task, model, decay=decay)
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (decay * 40), tol=1e-8, max_iter=5000))
    pipe.fit(model.embed(texts_of(task.train)).astype(float), [i.target for i in task.train])
    found = bind(learned, model).predict(task.validation)
    wanted = pipe.predict_log_proba(model.embed(texts_of(task.validation)).astype(float))
    columns = [list(pipe.classes_).index(name) for name in task.signature.class_names]
    scores = found.scores - np.logaddexp.reduce(found.scores, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, wanted[:, columns], atol=2e-3)
    assert found.outputs == list(pipe.predict(model.embed(texts_of(task.validation)).astype(float)))


def test_several_classes_are_regressions_of_their_own(model):
    task = many_classes(train=40)
    learned = fit(task, model, decay=0.1)
    x = model.embed(texts_of(task.train)).astype(float)
    scores = bind(learned, model).predict(task.validation).scores
    for c, name in enumerate(task.signature.class_names):
        pipe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (0.1 * 40), tol=1e-8, max_iter=5000))
        pipe.fit(x, [name in i.target for i in task.train])
        wanted = pipe.decision_function(model.embed(texts_of(task.validation)).astype(float))
        np.testing.assert_allclose(scores[:, c], wanted, atol=2e-3)


def test_white_box_or_not_the_probe_is_the_same(model):
    task = one_class()
    first, second = fit(task, model), fit(task, Embedder(model))
    assert first.same_as(second)
    assert first.roles == {"model": "embeds"}
    assert bind(first, Embedder(model)).predict(task.test).outputs == bind(first, model).predict(task.test).outputs


def test_states_are_read_where_asked_for(model):
    learned = fit(one_class(), model, features="state")
    assert learned.roles == {"model": "differentiable"}
    bind(learned, model).predict(one_class().test)
    with pytest.raises(AccessError, match="differentiable"):
        fit(one_class(), Embedder(model), features="state")
    with pytest.raises(UsageError, match="features 'words' are unknown"):
        fit(one_class(), model, features="words")


def test_it_is_the_same_for_every_seed(model):
    assert fit(one_class(), model, seed=0).same_as(fit(one_class(), model, seed=7))


def test_two_classes():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.integers(0, 2, 30)
    found = regression(x, np.eye(2)[y], 0.1, False)
    one = LogisticRegression(C=1 / 3, tol=1e-8).fit(x, y)
    scores = x @ found.weight.T + found.bias
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], one.decision_function(x), atol=1e-3)


def test_classes_without_items_or_without_others():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 3))
    gold = np.eye(4)[rng.integers(0, 3, 12)]
    scores = (lambda f: x @ f.weight.T + f.bias)(regression(x, gold, 0.1, False))
    assert (scores.argmax(axis=1) != 3).all()
    only = regression(x, np.eye(4)[np.full(12, 1)], 0.1, False)
    assert (only.bias.argmax(), np.abs(only.weight).sum()) == (1, 0.0)
    several = regression(x, np.c_[np.ones(12), np.zeros(12), gold[:, 0]], 0.1, True)
    assert several.bias[0] > 3
    assert several.bias[1] < -3


def test_the_decay_is_the_best_on_held_out_parts():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 30))
    noise, clear = rng.integers(0, 3, 60), np.argmax(x[:, :3] * 9, axis=1)
    assert best_decay(x, np.eye(3)[noise], False) == GRID[-1], "nothing to be found: the most decay is best"
    assert best_decay(x, np.eye(3)[clear], False) < GRID[-1]
    assert best_decay(x[:1], np.eye(3)[clear[:1]], False) == GRID[-1]


def test_the_loss_is_the_cross_entropy():
    scores, gold = np.array([[1.0, -1.0, 0.5]]), np.array([[0.0, 0.0, 1.0]])
    assert loss_of(scores, gold, False) == pytest.approx(-np.log(np.exp(0.5) / np.exp(scores).sum()))
    p = 1 / (1 + np.exp(-scores))
    assert loss_of(scores, gold, True) == pytest.approx(-np.log(np.where(gold, p, 1 - p)).sum())


def test_the_plan_is_exact(model):
    for method in (LinearProbe(), LinearProbe(decay=0.1)):
        result = pt.fit(one_class(), model, method, budget="1000passes", cache=False)
        assert result.learning.passes == method.plan(one_class()).passes == 24


def test_one_item_of_a_class(model):
    rows = [(f"late parcel {n}", "late") for n in range(9)] + [("refund please", "refund")]
    task = pt.Task(rows, rows[:4], rows[:4], classes=list(WORDS))
    assert bind(fit(task, model), model).predict(["late order"]).outputs == ["late"]


def test_a_masked_model_and_several_classes(tmp_path):
    model = open_local(tiny.tiny_bert(tmp_path / "bert"))
    assert pt.fit(many_classes(), model, "linear-probe", budget="1000passes").learning.passes == 24


def test_tasks_that_are_no_choice(tmp_path):
    model = open_local(tiny.tiny_llama(tmp_path / "llama"))
    with pytest.raises(UsageError, match="a linear probe tells classes apart"):
        fit(pt.Task([(f"text {n}", f"answer {n}") for n in range(12)]), model)
    with pytest.raises(UsageError, match="no labelled training items"):
        fit(pt.Task([], [("a", "late")], [("b", "late")], classes=list(WORDS)), model)


def test_saved_it_predicts_the_same_in_a_fresh_process(tmp_path):
    folder = tiny.tiny_bert(tmp_path / "bert")
    model, task = open_local(folder), one_class()
    learned = fit(task, model)
    learned.save(tmp_path / "prompt")
    texts = texts_of(task.test)
    code = (
        "import json, sys, promptology as pt\n"
        "found = pt.load(sys.argv[1]).bind(pt.model('hf:' + sys.argv[2])).predict(json.loads(sys.argv[3]))\n"
        "print(json.dumps(found.outputs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "prompt"), str(folder), json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == bind(learned, model).predict(texts).outputs
