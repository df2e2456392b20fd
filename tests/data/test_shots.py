"""Shots and halves of classes: those of the published lists, and the seal of the test split."""

from __future__ import annotations

import random

import pytest

from promptology.data.items import ClassLabel, Field, Item, Signature
from promptology.data.shots import draw_shots, halves, sampled
from promptology.data.task import Task
from promptology.errors import SealedSplitError, UsageError

EUROSAT = {
    "train": (1500, 1500, 1500, 1250, 1250, 1000, 1250, 1500, 1250, 1500),
    "val": (600, 600, 600, 500, 500, 400, 500, 600, 500, 600),
}
"""Images of each class, in the order of the published lists, in which a class's images stand together."""
PUBLISHED = {
    1: (
        [275, 2665, 3129, 5022, 5991, 7507, 8920, 10217, 11527, 12429],
        [96, 1099, 1229, 2257, 2727, 2999, 3421, 3702, 4656, 5256],
    ),
    2: (
        [115, 1687, 3173, 5239, 6096, 7753, 8631, 9765, 11990, 12434],
        [36, 1195, 1362, 2020, 2626, 3001, 3611, 4221, 4786, 5180],
    ),
    3: (
        [487, 2713, 4114, 4767, 6507, 7937, 9236, 10220, 11939, 12134],
        [13, 1080, 1465, 2082, 2419, 2898, 3567, 4181, 4576, 5362],
    ),
}
"""Places in these lists of the images of one shot, by seed (github: linzhiqiu/cross_modal_adaptation, indices)."""


def listed(sizes, split):
    labels = [str(c) for c, size in enumerate(sizes) for _ in range(size)]
    return [Item(f"{split}-{n}", {"text": f"{split} {n}"}, label) for n, label in enumerate(labels)]


def task(counts=(5, 3, 6, 4), validation=(2, 2, 2, 2), test=(2, 2, 2, 2)):
    names = "dcba"[: len(counts)]
    rows = {
        split: [
            Item(f"{split}-{c}-{n}", {"text": f"{split} {c} {n}"}, c)
            for c, k in zip(names, sizes, strict=True)
            for n in range(k)
        ]
        for split, sizes in (("train", counts), ("validation", validation), ("test", test))
    }
    return Task(
        **rows,
        signature=Signature((Field("text"),), "class", tuple(ClassLabel(c) for c in sorted(names))),
        name="letters",
    )


@pytest.mark.parametrize("seed", PUBLISHED)
def test_shots_are_those_of_the_published_lists(seed):
    rng = random.Random(seed)
    found = [sampled(listed(EUROSAT[split], split), 1, rng) for split in ("train", "val")]
    assert [[int(i.id.partition("-")[2]) for i in some] for some in found] == list(PUBLISHED[seed])


def test_a_class_with_fewer_gives_all_it_has():
    found = draw_shots(task(), 4, 1)
    assert [sum(i.target == c for i in found.train) for c in "abcd"] == [4, 4, 3, 4]
    assert len(found.validation) == 8 and found.test == task().test
    assert found.notes == ("classes with fewer training items than 4 shots give all they have: 'c' (3)",)
    assert (
        draw_shots(task(), 1, 1).fingerprint()
        == draw_shots(task(), 1, 1).fingerprint()
        != draw_shots(task(), 1, 2).fingerprint()
    )
    assert len(draw_shots(task(), 1, 1).validation) == 4
    assert draw_shots(task(), 0, 1).train == task().train


def test_halves_are_sorted_classes_and_stay_sealed():
    whole = task()
    base, new = halves(whole)
    assert (base.signature.class_names, new.signature.class_names) == (("a", "b"), ("c", "d"))
    assert (base.name, new.name) == ("letters base", "letters new")
    assert {i.target for i in base.train} == {"a", "b"} and len(base.train) == 10
    assert {i.target for i in new.open_test()} == {"c", "d"} and len(new.test) == 4
    with pytest.raises(SealedSplitError):
        _ = new.test[0].target
    assert len({whole.fingerprint(), base.fingerprint(), new.fingerprint()}) == 3
    assert base.labelled and whole.fingerprint() == task().fingerprint()


def test_shots_first_and_halves_afterwards():
    """As published: which images of a base class are drawn depends on the classes before it, new ones included."""
    base = halves(draw_shots(task(), 2, 3))[0]
    alone = draw_shots(halves(task())[0], 2, 3)
    assert len(base.train) == len(alone.train) == 4 and {*base.train} != {*alone.train}


def test_faults():
    with pytest.raises(UsageError, match="3 classes; halves"):
        halves(task((2, 2, 2), (1, 1, 1), (1, 1, 1)))
    with pytest.raises(UsageError, match="no class 'z'"):
        task().among(["a", "z"])
    with pytest.raises(UsageError, match="at least two"):
        task().among(["a"])
    with pytest.raises(UsageError, match="give 1 or more"):
        draw_shots(task(), -1, 0)
    with pytest.raises(UsageError, match="no labelled training items"):
        draw_shots(task((0, 0, 0, 0)), 1, 0)
    several = Task([("x", ["a", "b"]), ("y", ["a"])] * 3, classes=["a", "b"])
    with pytest.raises(UsageError, match="its output is classes"):
        draw_shots(several, 1, 0)
