"""Readout label-likelihood: classes by the log-probability of their names, through the one metered door."""

from __future__ import annotations

import math

import numpy as np
import pytest

import promptology as pt
from promptology.errors import AccessError, ArtifactError, BudgetEnded, UsageError
from promptology.models.access import Answer, Failure, offers
from promptology.predict import bind, predict_many
from promptology.prompts import Learned, Readout, Text
from promptology.prompts.start import LIKELIHOOD, start_from
from promptology.run.budget import Budget
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import SQLiteStore, memory_store

CLASSES = (pt.ClassLabel("red"), pt.ClassLabel("deep blue", "like the sky"))
SIGNATURE = pt.Signature((pt.Field("text"),), "class", CLASSES, "Which colour?")


class Lengths:
    """Scores by a rule: -1 per letter for a choice that begins as the prompt's last word does, else -4."""

    name = identity = "lengths"
    local = True

    def __init__(self):
        self.asked = []

    def score(self, prompts, choices):
        self.asked.append((list(prompts), [list(some) for some in choices]))
        return [[self.value(p, c) for c in some] for p, some in zip(prompts, choices, strict=True)]

    @staticmethod
    def value(prompt, choice):
        word = prompt.removesuffix("\n\nAnswer:").rstrip(" :").split()[-1]
        return -float(len(choice)) if choice.strip().startswith(word[0]) else -4.0 * len(choice)


class Remote:
    """Generates and scores like a server: one request per choice; fails for prompts that hold `lost`."""

    name = identity = "remote"
    local = False

    def __init__(self):
        self.seen = []

    def score(self, prompts, choices):
        raise AssertionError("a run asks through generate")

    def generate(self, requests, attempts=1):
        for n, r in enumerate(requests):
            self.seen.append(r)
            text = r.messages[-1][1]
            if "lost" in text and r.continuation == " red":
                yield n, Failure("down", transient=False, attempts=1)
            elif r.continuation is None:
                yield n, Answer("deep blue", 3, 2, False)
            else:
                yield n, Answer("", 5, 1, False, logprob=Lengths.value(text, r.continuation))


def learned(**options):
    return Learned(
        (Text("Which colour?"), Readout("label-likelihood", {**LIKELIHOOD, **options})), SIGNATURE, {"model": "scores"}
    )


def test_by_hand_sum_and_per_byte():
    items = ["r", "d"]
    plain = bind(learned(), Lengths()).predict(items)
    assert plain.outputs == ["red", "deep blue"]
    np.testing.assert_array_equal(plain.scores, np.float32([[-4, -40], [-16, -10]]))
    assert plain.cost.passes == 4 and plain.missing == [False, False]
    per_byte = bind(learned(normalise="bytes"), Lengths()).predict(items)
    np.testing.assert_array_equal(per_byte.scores, np.float32([[-1, -4], [-4, -1]]))
    # Short names win by the sum where nothing speaks for either; per byte they do not.
    assert bind(learned(), Lengths()).predict(["x"]).outputs == ["red"]
    np.testing.assert_array_equal(bind(learned(normalise="bytes"), Lengths()).predict(["x"]).scores, [[-4, -4]])


def test_what_is_asked_and_that_braces_in_an_item_stay():
    model = Lengths()
    bind(learned(), model).predict(["{label} {text} d"])
    (((prompt,), choices),) = model.asked  # one call, the prompt once, with all of its choices
    assert choices == [[" red", " deep blue"]]
    assert prompt.startswith("Which colour?\n\nClasses:\n- red\n- deep blue: like the sky")
    assert prompt.endswith("\n\n{label} {text} d\n\nAnswer:")
    bind(learned(cue=" =>", choice=" {description}"), model).predict(["d"])
    assert model.asked[1][0][0].endswith("\n\nd =>") and model.asked[1][1] == [[" red", " like the sky"]]


def test_new_classes_and_many_prompts_in_one_batch():
    model = Remote()
    handle = Handle(Meter(memory_store()), "model", model)
    other = pt.Signature((pt.Field("text"),), "class", (pt.ClassLabel("x"), pt.ClassLabel("yy"), pt.ClassLabel("z")))
    predictors = [bind(learned(), handle), bind(learned(cue=" :"), handle), bind(learned(), handle, signature=other)]
    items = [pt.Item("1", {"text": "r"}), pt.Item("2", {"text": "d"})]
    together = predict_many(predictors, items)
    assert [p.outputs for p in together] == [["red", "deep blue"]] * 2 + [["x", "x"]]
    assert together[2].scores.shape == (2, 3)
    assert len(model.seen) == 2 * (2 + 2 + 3)
    assert together[0].cost.calls == 4
    assert all(r.temperature == 0 and r.max_tokens == 1 and r.seed is None for r in model.seen)


def test_an_item_is_missing_where_one_of_its_values_is():
    predictions = bind(learned(), Remote()).predict(["r", "lost r"])
    assert predictions.outputs == ["red", None] and predictions.missing == [False, True]


def test_a_handle_scores_with_budget_cache_and_replay(tmp_path):
    store = SQLiteStore(tmp_path / "s.sqlite")
    store.create_run("r", {})
    model = Remote()
    meter = Meter(store, "r", budget=Budget.parse("3calls"))
    handle = Handle(meter, "model", model)
    values = handle.score(["a r", "a d"], [[" red", " deep blue"], [" red"]])
    assert values == [[-4.0, -40.0], [-16.0]]
    assert meter.charged.calls == meter.paid.calls == 3
    assert handle.score(["a r"], [[" red"]]) == [[-4.0]] and len(model.seen) == 3
    with pytest.raises(BudgetEnded):
        handle.score(["a r"], [[" green"]])
    meter.flush()

    again = Handle(Meter(store, "r", budget=Budget.parse("3calls")), "model", Remote())
    assert again.score(["a r", "a d"], [[" red", " deep blue"], [" red"]]) == values
    assert again._model.seen == []
    # A later run, from the cache: charged as on a cold cache, nothing paid. Generation has keys of its own.
    store.create_run("other", {})
    meter = Meter(store, "other")
    other = Handle(meter, "model", Remote())
    assert other.score(["a r"], [[" red"]]) == [[-4.0]]
    assert (meter.charged.calls, meter.paid.calls) == (1, 0)
    assert other.generate(["a r"], max_tokens=1) == ["deep blue"] and len(other._model.seen) == 1
    assert other.score(["lost r"], [[" red", " deep blue"]]) == [[None, -40.0]]
    with pytest.raises(UsageError, match="2 prompts and 1 lists"):
        other.score(["a", "b"], [["c"]])
    assert other.score([], []) == []
    store.close()


def test_the_continuation_counts_in_the_worst_case():
    handle = Handle(Meter(memory_store()), "model", Remote())
    short, long = (handle.worst([handle.scoring("p", c)], []) for c in ("", "x" * 100))
    assert long.tokens_in - short.tokens_in == 100 and long.tokens_out == 1 and long.calls == 1


def test_access_is_checked():
    only = Handle(Meter(memory_store()), "model", Remote(), ["generates"])
    with pytest.raises(AccessError, match="scores"):
        only.score(["a"], [["b"]])
    with pytest.raises(AccessError, match="scores"):
        bind(learned(), pt.model(lambda prompt: "red"))
    with pytest.raises(AccessError, match="generates"):
        Handle(Meter(memory_store()), "model", Lengths()).generate(["a"])


def test_the_start_follows_access_and_choice():
    assert offers(Lengths()) == ("scores",)
    assert start_from(SIGNATURE, ("scores",)).readout.type == "label-likelihood"
    assert start_from(SIGNATURE, ("generates", "scores")).readout.type == "answer"
    chosen = start_from(SIGNATURE, ("generates", "scores"), "label-likelihood:bytes")
    assert chosen.readout.options["normalise"] == "bytes" and chosen.roles == {"model": "scores"}
    assert Learned.from_json(chosen.to_json()).same_as(chosen)
    for name, error, words in (
        ("likelihood", UsageError, "unknown readout 'likelihood'; there are answer, label-likelihood"),
        ("label-likelihood:tokens", UsageError, "write label-likelihood or label-likelihood:bytes"),
        ("answer:bytes", UsageError, "is not understood"),
        ("nearest-label", AccessError, "needs a model that embeds"),
    ):
        with pytest.raises(error, match=words):
            start_from(SIGNATURE, ("generates", "scores"), name)
    with pytest.raises(AccessError, match="only tell one class from others"):
        start_from(pt.Signature((pt.Field("text"),), "text"), ("scores",))


def test_odd_options_and_values():
    with pytest.raises(ArtifactError, match="normalise is one of none, bytes"):
        bind(learned(normalise="tokens"), Lengths()).predict(["r"])
    with pytest.raises(ArtifactError, match="the wording of class 'red' is empty"):
        bind(learned(choice=" "), Lengths()).predict(["r"])
    for wrong in ([[1.0]], [[math.nan, 0.0]]):
        model = Lengths()
        model.score = lambda prompts, choices, wrong=wrong: wrong
        with pytest.raises(pt.PromptologyError, match="lengths: score"):
            bind(learned(), model).predict(["r"])


def test_a_model_that_only_scores_is_learned_for(colours):
    class Words(Lengths):
        def score(self, prompts, choices):
            rule = {"rose": "red", "grass": "green", "sky": "blue"}
            return [
                [float(rule[p.splitlines()[-3].split()[0]] == c.strip()) - 1.0 for c in some]
                for p, some in zip(prompts, choices, strict=True)
            ]

    result = pt.fit(colours, Words(), "few-shot", settings={"shots": 3})
    assert result.learned.readout.type == "label-likelihood"
    assert result.evidence.found.value == 1.0
    assert result.charged.calls == 0 and result.charged.passes > 0
    assert result.predict(["sky number 5"]) == ["blue"]
