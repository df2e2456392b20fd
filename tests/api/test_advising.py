"""Advice: every access, labels, sizes and budgets; where each line comes from; nothing asked unless measured."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from importlib.util import find_spec

import pytest
from whitebox import WORDS, one_class

import promptology as pt
from promptology.api import advising
from promptology.errors import UsageError
from promptology.evidence.statistics import items_needed
from promptology.methods.registry import catalogue
from promptology.run.cost import Cost
from promptology.run.store import using_store

pytestmark = pytest.mark.usefixtures("own_methods")
needs_torch = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
PROPOSE = {"ape", "evoprompt", "gepa", "mipro", "opro", "promptagent", "protegi"}
SEARCH = {*PROPOSE, "few-shot", "manual", "random-search", "spo"}
VISION = {slug for slug, card in catalogue().items() if card.needs.get("model") == ("two-tower",)}
SOFT = {"dept", "lora", "p-tuning", "prefix-tuning", "prompt-tuning", "ptec", "linear-probe"}


def never(prompt):
    raise AssertionError("a model was asked")


def split(found):
    fits = [m["method"] for m in found["methods"] if not m["lacks"]]
    return fits, {m["method"]: m["lacks"][0] for m in found["methods"] if m["lacks"]}


@pytest.fixture
def unrecorded(monkeypatch):
    monkeypatch.setattr(advising, "recorded", dict)


def test_every_method_is_there_once_and_every_line_has_a_source(unrecorded):
    found = pt.advise("tickets", never)
    assert sorted(m["method"] for m in found["methods"]) == sorted(catalogue())
    notes = [*found["notes"], *(n for m in found["methods"] for n in (*m["why"], *m["lacks"]))]
    assert all(note["text"] and note["source"] for note in notes)
    assert found == pt.advise("tickets", never)
    json.dumps(found, allow_nan=False)


def test_a_plain_callable_and_a_simulated_chat_model(unrecorded):
    for model in (never, "simulated:features"):
        fits, lacks = split(pt.advise("tickets", model, budget="200000calls"))
        assert set(fits) == SEARCH
        assert "is differentiable as 'model'" in lacks["dept"]["text"] and lacks["dept"]["source"] == "card of dept"
        assert "embeds" in lacks["knn-demos"]["text"]


def test_a_model_of_vectors_alone_takes_its_helper_from_outside():
    encoder = pt.model(never, embeds=True)
    fits, lacks = split(pt.advise("tickets", encoder))
    assert set(fits) == {"crosstune", "knn-demos", "linear-probe", "manual", "template-search"}
    assert "generates or scores as 'model'" in lacks["opro"]["text"]


def test_a_scoring_model_needs_an_optimizer():
    class Scorer:
        name, local, simulated = "scorer", False, False
        score = never

    assert "generates as 'optimizer'" in split(pt.advise("tickets", Scorer()))[1]["opro"]["text"]
    found = pt.advise("tickets", Scorer(), helpers={"optimizer": never}, budget="9000000calls")
    why = next(m for m in found["methods"] if m["method"] == "opro")["why"]
    assert "model: scores (scorer); optimizer: generates (never)" in why[0]["text"]


@needs_torch
def test_models_in_this_process(tmp_path):
    import tiny

    task = one_class(40, 20, 20)
    fits, lacks = split(pt.advise(task, f"hf:{tiny.tiny_llama(tmp_path / 'llama')}"))
    assert set(lacks) == VISION and set(fits) == set(catalogue()) - VISION
    assert set(fits) == set(split(pt.advise(task, "zoo:word-instruct"))[0])
    fits, lacks = split(pt.advise(task, "minilm"))
    assert {*SOFT, "crosstune", "knn-demos", "template-search", "full-tuning", "manual"} == set(fits)
    assert set(lacks) == (SEARCH | VISION | {"cipher", "dsp", "cloze-tuning", "list"}) - {"manual"}
    assert lacks["list"]["text"] == "is for masked and causal models; minilm is of kind encoder"


@needs_torch
def test_images_are_for_methods_that_read_them():
    task = pt.load_task("toyland:base?shots=2&validation=1&test=2")
    fits, lacks = split(pt.advise(task, "zoo:toy-clip"))
    assert set(fits) == VISION - {"difftpt"} | {"manual", "linear-probe"}
    assert "views" in lacks["difftpt"]["text"]
    assert lacks["knn-demos"]["text"] == "reads no images; field 'image' holds some"
    with pytest.raises(UsageError, match="reads no images"):
        pt.advise(task, "minilm")


@needs_torch
def test_classes_are_told_apart_by_vectors_and_heads_alone():
    answers = pt.Task([(f"say {n}", f"word number {n}") for n in range(60)], name="texts")
    assert answers.signature.output == "text"
    fits, lacks = split(pt.advise(answers, "zoo:word-instruct"))
    assert {"linear-probe", "knn-demos", "ptec", "template-search"} <= set(lacks)
    assert lacks["linear-probe"]["text"] == "tells classes apart; the task's output is text"
    assert "opro" in fits and "prompt-tuning" in fits


def test_without_labels_only_methods_without_labels():
    task = pt.Task([], [], ["one", "two"], unlabeled=[f"input {n}" for n in range(20)], classes=["a", "b"], name="bare")
    found = pt.advise(task, never)
    fits, lacks = split(found)
    assert set(fits) == {"manual", "spo"}
    assert "the task has none" in lacks["opro"]["text"]
    assert "no labels: start and found can only meet in a duel" in found["notes"][0]["text"]
    assert found["task"]["labelled"] == {"train": 0, "validation": 0, "test": 0}


def test_a_judge_needs_no_labels():
    task = pt.Task(unlabeled=[f"write about {n}" for n in range(20)], test=["one", "two"], metric="judge", name="notes")
    fits, lacks = split(pt.advise(task, never, budget="9000000calls"))
    assert "no labelled training items" in lacks["ape"]["text"]
    assert set(fits) == {"evoprompt", "gepa", "manual", "opro", "promptagent", "protegi", "spo"} and "few-shot" in lacks


def test_nothing_that_learns_fits():
    task = pt.Task([], [], ["one"], unlabeled=["two"], classes=["a", "b"], name="bare")
    with pytest.raises(UsageError) as raised:
        pt.advise(task, pt.model(never, embeds=True))
    said = str(raised.value)
    assert said.startswith("no method that learns fits task 'bare'") and "\n" not in said
    assert "spo: needs a model that generates as 'model'" in said
    assert "template-search: needs labelled training or validation items; the task has none" in said


def test_what_the_test_split_can_show():
    def said(n):
        rows = [(f"text {i}", "a" if i % 2 else "b") for i in range(n)]
        return pt.advise(pt.Task(rows[:8], rows[:4], rows, name="t"), never)["notes"][0]["text"]

    assert "52 test items are too few to show any" in said(52)
    assert "53 test items show a difference of 14.9 points" in said(53)  # 7.84 x 0.15 / 53 = 0.149 squared
    assert math.sqrt(7.84 * 0.15 / 52) > 0.15 > math.sqrt(7.84 * 0.15 / 53)
    assert f"3 points take {items_needed(0.03, 0.15):,}" in said(53)
    rows = [("text", "a"), ("other", "b")]
    assert "no test items" in pt.advise(pt.Task(rows, rows, [], name="t"), never)["notes"][0]["text"]


def test_what_a_budget_buys(unrecorded):
    full = pt.advise("tickets", never, budget="1000calls")
    spo = next(m for m in full["methods"] if m["method"] == "spo")
    assert spo["affordable"] == 1 and spo["learning"]["calls"] == 75
    assert "the budget of 1000calls covers all of it" in spo["why"][1]["text"]
    small = pt.advise("tickets", never, budget="60calls")
    spo = next(m for m in small["methods"] if m["method"] == "spo")
    # 24 of 60 calls are held back for evidence: 36 of 75 are 48 %, which is 4 of 10 rounds.
    assert "covers 48 % of it (4 of 10 rounds)" in spo["why"][1]["text"]
    assert "buys 0 of 200 steps" in split(small)[1]["opro"]["text"]
    assert "buys 0 of 289 prompts" in split(small)[1]["promptagent"]["text"]
    fits, lacks = split(pt.advise("tickets", never, budget="1calls"))
    assert set(fits) == {"few-shot", "manual"}
    assert "buys 0 of 780 metric calls" in lacks["gepa"]["text"]
    assert small["budget_given"] and not pt.advise("tickets", never)["budget_given"]


def result(method, verdict, id="one"):
    terms = [{"rule": "better(a, b)", "value": 0.125, "low": 0.05, "high": 0.2, "holds": verdict == "reproduced"}]
    said = {"says": "It is better.", "metric": "accuracy", "seeds": 5, "terms": terms, "date": "2026-01-02"}
    return {"id": f"{method}-{id}", "method": method, "verdict": verdict, **said}


def test_the_order_follows_the_budget_then_the_record_then_the_cost(monkeypatch):
    monkeypatch.setattr(advising, "recorded", dict)
    task = one_class(40, 20, 20)
    plain = split(pt.advise(task, "minilm"))[0]
    costs = {m["method"]: m["learning"] for m in pt.advise(task, "minilm")["methods"] if not m["lacks"]}
    predicted = [costs[name]["passes"] for name in plain if costs[name]]
    assert predicted == sorted(predicted) and plain[-1] == "template-search"  # it predicts nothing
    record = {
        "dept": [result("dept", "reproduced")],
        "ptec": [result("ptec", "not reproduced")],
        "lora": [result("lora", "reproduced"), result("lora", "not reproduced", "two")],
    }
    monkeypatch.setattr(advising, "recorded", lambda: record)
    found = pt.advise(task, "minilm")
    fits = split(found)[0]
    assert fits[0] == "dept" and fits[-2:] == ["ptec", "template-search"]
    assert [n for n in fits if n not in ("dept", "ptec")] == [n for n in plain if n not in ("dept", "ptec")]
    (note,) = (n for n in found["methods"][0]["why"] if n["source"].startswith("claim"))
    assert note["source"] == "claim dept-one, recorded 2026-01-02"
    assert note["text"] == ("reproduced on 5 seeds: It is better. Measured: accuracy: better(a, b): 0.125 [0.05, 0.2]")


@dataclass(frozen=True)
class Mine:
    """Try my own way."""

    rounds: int = 4
    """Rounds."""

    def plan(self, task):
        return Cost(calls=400)

    def fit(self, run):
        return run.start


@pytest.mark.usefixtures("unrecorded")
def test_a_method_from_outside_that_has_to_be_told_something():
    @pt.method("bare", family="search", learns="text", needs={"model": pt.Generates}, labels=False)
    @dataclass(frozen=True)
    class Bare(Mine):
        hints: int = field(kw_only=True)

    lacks = split(pt.advise("tickets", never, budget="200calls"))[1]
    assert lacks["bare"]["text"] == "method 'bare' needs a value for hints: --set hints=VALUE"


def test_a_method_from_outside():
    pt.method("mine", family="search", learns="text", needs={"model": pt.Generates}, labels=False)(Mine)
    found = pt.advise("tickets", never, budget="200calls")
    mine = next(m for m in found["methods"] if m["method"] == "mine")
    assert "covers 30 % of it (1 of 4 rounds)" in mine["why"][1]["text"]
    assert mine["learning"]["calls"] == 400 and mine["affordable"] == pytest.approx(0.3)


def right(prompt):
    """Answer rightly where the text holds the words of one class."""
    text = prompt.rpartition("\n")[2]
    return next(name for name, words in WORDS.items() if all(w in text.split() for w in words.split()))


def test_measured_plain_prompt_that_is_enough_is_said_and_the_test_stays_sealed(tmp_path):
    task = one_class(40, 20, 20)
    sealed = task.items_fingerprint()
    asked = []

    def model(prompt):
        asked.append(prompt)
        return right(prompt)

    found = pt.advise(task, model, measure=True)
    assert [arm["method"] for arm in found["measured"]["arms"]] == ["manual"]
    assert found["measured"]["items"] == 20 and len(asked) == 20
    texts = {i.inputs["text"] for i in task.test}
    assert not any(text in prompt for text in texts for prompt in asked)
    (note,) = (n for n in found["notes"] if n["source"].startswith("measured"))
    assert "manual is enough: 1.000" in note["text"] and "nothing is left to gain" in note["text"]
    # What counts the openings counts this as the first one.
    with using_store(None) as store:
        assert store.open_test(sealed, "this test") == 1


@needs_torch
def test_a_measured_linear_probe_is_set_beside_the_plain_prompt():
    found = pt.advise(one_class(80, 40, 400), "minilm", measure=True)
    manual, probe = found["measured"]["arms"]
    assert probe["score"]["value"] > manual["score"]["value"]
    texts = [n["text"] for n in found["notes"]]
    assert any(t.startswith("linear-probe against manual: +") for t in texts)
    bare = pt.Task([("a b", "x"), ("c", "y")], [], [("d", "x")], classes=["x", "y"], name="bare")
    with pytest.raises(UsageError, match="nothing to measure: task 'bare' has no labelled validation items"):
        pt.advise(bare, "minilm", measure=True)
