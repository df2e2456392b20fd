"""Guards in whole runs: noise within the budget, its formula, lengths, openings, equal runs after a kill."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import promptology as pt
from promptology.data.items import digest
from promptology.errors import TooManyMissing, UsageError
from promptology.evidence.fitting import run_spec
from promptology.evidence.guards import Guards, Noise, Size, floor_of, lines, noise_of, too_long
from promptology.evidence.luck import Selection
from promptology.evidence.measuring import measure
from promptology.methods.registry import create
from promptology.models.access import Answer
from promptology.predict import bind
from promptology.prompts import Learned, Readout, Text
from promptology.prompts.start import start_from
from promptology.run.budget import Budget
from promptology.run.handles import Handle
from promptology.run.lengths import length_of
from promptology.run.meter import Meter
from promptology.run.store import memory_store, open_store

LOOK = "<prompt>Look at the thing, then name its colour.</prompt>"
THINGS = {"rose": "red", "grass": "green", "sky": "blue"}
METHOD = {"candidates": 2, "shots": 0, "finalists": 1}


class Wavering:
    """Right where the prompt says "thing", else always red; unreadable where a second sample meets a mood."""

    simulated = False

    def __init__(self, *moods, local=False, stop_at=None):
        self.moods, self.local, self.stop_at, self.asked = moods, local, stop_at, []
        self.name = self.identity = f"{type(self).__name__} {moods}"

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            if self.stop_at is not None and len(self.asked) >= self.stop_at:
                raise KeyboardInterrupt
            self.asked.append(request)
            yield n, Answer(self.answer(request), 1, 1, False)

    def answer(self, request):
        text = request.messages[-1][1]
        if "<prompt>" in text:
            return LOOK
        question = text.rstrip().splitlines()[-1]
        if request.sample and question.endswith(self.moods):
            return "blue or red"
        return next(c for t, c in THINGS.items() if t in question) if "thing" in text else "red"

    @property
    def again(self):
        return [r for r in self.asked if r.sample and "<prompt>" not in r.messages[-1][1]]


def fit(task, model, **options):
    return pt.fit(task, model, "random-search", **{"budget": "1000calls", "settings": METHOD, **options})


def test_the_same_prompt_scored_twice(colours):
    model = Wavering("1", "2")
    result = fit(colours, model, noise_floor=10)
    noise, items = result.guards.noise, [i for i in colours.open_test() if i.id in result.evidence.found_measured.ids]
    assert (noise.items, noise.n, len(model.again), len(items)) == (10, 24, 10, 24)
    moody = sum(r.messages[-1][1].endswith(("1", "2")) for r in model.again)
    assert 0 < moody < 10
    assert noise.changed == moody / 10
    assert noise.difference == pytest.approx(-moody / 10), "found is right wherever the second answer is unreadable"
    assert noise.floor == pytest.approx(1.96 * math.sqrt(moody / 10 / 24))
    arm = result.document["arms"][0]
    assert arm["guards"]["noise"]["changed"] == noise.changed
    assert lines(arm["guards"])[0].startswith(f"noise floor: asked again, {10 * moody}% of 10 items scored differently")
    assert json.dumps(arm["guards"])


def test_at_most_all_measured_items_are_asked_again(colours):
    model = Wavering()
    assert fit(colours, model, noise_floor=500).guards.noise.items == 24
    assert len(model.again) == 24


def test_zero_by_construction_spends_nothing(colours):
    model = Wavering("1", local=True)
    result = fit(colours, model, noise_floor=10, budget="1000passes")
    assert (result.guards.noise.changed, result.guards.noise.difference, model.again) == (0.0, 0.0, [])
    assert "zero by construction" in lines(result.guards.to_json())[0]
    drawn = fit(colours, Wavering("1", local=True), noise_floor=10, sampling={"model": {"temperature": 0.5}})
    assert drawn.guards.noise.items == 10, "with a temperature a local model draws too"


@pytest.mark.parametrize("calls", [60, 90, 120, 400])
def test_the_budget_holds_and_leaves_room(colours, calls):
    model = Wavering("1")
    result = fit(colours, model, noise_floor=24, budget=f"{calls}calls")
    assert len(model.asked) <= calls
    assert result.charged.calls <= calls
    assert result.guards.noise.items > 0
    # In proportion: as large a part of the second answers as of the first.
    assert result.guards.noise.items >= 0.5 * 24 * result.evidence.n / 24
    if calls == 400:
        assert (result.guards.noise.items, result.evidence.n) == (24, 24)


def test_a_budget_without_room_says_so(colours):
    meter = Meter(memory_store(), budget=Budget.parse("24calls"))
    predictor = bind(start_from(colours.signature, ("generates",)), Handle(meter, "model", Wavering()))
    items = list(colours.open_test())
    (first,) = measure(meter, [predictor], items)
    noise = noise_of(meter, predictor, items[:5], first, colours.metric, None)
    assert (first.n, noise.items, noise.changed, meter.charged.calls) == (24, 0, None, 24)
    assert lines(Guards(noise).to_json()) == ["noise floor not measured: the budget covers no second answer"]


def test_lines_of_noise():
    none = Guards(Noise(20, 0.0, 0.0, 0.0, 100))
    # 0.05 ** (1 / 20) = 0.861
    said = "noise floor: asked again, none of 20 items scored differently (95 % limit: 14% of items may)"
    assert lines(none.to_json()) == [said]
    some = Guards(Noise(20, 0.25, -0.05, 0.098, 100))
    assert lines(some.to_json()) == [
        "noise floor: asked again, 25% of 20 items scored differently (mean -0.050); "
        "a difference below 0.098 on 100 items may be noise"
    ]
    best = Guards(selection=Selection(100, 50, 0.85, 0.143, 0.707, 0.702))
    assert lines(best.to_json()) == [
        "search's best 0.85 on 50 items, best of 100: about 0.14 of that is luck; corrected 0.71; sealed test 0.70"
    ]
    sure = Guards(selection=Selection(9, 50, 0.8, 0.004, 0.796))
    assert "best of 9: hardly any of that is luck; corrected 0.80" in lines(sure.to_json())[0]
    assert lines(Guards().to_json()) == []


def test_the_floor_holds_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    chance = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], 300)  # of being right, item by item: some are sure, some waver

    def scores():
        return (rng.random(300) < chance).astype(float)

    passed = [abs(np.mean(scores() - scores())) <= floor_of(scores()[:150] - scores()[:150], 300) for _ in range(2000)]
    assert np.mean(passed) == pytest.approx(0.95, abs=0.02)
    assert floor_of(np.array([1.0, 0, -1, 0]), 50) == pytest.approx(1.96 * 0.1)


def test_a_difference_below_the_noise_is_called_so(colours):
    # The start is right on two of three; what was found on one item more.
    def nearly(prompt):
        question = prompt.rstrip().splitlines()[-1]
        if "<prompt>" in prompt:
            return LOOK
        right = next(c for t, c in THINGS.items() if t in question)
        return right if not question.endswith("7") or "thing" in prompt else "?"

    class Nearly(Wavering):
        def answer(self, request):
            question = request.messages[-1][1].rstrip().splitlines()[-1]
            return "?" if request.sample and question[-1] in "0123" else nearly(request.messages[-1][1])

    result = fit(colours, Nearly(), noise_floor=24)
    noise, pair = result.guards.noise, result.evidence.difference
    assert 0 < pair.difference < noise.floor
    said = f"the difference of {pair.difference:+.3f} is below the noise floor: the same prompt asked twice on 24 items"
    assert [w for w in result.warnings if w.startswith(said)]
    quiet = fit(colours, Wavering("1"), noise_floor=24)
    assert quiet.evidence.verdict == "better"
    assert not [w for w in quiet.warnings if "noise" in w]


def test_a_second_opinion_of_the_judge(colours):
    asked = []

    def judge(prompt):
        asked.append(prompt)
        return f"<grade>{5 if asked.count(prompt) == 1 else 3}</grade>"

    model = Wavering()
    task = colours.with_metric("judge")
    result = pt.evaluate(task, model, helpers={"judge": judge}, noise_floor=6)
    assert (result.guards.noise.changed, result.guards.noise.difference) == (1.0, -0.5)
    assert (len(model.again), len(asked), result.charged.calls) == (6, 30, 60)
    local = pt.evaluate(task, Wavering(local=True), helpers={"judge": judge}, noise_floor=6, cache=False)
    assert local.guards.noise.items == 6, "a judge far away may change its mind about the same answers"


def test_a_duel_has_no_score_of_one_prompt():
    task = pt.load_task([f"question {n}" for n in range(30)], label="", instruction="Answer.")

    def model(prompt):
        if "<prompt>" in prompt:
            return "<prompt>Answer well.</prompt>"
        return "good answer" if "well" in prompt else "answer"

    def judge(prompt):
        first = prompt.partition("<outputs_a>")[2].partition("</outputs_a>")[0]
        return f"<choice>{'A' if 'good' in first else 'B'}</choice>"

    result = pt.fit(task, model, "spo", helpers={"judge": judge}, noise_floor=5, budget="400calls")
    assert (result.evidence.protocol, result.evidence.verdict) == ("duel", "better")
    assert lines(result.guards.to_json()) == ["noise floor not measured: a duel gives no score of one prompt"]


def test_guards_are_equal_after_a_kill(colours, tmp_path):
    options = {"noise_floor": 12, "max_prompt_tokens": 60, "budget": "200calls"}
    whole = fit(colours, Wavering("1", "3"), store=tmp_path / "whole", **options)
    last = whole.charged.calls - 5  # among the second answers
    with pytest.raises(KeyboardInterrupt):
        fit(colours, Wavering("1", "3", stop_at=last), store=tmp_path / "killed", **options)
    rest = Wavering("1", "3")
    result = fit(colours, rest, store=tmp_path / "killed", **options)
    assert result.guards == whole.guards
    assert result.warnings == whole.warnings
    assert result.evidence.found == whole.evidence.found
    assert len(rest.asked) < 12
    assert whole.guards.selection.candidates == 2
    assert whole.guards.noise.items == 12


def test_ids_of_runs_without_the_new_settings_stay(colours):
    card, chosen = type(create("manual")).card, create("manual")

    def id_of(**options):
        from promptology.api.common import settings_of

        spec = run_spec(colours, card, chosen, {}, settings_of("10calls", **options))
        return digest(spec), spec

    plain, spec = id_of()
    assert not {"noise_floor", "max_prompt_tokens", "readout"} & spec.keys()
    assert id_of(noise_floor=0, max_prompt_tokens=0)[0] == plain
    assert len({plain, id_of(noise_floor=1)[0], id_of(max_prompt_tokens=1)[0]}) == 3


@pytest.mark.parametrize("name", ["noise_floor", "max_prompt_tokens"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "3"])
def test_what_is_no_number_of_items_or_tokens(colours, name, value):
    with pytest.raises(UsageError, match=f"{name} is .*give a whole number"):
        fit(colours, Wavering(), **{name: value})


def test_a_start_that_is_too_long_costs_nothing(colours, tmp_path):
    model, long = Wavering(), "Name the colour, please. " * 40
    with pytest.raises(UsageError, match=r"the prompt has about \d+ tokens.*max_prompt_tokens is 100"):
        fit(colours, model, prompt=long, max_prompt_tokens=100, store=tmp_path / "store")
    assert not model.asked
    store = open_store(tmp_path / "store")
    assert list(store.runs()) == []
    store.close()
    with pytest.raises(UsageError, match="max_prompt_tokens is 100"):
        pt.evaluate(colours, model, long, max_prompt_tokens=100)
    assert not model.asked


class Longer:
    """Returns a prompt of its own making that no proposal went through."""

    def fit(self, run):
        return run.start.with_instruction("thing " * 300)


def test_no_method_returns_a_longer_prompt(colours, monkeypatch):
    method = create("manual")
    monkeypatch.setattr(type(method), "fit", lambda self, run: Longer().fit(run))
    result = pt.fit(colours, Wavering(), method, max_prompt_tokens=60, budget="100calls")
    assert result.learned.same_as(result.start)
    tokens = length_of(Longer().fit(result), None).tokens
    assert f"what the search found has {tokens} tokens, 60 are allowed: the start was kept" in result.warnings
    free = pt.fit(colours, Wavering(), method, budget="100calls")
    assert free.learned.instruction.startswith("thing thing")
    assert free.guards.length == Size(tokens, length_of(free.start, None).tokens, False)


def test_every_proposal_too_long_is_an_error_that_says_why(colours):
    short = length_of(start_from(colours.with_prompt("Colour?").signature, ("generates",)), None).tokens
    with pytest.raises(TooManyMissing, match=f"hold no new prompt of at most {short} tokens"):
        fit(colours, Wavering(), prompt="Colour?", max_prompt_tokens=short)
    result = fit(colours, Wavering(), prompt="Colour?", max_prompt_tokens=short + 20)
    assert result.learned.instruction == LOOK[8:-9]


def test_warnings_about_length():
    class Model:
        context = None

    assert too_long(Size(501, 50, True), Model) == (
        "the prompt has 501 tokens, the start 50: every prediction pays for them; --max-prompt-tokens N sets a limit"
    )
    assert too_long(Size(501, 51, False), Model) == ""
    assert too_long(Size(500, 1, True), Model) == ""
    Model.context = 512
    assert too_long(Size(256, 200, True), Model) == ""
    assert too_long(Size(257, 200, False), Model) == "the prompt takes about 257 of the 512 tokens that the model reads"


def test_a_copied_item_is_a_warning_of_the_run(colours):
    task = pt.Task(
        [(f"{t} number {n} as told by aunt {t} to uncle {n}", c) for t, c in THINGS.items() for n in range(20)]
    )
    copied = task.train[0].inputs["text"]

    class Copying(Wavering):
        def answer(self, request):
            said = super().answer(request)
            return f"<prompt>Name the colour of the thing, say of {copied}.</prompt>" if said == LOOK else said

    result = fit(task, Copying())
    assert result.guards.leak.items == 1
    assert [
        w for w in result.warnings if w.startswith("the prompt shares 8 words or more in a row with 1 training item")
    ]
    assert result.document["arms"][0]["guards"]["leak"]["examples"] == [copied]
    judged = pt.evaluate(task, Copying(), result.learned)
    assert [w for w in judged.warnings if "with 1 training item" in w]


def test_openings_are_counted_by_items_and_said(colours):
    for n in range(5):
        prompt = Learned((Text(f"wording {n}"), Readout("answer")), colours.signature)
        assert not pt.evaluate(colours, Wavering(), prompt).warnings
    other = pt.Task([(f"{t} {n}", c) for t, c in THINGS.items() for n in range(20)], name="colours")
    assert not fit(other, Wavering()).guards.warnings, "another task's items are another test split"
    said = "this test split has been opened by {} runs: treat small differences with care"
    result = fit(colours, Wavering())
    assert said.format(6) in result.warnings
    assert said.format(6) in result.document["arms"][0]["warnings"]
    seventh = pt.evaluate(colours.with_metric("macro-f1"), Wavering(), "wording")
    assert seventh.warnings == (said.format(7),)
    assert seventh.document["warnings"] == [said.format(7)]


def test_several_seeds_keep_guards_per_seed(colours):
    both = pt.compare(
        colours, Wavering("1"), ["random-search"], settings={"random-search": METHOD}, seeds=2, noise_floor=5
    )
    (arm,) = both.document["arms"]
    assert arm["guards"] == arm["seeds"][0]["guards"]
    assert all(row["guards"]["noise"]["items"] == 5 for row in arm["seeds"])
