"""The contract of methods, for those of two-tower models: what it counts, and what breaks it."""

from __future__ import annotations

import broken_towers as broken
import pytest
import torch

from promptology.testing import check_method
from promptology.testing.inside import print_of
from promptology.testing.towers import CountingTowers, image_task, tiny_clip, uncount_towers


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("clip"), image_task())


BROKEN = [
    (broken.PastTheTowers(), "asked past the run's handles"),
    (broken.LeavesAMark(), "it leaves 'model' changed"),
    (broken.ReadsTheTest(), "it reads labels of the test split"),
]


@pytest.mark.parametrize(("method", "message"), BROKEN, ids=[type(m).__name__ for m, _ in BROKEN])
def test_a_broken_promise_is_named(method, message, toy):
    with pytest.raises(AssertionError) as raised:
        check_method(method, models={"model": toy})
    said = str(raised.value)
    assert said.startswith(f"method {type(method).card.slug!r}: ") and message in said
    toy.towers().inner.eval()


def test_undeclared_access_is_named():
    with pytest.raises(AssertionError, match="access that it does not declare"):
        check_method(broken.LooksAtImages())


def test_passes_are_counted_once_wherever_they_are_made(toy):
    from promptology.injection.towers import TextRows

    model, task = CountingTowers(toy), image_task()
    images = [i.inputs["image"] for i in task.train]
    towers = model.towers()
    model.image_features(images[:2])
    model.text_features(["a red star", "a ring", "a star"])
    assert model.passes == 5
    rows = TextRows(towers.rows(["a red star", "a ring"]))
    towers.texts(rows)
    assert model.passes == 5 + 2 * 3  # gradients may be wanted: as a training item
    with torch.no_grad():
        towers.images(towers.pixels(images[:3]))
    assert model.passes == 5 + 6 + 3
    model.cosines(images[:1], ["a star", "a ring"])
    assert model.passes == 14 + 3
    uncount_towers(toy)
    assert "texts" not in vars(toy.towers())


def test_the_print_of_towers_tells_a_change(toy):
    before = print_of(toy.towers())
    weight = toy.towers().inner.visual_projection.weight
    with torch.no_grad():
        weight[0, 0] += 1
        assert print_of(toy.towers()) != before
        weight[0, 0] -= 1
    toy.towers().inner.train()
    assert print_of(toy.towers()) != before
    toy.towers().inner.eval()


def test_the_pictures_stand_in_turn():
    task = image_task()
    names = task.signature.class_names
    assert [i.target for i in task.train] == list(names) * 4 and len(task.test) == 9 and len(names) == 3
    assert task.fingerprint() == image_task().fingerprint()
