"""Vectors of a run: what is asked for together, under which keys it is kept, and what each kind of it needs."""

from __future__ import annotations

import numpy as np
import pytest
from rough_server import RoughServer, embed, error, reply, script

from promptology.errors import AccessError, BudgetEnded, ModelError, TooManyMissing
from promptology.models.access import Injected, State
from promptology.models.http import EmbeddingsEndpoint
from promptology.run.budget import Budget
from promptology.run.checkpoints import Mark, fingerprint
from promptology.run.cost import Cost, Price
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
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


TEXTS = [f"text {'e' * n}" for n in range(70)]
"""Of three requests: 32, 32 and 6."""


def endpoint(server, **settings):
    return EmbeddingsEndpoint("m", server.url, backoff=0.001, backoff_cap=0.002, **settings)


def test_a_server_is_charged_calls_and_tokens_and_asked_once(store):
    price = {"encoder": Price(1e6, 0.0)}
    with RoughServer(embed) as server:
        meter = Meter(store, "r", prices=price, budget=Budget.parse("3calls"))
        found = meter.embed("encoder", endpoint(server), [*TEXTS, *TEXTS[:3]])
        assert meter.charged == meter.paid == Cost(3, 140, usd=140.0)
        np.testing.assert_array_equal(found[70:], found[:3])
        np.testing.assert_array_equal(meter.embed("encoder", endpoint(server), TEXTS[::-1]), found[69::-1])
        assert len(server.bodies) == 3 and not meter._memo
        again = Meter(store, "s", prices=price)
        np.testing.assert_array_equal(again.embed("encoder", endpoint(server), TEXTS), found[:70])
        assert (again.charged.calls, again.paid.calls, len(server.bodies)) == (3, 0, 3)
    with RoughServer(embed) as server:  # another address: another model
        Meter(store, "").embed("encoder", endpoint(server), TEXTS)
        assert len(server.bodies) == 3
    handle = Handle(again, "encoder", endpoint(server))
    assert handle.called and handle.cost_of_texts(["abcde", "é"]) == Cost(2, 3, usd=3.0, estimated=True)
    assert not Handle(again, "encoder", Inside()).called


def test_nothing_is_sent_that_does_not_fit(store):
    # 70 texts of 5 to 74 bytes, 8 more for each and 8 for each request; a byte is a token at most.
    most = sum(5 + n for n in range(70)) + 8 * 70 + 8 * 3
    with RoughServer(embed) as server:
        for limit in ("2calls", f"{most - 1}tok"):
            meter = Meter(store, "", budget=Budget.parse(limit))
            with pytest.raises(BudgetEnded):
                meter.embed("model", endpoint(server), TEXTS)
        assert not server.bodies and meter.stopped
        handle = Handle(meter, "model", endpoint(server))
        known = set()
        assert handle.worst([], TEXTS, known) == Cost(3, most) and handle.worst([], TEXTS[:5], known) == Cost()
        assert handle.worst([], ["new"], known).calls == 1
        Meter(store, "", budget=Budget.parse(f"{most}tok")).embed("model", endpoint(server), TEXTS)


@pytest.mark.parametrize("limit", range(3, 17))
def test_a_server_never_sees_a_call_more_than_the_limit(store, limit):
    fail = [error(500, "boom")] * 4  # no request can use up its five attempts
    with RoughServer(script(*fail, then=embed)) as server:
        meter = Meter(store, "r", budget=Budget.parse(f"{limit}calls"))
        try:
            found = meter.embed("model", endpoint(server), TEXTS)
        except TooManyMissing as missing:
            found = None
            assert "HTTP 500: boom" in str(missing) and "start again with a larger --budget" in str(missing)
        assert len(server.bodies) <= limit and meter.charged.calls == len(server.bodies)
        assert (found is not None) == (limit >= 7)  # four fail, three answer


def test_a_missing_vector_ends_the_run_and_is_asked_for_again_where_that_is_wanted(store):
    texts = ["a" * 150_000, "b" * 150_000, "c" * 150_000]  # each in a request of its own
    left = [error(500, "boom")] * 2

    async def handler(server, request, doc):
        return await (left.pop() if doc["input"] == texts[1:2] and left else embed)(server, request, doc)

    with RoughServer(handler) as server:
        with pytest.raises(TooManyMissing, match=r"1 of 3 answers are missing \(last: HTTP 500: boom.*--retry-failed"):
            Meter(store, "r", limits=Limits(attempts=2)).embed("model", endpoint(server), texts)
        assert len(server.bodies) == 4
        with pytest.raises(TooManyMissing):
            Meter(store, "r").embed("model", endpoint(server), texts)
        assert len(server.bodies) == 4
        found = Meter(store, "r", retry_failed=True).embed("model", endpoint(server), texts)
        assert found.shape == (3, 3) and len(server.bodies) == 5


def test_what_a_training_embedded_is_recalled(store):
    with RoughServer(embed) as server:
        meter = Meter(store, "r")
        meter.embed("model", endpoint(server), ["before"])
        mark = Mark(meter)
        whole = meter.embed("model", endpoint(server), TEXTS)
        doc = mark.since()
        mark.close()
        assert [len(entry[3]) for entry in doc["vectors"]] == [32, 32, 6]

        resumed = Meter(store, "r")
        resumed.embed("model", endpoint(server), ["before"])
        mark = Mark(resumed)
        assert not mark.refusal(doc)
        mark.put_back(doc)
        mark.close()
        assert resumed.charged == meter.charged
        assert resumed.worst("model", endpoint(server), [], ["new", *TEXTS], set()).calls == 1
        np.testing.assert_array_equal(resumed.embed("model", endpoint(server), TEXTS[::-1]), whole[::-1])
        assert len(server.bodies) == 4 and resumed._seq == meter._seq


def test_a_model_that_changes_within_a_run_is_one_line(store):
    two = reply(body={"data": [{"index": 0, "embedding": [3.0, 4.0]}]})
    with RoughServer(script(two, then=embed)) as server:
        meter = Meter(store, "r")
        np.testing.assert_allclose(meter.embed("model", endpoint(server), ["a"]), [[0.6, 0.8]], rtol=1e-6)
        with pytest.raises(ModelError, match="gave vectors of 2 and 3 numbers"):
            meter.embed("model", endpoint(server), ["b"])
