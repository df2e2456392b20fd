"""Every registered method keeps the contract, and the contract can be broken, promise by promise."""

from __future__ import annotations

import broken_methods as broken
import pytest
from searches import LACKING, SMALL

import promptology as pt
from promptology.errors import UsageError
from promptology.methods.registry import catalogue
from promptology.testing import check_method
from promptology.testing.fixtures import HashingEncoder, small_task

# Settings under which a whole run is short enough to be checked against its plan.
TRAINED = {"steps": 6, "batch": 4, "checks": 2}
SHORT = {
    **SMALL,
    "prompt-tuning": TRAINED,
    "prefix-tuning": TRAINED,
    "p-tuning": TRAINED,
    "dept": TRAINED,
    "lora": TRAINED,
    "full-tuning": TRAINED,
    "ptec": {"steps": 6, "batch": 4},
    "coop": {"epochs": 2.0, "batch": 5, "own": True, "views": 2, "checks": 1},
    "cocoop": {"epochs": 1.0, "batch": 4},
    "ivlp": {"epochs": 1.0, "depth": 2, "length": 0},
    "maple": {"epochs": 1.0, "depth": 2, "checks": 1},
    "crosstune": {"epochs": 3},
    "cloze-tuning": {**TRAINED, "words": "the,my,is", "rank": 4},
    "list": {
        **{"words": "the,my,is", "rank": 4, "rounds": 1, "steps": 5, "batch": 4},
        **{"teacher_steps": 3, "labelled_steps": 2},
    },
    "pet": {
        **{"templates": "{input} it is {mask} || {input} so {mask}", "words": "the,my,is", "rank": 4, "repetitions": 1},
        **{"steps": 3, "batch": 4, "student_steps": 4, "student_batch": 4, "generations": 1},
    },
    "dsp": {
        **{"imitation_epochs": 1, "imitation_rate": 1e-2, "batch": 4, "iterations": 2, "texts": 4},
        **{"epochs": 1, "rate": 1e-3, "samples": 1, "max_tokens": 3, "temperature": 0.7},
    },
    "tpt": {"views": 6, "confident": 0.5},
    "difftpt": {"crops": 3, "generated": 4, "steps": 2},
}
OURS = [slug for slug, card in catalogue().items() if card.cls.__module__.startswith("promptology.")]
PROMISES = ["settings", "access", "same result", "budget", "plan", "resume", "artifact"]


@pytest.mark.parametrize("slug", OURS)
def test_every_method_keeps_the_contract(slug):
    if slug in LACKING:
        pytest.skip(f"the package that {slug} needs is not installed")
    checked = check_method(slug, settings=SHORT.get(slug))
    without_plan = not hasattr(catalogue()[slug].cls, "plan")
    assert checked.promises == [p for p in PROMISES if not (p == "plan" and without_plan)]
    assert list(checked.skipped) == (["plan"] if without_plan else [])


def test_a_method_with_alternatives_keeps_it_with_the_other_one():
    checked = check_method("manual", models={"model": HashingEncoder()})
    assert checked.promises == PROMISES


def test_evolution_keeps_it_in_its_other_variant():
    assert check_method("evoprompt", settings=SMALL["evoprompt"] | {"variant": "ga"}).promises == PROMISES


def test_a_method_that_scores_is_checked_too():
    assert check_method(broken.WorksScoring(hints=3), budget="600calls").promises == PROMISES


def test_it_takes_a_task_models_and_an_instance():
    rows = [(f"number {n}", "odd" if n % 2 else "even") for n in range(30)]
    checked = check_method(
        broken.Works(hints=2), task=pt.Task(rows), models={"model": pt.model(parity)}, budget="90calls"
    )
    assert checked.promises == PROMISES
    assert "works" in str(checked)


def parity(prompt):
    return "odd" if int(prompt.split()[-1]) % 2 else "even"


BROKEN = [
    (broken.NoHelp(), "'hints' has no help"),
    (broken.NoDefault(3), "'hints' has no default"),
    (broken.Melts(), "not a frozen dataclass"),
    (broken.Unseeded(), "the same seed gives two results"),
    (broken.Hasty(), "the same seed gives two results"),
    (broken.PastTheHandle(), "asked past the run's handles"),
    (broken.Spendthrift(), "more than the limit"),
    (broken.Optimist(), "plan() says 45 calls of learning and it took 90"),
    (broken.Curious(), "it declares that 'model' generates, and it embeds"),
    (broken.Presumptuous(), "access that it does not declare"),
    (broken.Peeks(), "reads labels of the test split"),
    (broken.AbsentMinded(), "a run that was killed cannot be continued"),
    (broken.Crashes(), "ValueError: the method has a fault"),
    (broken.Forgetful(), "cannot be used in a fresh process"),
    (broken.Demanding(), "does not declare"),
]


@pytest.mark.parametrize(("method", "message"), BROKEN, ids=[type(m).__name__ for m, _ in BROKEN])
def test_a_broken_promise_is_named(method, message):
    with pytest.raises(AssertionError) as raised:
        check_method(method, budget="300calls")
    said = str(raised.value)
    assert said.startswith(f"method {type(method).card.slug!r}: ")
    assert message in said


def test_what_cannot_be_checked_is_said():
    checked = check_method(broken.WorksEmbedding())
    assert checked.skipped == {"plan": "the method has no plan(task)"}
    local = pt.model(lambda texts: [[1.0, float(len(t))] for t in texts], embeds=True)
    checked = check_method(broken.WorksEmbedding(), models={"model": local})
    assert "another process" in checked.skipped["resume"]
    with pytest.raises(UsageError, match="no role referee"):
        check_method("manual", models={"referee": HashingEncoder()})


def test_the_small_task_is_what_it_says():
    task = small_task()
    assert [len(s) for s in (task.train, task.validation, task.test, task.unlabeled)] == [15, 15, 12, 6]
    assert {i.target for i in task.train[:3]} == set(task.signature.class_names)
    assert not {i.id for i in task.unlabeled} & {i.id for i in task.train}
