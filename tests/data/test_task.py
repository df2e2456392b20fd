"""Task: rows, the seal, drawn splits, fingerprints."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from promptology.data.items import ClassLabel, Item, Signature
from promptology.data.task import Task, looks_like_classes
from promptology.errors import SealedSplitError, UsageError

ROWS = [(f"text {n}", "yes" if n % 2 else "no") for n in range(50)]


@pytest.fixture
def task():
    return Task(ROWS, name="answers", instruction="Answer.")


def one_line(words, *arguments, error=UsageError, **keywords):
    with pytest.raises(error) as caught:
        Task(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_drawn_splits(task):
    assert [len(split) for split in (task.train, task.validation, task.test, task.unlabeled)] == [20, 10, 20, 0]
    assert task.labelled
    assert task.signature.class_names == ("no", "yes")
    assert repr(task) == "Task('answers': 20 train, 10 validation, 20 test; class; accuracy)"
    assert [i.id for i in Task(ROWS).test] == [i.id for i in task.test]
    assert [i.id for i in Task(ROWS, split_seed=1).test] != [i.id for i in task.test]


def test_what_is_given_is_not_drawn():
    both = Task(ROWS[:30], ROWS[30:40], ROWS[40:])
    assert [len(s) for s in (both.train, both.validation, both.test)] == [30, 10, 10]
    with_test = Task(ROWS[:30], test=ROWS[30:])
    assert [len(s) for s in (with_test.train, with_test.validation, with_test.test)] == [20, 10, 20]
    with_validation = Task(ROWS[:40], validation=ROWS[40:])
    assert [len(s) for s in (with_validation.train, with_validation.validation, with_validation.test)] == [24, 10, 16]
    scaled = Task(ROWS[:40], validation=ROWS[40:], shares={"train": 2, "validation": 1, "test": 2})
    assert scaled.test == with_validation.test
    one_line(["shares"], ROWS, shares={"train": 1.0})


def test_labels_of_the_test_split_are_sealed(task):
    with pytest.raises(SealedSplitError, match="only evidence opens"):
        _ = task.test[0].target
    assert all(i.sealed and i.labelled for i in task.test)
    assert "yes" not in repr(task.test) and "'no'" not in repr(task.test)
    assert {i.target for i in task.open_test()} == {"yes", "no"}
    for again in (copy.deepcopy(task.test[0]), pickle.loads(pickle.dumps(task.test[0]))):
        assert again.sealed
    assert not task.train[0].sealed


def test_the_seal_stays_on_copies(task):
    for again in (task.with_prompt("Decide."), task.with_prompt(system="Be brief."), task.with_metric("macro_f1")):
        assert all(i.sealed for i in again.test)
        with pytest.raises(SealedSplitError):
            _ = again.test[0].target
        assert again.train == task.train
        assert again.open_test() == task.open_test()
    assert task.with_prompt("Decide.").signature.instruction == "Decide."
    assert task.with_prompt(system="Be brief.").signature.instruction == "Answer."
    assert task.signature.system == ""
    assert task.with_metric("macro_f1").metric.name == "macro_f1"
    assert task.metric.name == "accuracy"


def test_sealed_items_make_no_other_task(task):
    one_line(["sealed", "another task"], task.test, error=SealedSplitError)
    one_line(["sealed"], task.train, test=task.test, error=SealedSplitError)
    assert len(Task(task.train, task.validation, task.open_test()).test) == 20


def test_fingerprints(task):
    same = Task(ROWS, name="another name", instruction="Answer.")
    assert task.fingerprint() == same.fingerprint() == task.fingerprint()
    assert len(task.fingerprint()) == 16
    for other in (
        task.with_prompt("Decide."),
        task.with_metric("macro_f1"),
        Task(ROWS, instruction="Answer.", split_seed=1),
        Task([*ROWS[:-1], ("text 49", "no")], instruction="Answer."),
    ):
        assert other.fingerprint() != task.fingerprint()
    assert task.with_prompt("Decide.").items_fingerprint() == task.items_fingerprint()
    assert Task(ROWS, split_seed=1).items_fingerprint() != task.items_fingerprint()


def test_the_fingerprint_is_the_same_in_every_release():
    """Runs are stored under it: a change here makes every stored run a stranger."""
    task = Task([("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")], [("e", "x")], [("f", "y")], instruction="Go.")
    assert task.items_fingerprint() == "9b594e5233d28736"
    assert task.fingerprint() == "1fa73d78dfa50f29"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((0, 1), ("0", "1")),
        ((True, False), ("false", "true")),
        ((1.0, 2.0), ("1", "2")),
        ((0.5, 1.5), ("0.5", "1.5")),
        ((np.int64(3), np.int64(4)), ("3", "4")),
        ((np.bool_(True), np.bool_(False)), ("false", "true")),
        (("😀", "😡"), ("😀", "😡")),
    ],
)
def test_labels_become_class_names(labels, names):
    task = Task([(f"text {n}", labels[n % 2]) for n in range(20)])
    assert task.signature.class_names == names
    assert {i.target for i in (*task.train, *task.open_test())} == set(names)


def test_targets_of_a_text_task_stay_as_they_are():
    task = Task([(f"text {n}", n) for n in range(20)], metric=lambda p, t: float(int(p) == t))
    assert task.signature.output == "text"
    assert {type(i.target) for i in task.train} == {int}


def test_rows_of_every_kind():
    task = Task(
        [
            {"id": 7, "premise": "a", "hypothesis": "b", "label": "x"},
            ({"premise": "c", "hypothesis": "d"}, "y"),
            Item("own", {"premise": "e", "hypothesis": "f"}, "x"),
            {"premise": "g", "hypothesis": "h", "label": "y"},
        ],
        [],
        [],
    )
    assert [i.id for i in task.train] == ["7", "train-1", "own", "train-3"]
    assert [f.name for f in task.signature.fields] == ["premise", "hypothesis"]
    assert (
        Task([{"text": "a", "kind": "x"}, {"text": "b", "kind": "y"}] * 2, [], [], label="kind").train[0].target == "x"
    )
    strings = Task(unlabeled=["one", "two"], test=["three"])
    assert [i.inputs["text"] for i in strings.unlabeled] == ["one", "two"]
    assert not strings.labelled
    assert strings.test[0].target is None


def test_a_task_may_hold_nothing():
    task = Task(signature=Signature(instruction="Write."))
    assert (task.train, task.validation, task.test, task.unlabeled) == ((), (), (), ())
    assert repr(task) == "Task('task': no items; text; exact_match)"
    assert not task.labelled
    assert Task().fingerprint() == Task().fingerprint()
    assert task.notes == ()
    assert Task(ROWS, notes=["seen"]).with_prompt("x").notes == ("seen",)


def test_classes_given_fix_the_order():
    task = Task(ROWS, classes=[ClassLabel("yes", "It is so."), "no"])
    assert task.signature.class_names == ("yes", "no")
    assert task.signature.classes[0].description == "It is so."


def test_what_cannot_be_a_task():
    one_line(["only class", "'x'", "at least two"], [("a", "x"), ("b", "x")], [], [])
    one_line(["train", "id '1'", "unique"], [Item("1", {"text": "a"}), Item("1", {"text": "b"})], [], [])
    one_line(["test item 'test-0'", "'maybe'", "(no, yes)"], ROWS, [], [("z", "maybe")])
    one_line(["'no'", "not one of the classes"], ROWS, classes=["yes", "maybe"])
    one_line(["train-0", "no input column"], [{"label": "x"}])
    one_line(["train-0 is a int", "(input, label)"], [3])
    one_line(["acuracy", "accuracy"], ROWS, metric="acuracy")


@pytest.mark.parametrize(
    ("names", "rows", "verdict"),
    [
        (["a", "b"], 4, True),
        (["a", "b"], 3, False),
        (["a" * 61, "b"], 99, False),
        ([str(n) for n in range(201)], 999, False),
    ],
)
def test_looks_like_classes(names, rows, verdict):
    assert looks_like_classes(names, rows) is verdict
