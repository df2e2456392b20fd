"""Tasks over Toyland by their names: what the arrays hold is what the items hold."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.data.loaders import load_task
from promptology.data.toyland import KINDS
from promptology.errors import UsageError
from promptology.zoo.toyland import tasks


def shown(items):
    return np.stack([np.asarray(i.inputs["image"].rgb()) for i in items])


def test_base_and_new_are_the_arrays_of_toyland():
    spec = "halves=narrow&seed=3&test=2&domain=backlit&strength=0.5"
    base = load_task(f"toyland:base?{spec}&shots=4&validation=1")
    new = load_task(f"toyland:new?{spec}")
    made = tasks.base_to_novel(3, halves="narrow", shots=4, validation=1, test=2, domain="backlit", strength=0.5)
    assert base.signature.class_names == made.classes[:8] and new.signature.class_names == made.classes[8:]
    assert [c.description for c in new.signature.classes] == list(made.descriptions[8:])
    assert np.array_equal(shown(base.train), made.images["train"])
    assert np.array_equal(shown(base.test), made.images["base"]) and np.array_equal(shown(new.test), made.images["new"])
    assert [i.target for i in new.open_test()] == [made.classes[c] for c in made.labels["new"]]
    assert (len(base.validation), len(new.train), len(new.validation)) == (8, 0, 0)


def test_other_kinds():
    few = load_task("toyland:few-shot?shots=2&test=1")
    assert (len(few.train), len(few.test), len(few.signature.classes)) == (32, 16, 16)
    more = load_task("toyland:few-shot?shots=3&test=1")
    assert {i.inputs["image"] for i in few.train} < {i.inputs["image"] for i in more.train}
    night, plain = (load_task(f"toyland:cross-domain?domain={d}&shots=1&test=1") for d in ("night", "clean"))
    assert np.array_equal(shown(night.train), shown(plain.train))
    assert shown(night.test).mean() < shown(plain.test).mean() / 2
    assert len(load_task("toyland:unseen?test=1").test) == 64
    assert len(load_task("toyland:fine-new?test=1").signature.classes) == 32
    several = load_task("toyland:multi-label?train=8&test=8")
    assert several.signature.output == "classes" and all(1 <= len(i.target) <= 4 for i in several.train)
    assert load_task("toyland:base?seed=1", name="mine").name == "mine"


def test_every_kind_is_named_and_repeatable():
    for kind in KINDS:
        small = "&".join(f"{name}=2" for name in ("train", "shots", "validation", "test") if name in KINDS[kind])
        source = f"toyland:{kind}?{small}"
        task = load_task(source)
        assert task.fingerprint() == load_task(source).fingerprint() != load_task(f"{source}&seed=5").fingerprint()
        ids = [i.id for split in (task.train, task.validation, task.test) for i in split]
        assert task.test and len({*ids}) == len(ids) and task.signature.images == ("image",)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("toyland:bse", ["did you mean 'toyland:base'", "cross-domain"]),
        ("toyland:base?foo=1", ["no parameter 'foo'", "halves"]),
        ("toyland:base?shots=-1", ["whole number"]),
        ("toyland:base?strength=x", ["strength is a number"]),
        ("toyland:base?seed=1&seed=2", ["given twice"]),
        ("toyland:base?halves=odd", ["disjoint", "'odd'"]),
        ("toyland:base?domain=moon", ["'moon'", "backlit"]),
        ("toyland:cross-domain?domain=train", ["'train'", "haze"]),
        ("toyland:few-shot?shots=17", ["17 shots"]),
        ("toyland:base?&&", ["no parameter"]),
    ],
)
def test_faults(source, words):
    with pytest.raises(UsageError) as caught:
        load_task(source)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    with pytest.raises(UsageError, match="brings its own columns"):
        load_task("toyland:base", image="image")
