"""Tasks of the simulated worlds."""

from __future__ import annotations

from collections import Counter

import pytest

import promptology as pt
from promptology.data.parcels import PARCEL, gate
from promptology.errors import UsageError


def marks(items):
    return Counter(PARCEL.fullmatch(i.inputs["text"])[2] for i in items)


def test_sizes_marks_and_gates():
    task = pt.load_task("simulated:trap")
    splits = task.train, task.validation, task.open_test()
    assert [len(s) for s in splits] == [70, 50, 80] and not task.unlabeled
    assert [set(marks(s).values()) for s in splits] == [{14}, {10}, {16}]
    assert len({i.inputs["text"] for s in splits for i in s}) == 200
    for item in splits[2]:
        number, mark = PARCEL.fullmatch(item.inputs["text"]).groups()
        assert item.target == gate(int(number), mark)
    assert gate(1000, "fragile") == "east" and gate(1003, "fragile") == "north" and gate(1001, "frozen") == "west"
    assert len(marks(pt.load_task("simulated:chain").train)) == 12


def test_a_seed_gives_the_same_items_and_another_gives_others():
    one, again, other = (pt.load_task(f"simulated:chain?seed={s}&validation=30").train for s in (1, 1, 2))
    assert one == again != other
    assert len(pt.load_task("simulated:trap?validation=30&unlabeled=4").unlabeled) == 4


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("simulated:trpa", "did you mean 'simulated:trap'"),
        ("simulated:features", "simulated worlds with a task are trap, chain"),
        ("simulated:trap?seeds=1", "there is no parameter 'seeds'"),
        ("simulated:trap?train=9000", "there are 9000 parcels"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(source, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")) as caught:
        pt.load_task(source)
    assert "\n" not in str(caught.value)
