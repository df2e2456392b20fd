from __future__ import annotations

import numpy as np
import pytest

import promptology as pt
from promptology.errors import AccessError, ArtifactError, UsageError
from promptology.models.access import Failure
from promptology.predict import bind, predict_many
from promptology.prompts import Demonstrations, Example, Learned, Readout, Text

SIGNATURE = pt.Signature((pt.Field("text"),), "class", (pt.ClassLabel("red"), pt.ClassLabel("blue", "like the sky")))
ANSWER = Learned((Text("red or blue?"), Readout("answer")), SIGNATURE)


class Letters:
    """Embeds a text by its letters."""

    name = identity = "letters"
    local = True

    def embed(self, texts):
        rows = np.array([[t.count(c) + 1e-6 for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def nearest(template, signature=SIGNATURE):
    readout = Readout("nearest-label", {"label_template": template, "input_template": "{input}"})
    return Learned((readout,), signature, {"model": "embeds"})


def test_outputs_missing_and_unparsable_are_told_apart():
    class Flaky:
        local = False
        name = identity = "flaky"

        def generate(self, requests, attempts=1):
            for n, r in enumerate(requests):
                text = r.messages[-1][1]
                yield (
                    n,
                    Failure("down", attempts=attempts)
                    if "lost" in text
                    else pt.Answer("purple" if "odd" in text else "Red!", 7, 2, False),
                )

    predictions = bind(ANSWER, Flaky()).predict(["fine", "odd", "lost"])
    assert predictions.outputs == ["red", None, None]
    assert predictions.missing == [False, False, True]
    assert predictions.raw == ["Red!", "purple", None]
    assert predictions.parse_rate == 0.5
    assert (predictions.cost.calls, predictions.cost.tokens) == (2, 18)


def test_nearest_label_follows_the_wording_and_new_classes():
    assert nearest("{label}").bind(Letters()).predict(["erd", "lueb"]).outputs == ["red", "blue"]
    assert nearest("{description}").bind(Letters()).predict(["sky"]).outputs == ["blue"]
    other = pt.Signature((pt.Field("text"),), "class", (pt.ClassLabel("green"), pt.ClassLabel("pink")))
    predictions = nearest("{label}").bind(Letters(), signature=other).predict(["neerg"])
    assert predictions.outputs == ["green"]
    assert predictions.scores.shape == (1, 2)
    assert predictions.cost.passes == 1


def test_neighbour_vote_by_hand():
    examples = tuple(Example({"text": t}, c) for t, c in [("aa", "red"), ("ab", "blue"), ("bb", "blue")])
    learned = Learned(
        (Demonstrations(examples), Readout("neighbour-vote", {"k": 2, "temperature": 0.1})),
        SIGNATURE,
        {"model": "embeds"},
    )
    predictions = learned.bind(Letters()).predict(["a", "b"])
    assert predictions.outputs == ["red", "blue"]
    expected = [[np.exp(0.0), np.exp((np.sqrt(0.5) - 1) / 0.1)], [0.0, np.exp(0.0) + np.exp((np.sqrt(0.5) - 1) / 0.1)]]
    np.testing.assert_allclose(predictions.scores, expected, rtol=1e-4)


def test_many_prompts_in_one_batch_equal_one_by_one():
    items = [pt.Item(str(n), {"text": t}) for n, t in enumerate(["erd", "lueb", "sky"])]
    prompts = [nearest("{label}"), nearest("{description}"), nearest("{label} {description}")]
    together = predict_many([bind(p, Letters()) for p in prompts], items)
    for learned, predictions in zip(prompts, together, strict=True):
        alone = bind(learned, Letters()).predict(items)
        assert predictions.outputs == alone.outputs
        np.testing.assert_array_equal(predictions.scores, alone.scores)


def test_faults_are_told():
    with pytest.raises(AccessError, match="generates"):
        bind(ANSWER, Letters())
    with pytest.raises(AccessError, match="role 'helper'"):
        bind(Learned(ANSWER.parts, SIGNATURE, {"model": "generates", "helper": "embeds"}), lambda p: "red")
    with pytest.raises(ArtifactError, match="unknown readout"):
        bind(Learned((Readout("guess"),), SIGNATURE), lambda p: "red")
    with pytest.raises(ArtifactError, match="no readout"):
        bind(Learned((Text("x"),), SIGNATURE), lambda p: "red")
    bound = bind(ANSWER, pt.model(lambda p: "red"))
    with pytest.raises(UsageError, match="put the one text in a list"):
        bound.predict("one text")
    with pytest.raises(UsageError, match="lacks text"):
        bound.predict([{"words": "x"}])
    pair = pt.Signature((pt.Field("a"), pt.Field("b")))
    with pytest.raises(UsageError, match="takes 2 fields"):
        bind(Learned(ANSWER.parts, pair), pt.model(lambda p: "red")).predict(["x"])
