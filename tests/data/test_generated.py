"""Tasks that are made up on the spot."""

from __future__ import annotations

import pytest

import promptology as pt
from promptology.data.generated import SIZES, wordland_kinds
from promptology.errors import UsageError
from promptology.zoo.wordland.kinds import KINDS


@pytest.mark.parametrize("name", wordland_kinds())
def test_every_kind_is_a_task(name):
    task, kind = pt.load_task(f"wordland:{name}?train=12&validation=6&test=6&unlabeled=3"), KINDS[name]
    assert task.name == f"wordland:{name}"
    assert [len(items) for items in (task.train, task.validation, task.test, task.unlabeled)] == [12, 6, 6, 3]
    assert task.signature.instruction == kind.wordings[0]
    assert tuple(f.name for f in task.signature.fields) == kind.fields == tuple(task.train[0].inputs)
    assert task.signature.class_names == kind.class_names
    assert task.signature.output == ("class" if kind.classes else "text")
    assert all(i.target in i.meta["options"] for i in task.train if "options" in i.meta)
    assert not any(i.labelled for i in task.unlabeled) and all(i.sealed for i in task.test)
    inputs = [tuple(i.inputs.values()) for i in (*task.train, *task.validation, *task.test, *task.unlabeled)]
    assert len(set(inputs)) == len(inputs)


def test_classes_bring_descriptions_and_terms():
    classes = pt.load_task("wordland:topic?train=20").signature.classes
    assert len(classes) >= 12 and all(c.description and c.terms for c in classes)


def test_one_seed_gives_one_task_whatever_the_size_of_later_splits():
    one, same, other = (
        pt.load_task(f"wordland:topic?seed={n}&test={t}&train=20") for n, t in ((3, 40), (3, 40), (4, 40))
    )
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert pt.load_task("wordland:topic?seed=3&test=9&train=20").train == one.train


def test_sizes_have_defaults():
    task = pt.load_task("wordland:sentiment")
    assert {split: len(getattr(task, split)) for split in SIZES} == SIZES


def test_prompt_metric_and_name_are_the_users():
    task = pt.load_task("wordland:mood?train=8", instruction="Which mood?", metric="macro-f1", name="moods")
    assert (task.signature.instruction, task.metric.name, task.name) == ("Which mood?", "macro_f1", "moods")


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("wordland:topics", {}, "did you mean 'wordland:topic'? kinds of Wordland are "),
        ("wordland:", {}, "unknown task 'wordland:'"),
        ("wordland:topic?sead=3", {}, "no parameter 'sead'; there are seed, train, validation, test, unlabeled"),
        ("wordland:topic?train", {}, "train is a whole number"),
        ("wordland:topic?train=-3", {}, "train is a whole number from 0 to 100,000, not '-3'"),
        ("wordland:topic?train=1e3", {}, "not '1e3'"),
        ("wordland:topic?train=3&train=4", {}, "train is given twice"),
        ("wordland:topic?=3", {}, "no parameter ''"),
        ("wordland:topic", {"text": "text"}, "brings its own columns, classes and splits; leave out text"),
        ("wordlan:topic", {}, "wordland:KIND"),
    ],
)
def test_what_cannot_be_made_is_one_line(source, options, says):
    with pytest.raises(UsageError) as raised:
        pt.load_task(source, **options)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_the_command_line_takes_them(cli):
    done = cli("evaluate", "--task", "wordland:mood?train=8&test=20", "--model", "simulated:tickets", "--json")
    assert done.returncode == 0, done.stderr
    assert '"wordland:mood"' in done.stdout
    wrong = cli("evaluate", "--task", "wordland:moods", "--model", "simulated:tickets")
    assert wrong.returncode == 2 and "did you mean 'wordland:mood'" in wrong.stderr
