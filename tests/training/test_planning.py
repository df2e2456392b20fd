"""What a training will cost, and when its state is scored."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import separable

from promptology.methods.registry import create, planned
from promptology.run.cost import Cost
from promptology.training.planning import course_cost, every


def course(steps, checks, batch=4):
    return SimpleNamespace(steps=steps, checks=checks, batch=batch, schedule="linear", warmup=0.0)


@pytest.mark.parametrize(("steps", "checks"), [(300, 10), (25, 10), (7, 3), (3, 10), (1, 1), (100, 0), (0, 4)])
def test_it_is_scored_at_most_as_often_as_asked_and_at_the_end(steps, checks):
    between = every(course(steps, checks))
    if not checks:
        assert between == 0
        return
    assert between >= 1
    assert -(-steps // between) <= checks
    assert -(-steps // between) >= min(steps, checks) / 2


@pytest.mark.parametrize(
    ("kind", "readout", "each"),
    [
        ("causal", "auto", 2),
        ("encoder", "auto", 1),
        ("masked", "auto", 1),
        ("masked", "label-likelihood", 2),
        ("causal", "head", 1),
        ("causal", "answer", 1),
    ],
)
def test_an_item_is_scored_in_as_many_passes_as_its_readout_takes(kind, readout, each):
    task = separable.task()
    found = course_cost(course(10, 5), task, SimpleNamespace(kind=kind), readout)
    assert found == Cost(passes=3 * 10 * 4 + 5 * each * len(task.validation))


@pytest.mark.parametrize("kind", ["gpt2", "t5", "bert"])
@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning"])
def test_the_plan_is_what_learning_costs(kind, method):
    settings = {"steps": 5, "batch": 4, "checks": 2, "length": 4}
    plan = planned(create(method, settings), separable.task(), separable.model(kind))
    assert separable.fit(kind, method, **settings).learning.passes == plan.passes


def test_a_method_without_a_plan_has_none_and_one_of_the_task_alone_is_asked_so():
    assert planned(SimpleNamespace(), None) is None
    assert planned(SimpleNamespace(plan=lambda task: task), "task", "model") == "task"
    assert planned(SimpleNamespace(plan=lambda task, model=None: model), "task", "model") == "model"
