"""SPO: the card's exact invariants."""

from __future__ import annotations

import re
from itertools import cycle

import numpy as np
import pytest

import promptology as pt
from promptology.errors import TooManyMissing, UsageError
from promptology.feedback.judges import Duel, balanced, compare_outputs
from promptology.run.handles import unmetered

TASK = pt.Task(
    unlabeled=[f"question {n}" for n in range(20)],
    test=[f"unseen {n}" for n in range(5)],
    signature=pt.Signature(instruction="Answer."),
)


class Scripted:
    """Executor, optimiser and judge in one: what each says is given, what it was asked is kept."""

    local = False
    name = identity = "scripted"

    def __init__(self, judge=lambda text, n: "A", prompts=None):
        self.judge = judge
        self.prompts = iter(prompts or (f"Answer, version {n}." for n in range(10_000)))
        self.asked = []

    def kind(self, text):
        return "judge" if "<outputs_a>" in text else "optimizer" if "<outputs>" in text else "executor"

    def generate(self, requests, attempts=1):
        for n, request in enumerate(requests):
            text = request.messages[-1][1]
            kind = self.kind(text)
            self.asked.append((kind, text))
            if kind == "judge":
                answer = f"<choice>{self.judge(text, n)}</choice>"
            elif kind == "optimizer":
                answer = f"<analysis>weak</analysis><prompt>{next(self.prompts)}</prompt>"
            else:
                answer = f"out[{text.splitlines()[0]}]"
            yield n, pt.Answer(answer)


def fit(model, rounds=10, **settings):
    return pt.fit(TASK, model, pt.SPO(rounds=rounds, **settings), budget="100000calls", cache=False)


def accepted(result):
    return sum(h["values"].get("outcome") == "accepted" for h in result.history)


def sides(text):
    return [re.search(rf"<outputs_{s}>(.*?)</outputs_{s}>", text, re.S)[1] for s in "ab"]


def new_side(text):
    """Name the side that shows the challenger: the higher version."""
    version = [int((re.findall(r"version (\d+)", s) or ["-1"])[0]) for s in sides(text)]
    return "A" if version[0] > version[1] else "B"


@pytest.mark.parametrize(("rounds", "k", "n"), [(10, 3, 4), (4, 5, 2), (2, 1, 1), (1, 3, 4)])
def test_calls_follow_the_formula(rounds, k, n):
    model = Scripted()
    result = fit(model, rounds, questions=k, votes=n)
    assert result.learning.calls == k + (rounds - 1) * (1 + k + n)


def test_calls_at_the_defaults_are_75():
    model = Scripted()
    assert fit(model).learning.calls == 75
    kinds = [kind for kind, _ in model.asked][:75]
    assert [kinds.count(k) for k in ("optimizer", "executor", "judge")] == [9, 30, 36]


def test_a_judge_that_always_prefers_the_new_answers_accepts_every_round():
    result = fit(Scripted(judge=lambda text, n: new_side(text)))
    assert accepted(result) == 9
    assert result.learned.instruction == "Answer, version 8."


def test_a_judge_that_always_prefers_the_old_answers_accepts_none():
    result = fit(Scripted(judge=lambda text, n: "AB".replace(new_side(text), "")))
    assert accepted(result) == 0
    assert result.learned.instruction == "Answer."


@pytest.mark.parametrize("choice", ["A", "B"])
def test_balanced_swaps_make_a_constant_judge_accept_nothing(choice):
    result = fit(Scripted(judge=lambda text, n: choice), rounds=21)
    assert accepted(result) == 0


@pytest.mark.parametrize("choice", ["neither", "both A and B"])
def test_a_void_vote_counts_for_neither_side_and_nothing_but_void_votes_is_an_error(choice):
    result = fit(Scripted(judge=lambda text, n: "A" if n == 0 else choice), rounds=2)
    assert [h["values"].get("void") for h in result.history if h["step"] == "round"] == [3]
    assert accepted(result) == 1
    with pytest.raises(TooManyMissing, match="every one of 80 votes"):
        fit(Scripted(judge=lambda text, n: choice), rounds=21)


def test_random_swaps_accept_5_of_16_with_a_judge_that_always_says_a():
    votes = []
    rng = np.random.default_rng(0)
    judge = unmetered(Scripted(), "judge")
    items = [pt.Item("1", {"text": "q"})]
    for _ in range(40):
        duels = [Duel(items, ["new"], ["old"], [bool(c) for c in rng.random(4) < 0.5]) for _ in range(100)]
        votes += compare_outputs(judge, duels, TASK.signature, requirements="r")
    share = np.mean([v.accepted for v in votes])
    assert share == pytest.approx(5 / 16, abs=3 * np.sqrt(5 / 16 * 11 / 16 / len(votes)))
    duels = [Duel(items, ["new"], ["old"], balanced(4))] * 100
    assert not any(v.accepted for v in compare_outputs(judge, duels, TASK.signature, requirements="r"))


def test_vote_arithmetic_with_a_judge_right_seven_times_in_ten():
    rng = np.random.default_rng(1)
    items = [pt.Item("1", {"text": "q"})]
    for better, expected in ((True, 0.652), (False, 0.084)):

        def judge(text, n, better=better):
            good = "A" if ("version 1" in sides(text)[0]) == better else "B"
            return good if rng.random() < 0.7 else "AB".replace(good, "")

        handle = unmetered(Scripted(judge), "judge")
        duels = [Duel(items, ["version 1"], ["old"], balanced(4)) for _ in range(20_000)]
        votes = compare_outputs(handle, duels, TASK.signature, requirements="r")
        assert np.mean([v.accepted for v in votes]) == pytest.approx(expected, abs=0.012)


def test_optimiser_and_judge_never_see_labels_or_the_prompts_of_a_duel():
    task = pt.Task([(f"text {n}", "secret-a" if n % 2 else "secret-b") for n in range(40)])
    model = Scripted()
    pt.fit(task, model, "spo", budget="100000calls", prompt="secret-a or secret-b?")
    for kind, text in model.asked:
        if kind == "judge":
            assert "version" not in text.replace("out[", "").split("<outputs_a>")[0]
        if kind != "executor":
            shown = text.split("<outputs")[1] if "<outputs" in text else ""
            assert not re.search(r"Input \d+: secret", shown)


def test_an_unusable_proposal_is_repaired_once_then_a_failed_round():
    prompts = cycle(["", "", "Answer better."])
    result = fit(Scripted(prompts=prompts), rounds=3)
    outcomes = [h["values"].get("outcome") for h in result.history if h["step"] == "round"]
    assert outcomes == ["no usable proposal", "rejected"]
    model = Scripted(prompts=cycle(["Answer."]))
    with pytest.raises(TooManyMissing, match="was unusable"):
        fit(model, rounds=3)
    assert [k for k, _ in model.asked].count("optimizer") == 4


def test_placeholders_must_survive():
    task = TASK.with_prompt("Answer {text} now.")
    model = Scripted(prompts=cycle(["Lost it.", "Kept {text}."]), judge=lambda text, n: "A" if n % 2 == 0 else "B")
    result = pt.fit(task, model, pt.SPO(rounds=2), budget="1000calls")
    assert result.learned.instruction in ("Kept {text}.", "Answer {text} now.")
    assert any(h["step"] == "repair" for h in result.history)


def test_same_seed_same_result_and_seeds_differ():
    world = {"model": "simulated:features"}
    task = pt.Task(unlabeled=[f"My order {n} is late." for n in range(9)], signature=TASK.signature)
    runs = [pt.fit(task, world["model"], "spo", budget="500calls", seed=s, cache=False) for s in (1, 1, 2, 3)]
    assert runs[0].learned.same_as(runs[1].learned)
    assert len({r.learned.instruction for r in runs}) > 1


def test_settings_are_checked():
    with pytest.raises(UsageError, match="balanced or random"):
        pt.fit(TASK, Scripted(), "spo", settings={"swaps": "never"})
    with pytest.raises(UsageError, match="no setting 'round'"):
        pt.fit(TASK, Scripted(), "spo", settings={"round": 3})
    with pytest.raises(UsageError, match="takes a int"):
        pt.fit(TASK, Scripted(), "spo", settings={"rounds": "many"})
    with pytest.raises(UsageError, match="inputs outside its test split"):
        pt.fit(pt.Task(test=["a"], signature=TASK.signature), Scripted(), "spo", budget="50calls")


def test_with_memory_what_lost_is_asked_for_once_more_and_the_optimizer_hears_how_it_lost():
    class Remembering(Scripted):
        """Proposes the same until it is told that this was tried."""

        def generate(self, requests, attempts=1):
            for n, outcome in super().generate(requests, attempts):
                told = "repeats a prompt" in requests[n].messages[-1][1]
                yield n, pt.Answer("<prompt>Answer, version 9.</prompt>") if told else outcome

    always_old = {"judge": lambda text, n: "AB".replace(new_side(text), "")}
    model = Remembering(prompts=cycle(["Answer, version 5.", "answer: VERSION 5"]), **always_old)
    result = fit(model, rounds=3, memory=True)
    asked = [text for kind, text in model.asked if kind == "optimizer"]
    assert (
        len(asked) == 3 and "it repeats a prompt that was tried before; its outputs won 0 votes and lost 4." in asked[2]
    )
    assert [h["values"]["outcome"] for h in result.history if h["step"] == "round"] == ["rejected", "rejected"]
    plain = Scripted(prompts=cycle(["Answer, version 5.", "answer: VERSION 5"]), **always_old)
    fit(plain, rounds=3)
    assert [kind for kind, _ in plain.asked].count("optimizer") == 2


def test_the_lineage_says_what_the_optimizer_was_shown():
    result = fit(Scripted(), rounds=3)
    told = [node["why"] for node in result.lineage["nodes"][1:]]
    assert len(told) == 2 and all(re.match(r"Input 1: question \d+\nOutput 1: out\[Answer", text) for text in told)
