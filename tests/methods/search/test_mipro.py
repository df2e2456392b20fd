"""MIPRO: trials, mini-batches and full evaluations, by hand."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from skilled import TASK, Skilled, block, fit, steps

import promptology as pt
from promptology.errors import UsageError
from promptology.methods.search.mipro import TIPS, suggest
from promptology.prompts import Demonstrations
from promptology.search.boards import Board

needs_optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed: extra optuna")


def mipro(**settings):
    return pt.MIPRO(**{"candidates": 4, "shots": 2, "items": 40, "minibatch": 10, "finalists": 1} | settings)


@pytest.mark.parametrize(
    ("candidates", "items", "trials", "scores"), [(6, 100, 10, 650), (12, 300, 18, 1830), (18, 1000, 27, 6945)]
)
def test_trials_and_scores_follow_the_papers_formula(candidates, items, trials, scores):
    method = pt.MIPRO(candidates=candidates, items=items, finalists=1)
    assert method.total == trials and method.instructions == candidates // 2
    rows = [(f"v {n}", "a" if n % 2 else "b") for n in range(1200)]
    task = pt.Task(rows[:100], rows[:1000], rows[:4])
    # A full evaluation takes over what its combination scored on a mini-batch; the paper's code pays for both.
    full = trials // 5
    assert scores == 35 * trials + items * (full + 1)
    asked = 4 * candidates + 1 + candidates // 2 - 1
    assert method.plan(task).calls == scores - 35 * full + asked


def test_without_demonstrations_there_is_one_thing_to_choose():
    assert (pt.MIPRO(shots=0).total, pt.MIPRO(shots=0).instructions) == (9, 6)
    assert pt.MIPRO(shots=0, candidates=12).total == 18
    assert pt.MIPRO(trials=7).total == 7


def test_without_optuna_one_line_names_the_extra_and_nothing_is_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    model = Skilled()
    with pytest.raises(UsageError) as raised:
        fit(model, mipro())
    assert str(raised.value) == 'method mipro needs optuna: pip install "promptology[optuna]"'
    assert not model.asked and not model.answered


def test_settings_are_checked():
    for settings, message in (
        ({"candidates": 3}, "candidates is at least 4"),
        ({"trials": 4}, "4 trials end before the first full evaluation, after 5"),
        ({"minibatch": 0}, "at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            pt.fit(TASK, Skilled(), "mipro", settings=settings)


@needs_optuna
def test_mini_batches_and_full_evaluations_one_by_one():
    model = Skilled()
    task = pt.Task(
        TASK.train, TASK.validation, TASK.open_test(), signature=replace(TASK.signature, instruction="Skill 60.")
    )
    result = fit(model, mipro(trials=10, shots=3), task)
    trials = steps(result, "trial")
    seen = [(b, q) for b, (_, q, _) in zip(model.before, model.answered, strict=True) if q.startswith("validation")]
    start, order = seen[0][0], [q for _, q in seen[:40]]
    assert {b for b, _ in seen[:40]} == {start} and len(set(order)) == 40
    done, texts, right, at = {(0, 0): 40}, {}, {}, 40
    for trial in trials:
        key = trial["instruction"], trial["demonstrations"]
        # What was scored on everything is not tried again.
        batches = [(key, 10)]
        assert done.setdefault(key, 0) < 40
        right.setdefault(key, []).append(trial["score"])
        if trial["t"] % 5 == 0:
            left = [k for k in done if done[k] + 10 * (k == key) < 40]
            batches.append((max(left, key=lambda k: sum(right[k]) / len(right[k])), 40))
        for k, most in batches:
            count = min(most, 40 - done[k])
            some = seen[at : at + count]
            # Every combination meets the items in the same order.
            assert [q for _, q in some] == order[done[k] : done[k] + count]
            assert {b for b, _ in some} == {texts.setdefault(k, some[0][0])}
            done[k], at = done[k] + count, at + count
    assert len(set(texts.values())) == len(texts)
    # All 12 items for bootstrapping, one look at the data, one proposal.
    assert result.learning.calls == 12 + 1 + 1 + at
    assert (model.described, len(model.asked)) == (1, 1)


@needs_optuna
def test_only_what_was_scored_on_everything_can_win():
    model = Skilled(["Skill 90. A", "Skill 60. B", "Skill 50. C"])
    result = fit(model, mipro(shots=0, trials=10))
    assert result.learned.instruction == "Skill 90. A" and result.learned.method == "mipro"
    # Everything is scored on all items in the end: then nothing is left to try, and the search ends.
    result = fit(Skilled(["Skill 90. A", "Skill 60. B", "Skill 50. C"]), mipro(shots=0, trials=40))
    assert len(steps(result, "trial")) < 3 * 4 and result.learning.calls == 1 + 3 + 4 * 40
    worse = fit(Skilled([f"Skill {n}. Worse" for n in (5, 3, 1)]), mipro(shots=0, trials=10))
    assert worse.learned.instruction == "Skill 20."


@needs_optuna
def test_a_validation_split_smaller_than_a_mini_batch():
    small = pt.Task(TASK.train, TASK.validation[:6], TASK.open_test(), signature=TASK.signature)
    model, method = Skilled(), mipro(trials=5)
    result = fit(model, method, small)
    assert len(steps(result, "trial")) == 5
    assert result.learning.calls == method.plan(small).calls == 8 + 1 + 1 + 6 * (1 + 5)


@needs_optuna
def test_proposals_are_grounded():
    model = Skilled()
    fit(model, mipro(candidates=8, shots=3, trials=5))
    right = {i.inputs["text"]: i.target for i in TASK.train}
    assert len(model.asked) == 3 and {temperature for _, temperature in model.asked} == {1.0}
    for text, _ in model.asked:
        assert block(text, "prompt") == "Skill 20." and block(text, "data") == "Numbered items."
        pairs = re.findall(r"^Input: (.+)\nOutput: (.+)$", block(text, "examples"), re.M)
        assert 1 <= len(pairs) <= 3 and all(right[one] == two for one, two in pairs)
        assert sum(tip in text for tip in TIPS) == 1


@needs_optuna
def test_demonstrations_are_learned_and_the_best_few_are_scored_again():
    model = Skilled(["Skill 95. A"])
    result = fit(model, mipro(items=20, finalists=3, trials=10))
    (again,) = steps(result, "rescored")
    assert (again["candidates"], again["items"]) == (3, 20)
    assert result.learned.instruction == "Skill 95. A"
    shown = result.learned.part(Demonstrations)
    right = {i.inputs["text"]: i.target for i in TASK.train}
    assert shown is None or all(e.output == right[e.inputs["text"]] for e in shown.examples)


@needs_optuna
def test_same_seed_same_result_and_seeds_differ():
    def trials(seed):
        return [(t["instruction"], t["demonstrations"]) for t in steps(fit(Skilled(), mipro(), seed=seed), "trial")]

    assert trials(1) == trials(1)
    assert len({tuple(trials(seed)) for seed in (1, 2, 3)}) == 3


def test_what_was_scored_on_everything_is_drawn_again():
    class Stubborn:
        asked = 0

        def ask(self):
            self.asked += 1
            return (0, 0) if self.asked < after else (1, 0)

    board = Board(None, dict.fromkeys([(0, 0), (1, 0), (1, 1)]), [1, 2])
    board.scores[0, 0] = [1.0, 0.0]
    after = 3
    assert suggest(Stubborn(), board, np.random.default_rng(0)) == (1, 0)
    after = 10**9
    # TPE may insist: then one of those that are left is drawn.
    drawn = {suggest(Stubborn(), board, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {(1, 0), (1, 1)}
    board.scores |= {(1, 0): [0.0, 0.0], (1, 1): [1.0, 1.0]}
    assert suggest(Stubborn(), board, np.random.default_rng(0)) is None
