"""Vectors of a run: what is asked for together, under which keys it is kept, and what each kind of it needs."""

from __future__ import annotations

import numpy as np
import pytest

from promptology.errors import AccessError
from promptology.models.access import Injected, State
from promptology.run.checkpoints import fingerprint
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import SQLiteStore

PARTS = Injected("parts", (np.ones(1000),))


class Inside:
    """Says what it was asked; a state holds the length of its text, its layers, and whether parts were given."""

    name = identity = "inside"
    local = True

    def __init__(self):
        self.asked = []

    def frozen(self):
        raise AssertionError("nothing needs the body")

    def embed(self, texts):
        self.asked.append(("embed", *texts))
        return np.array([[len(t), -1.0, 0.0] for t in texts], np.float32)

    def states(self, texts, injected=None, *layers):
        self.asked.append(("states", injected and injected.digest, *layers, *texts))
        return np.array([[len(t), *(layers or (0,)), injected is not None] for t in texts], np.float32)


class Towers(Inside):
    """One whose texts stand in the space of images."""

    frozen = None

    def towers(self):
        raise AssertionError("nothing needs the towers")

    image_features = cosines = text_features = towers


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore(tmp_path / "store.sqlite")
    for run in ("r", "s"):
        store.create_run(run, {})
    yield store
    store.close()


def test_texts_and_states_come_back_in_order_and_each_kind_is_asked_for_once(store):
    model, meter = Inside(), Meter(store, "r")
    asked = [State("abc", None, 4), "ab", State("a"), State("abcd", PARTS, 2), "a", State("ab", None, 4), State("ab")]
    found = meter.embed("model", model, asked)
    expected = [[3, 4, 0], [2, -1, 0], [1, 0, 0], [4, 2, 1], [1, -1, 0], [2, 4, 0], [2, 0, 0]]
    np.testing.assert_array_equal(found, expected)
    assert model.asked == [
        ("embed", "ab", "a"),
        ("states", None, "a", "ab"),
        ("states", None, 4, "abc", "ab"),
        ("states", "parts", 2, "abcd"),
    ]
    assert meter.charged.passes == 7
    np.testing.assert_array_equal(meter.embed("model", model, asked), expected)
    assert len(model.asked) == 4 and meter.charged.passes == 7
    # What the run remembers holds no tensor of the parts.
    (light,) = [one for one in meter._vectors["model", "inside"] if isinstance(one, State) and one.injected]
    assert light == asked[3] and not light.injected.fillings


def test_states_of_no_layers_keep_the_keys_that_they_had(store):
    meter = Meter(store, "r")
    meter.embed("model", Inside(), ["ab", State("ab"), State("ab", PARTS), State("ab", PARTS, 2)])
    kinds = [["embed"], ["state", ""], ["state", "parts"], ["state", "parts", 2]]
    keys = [meter._keys.hash([*kind, "model", "inside", ["ab"]]) for kind in kinds]
    assert set(store.answers(keys)) == {*keys}
    prints = [fingerprint(one) for one in ("ab", State("ab"), State("ab", None, 2), State("ab", None, 4))]
    assert len(set(prints)) == 4


def test_another_run_finds_them_and_pays_nothing(store):
    model, asked = Inside(), ["ab", State("ab", None, 2), State("ab")]
    first = Meter(store, "r").embed("model", model, asked)
    meter = Meter(store, "s")
    np.testing.assert_array_equal(meter.embed("model", model, asked), first)
    assert len(model.asked) == 3 and (meter.charged.passes, meter.paid.passes) == (3, 0)


def test_towers_have_no_layers_to_take_the_maximum_of(store):
    handle = Handle(Meter(store, "r"), "model", Towers(), None)
    assert handle.embed([State("ab")]).tolist() == [[2, 0, 0]]
    with pytest.raises(AccessError, match="used as a model that is differentiable"):
        handle.embed([State("ab", None, 2)])
