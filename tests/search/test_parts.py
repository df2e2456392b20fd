"""Scoring, halving, proposals, demonstrations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import promptology as pt
from promptology.prompts import Learned, Readout, Text
from promptology.run.budget import Budget
from promptology.run.engine import Run, learn
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import memory_store
from promptology.search.demonstrations import draw_demonstrations
from promptology.search.halving import sequential_halving
from promptology.search.proposing import distinct, propose
from promptology.search.scoring import Scores, score


def make_run(task, budget=None, limits=None, **models):
    meter = Meter(memory_store(), budget=Budget.parse(budget), limits=limits)
    return Run(task, {role: Handle(meter, role, pt.model(m)) for role, m in models.items()}, meter)


def skilled(prompt):
    """Answer right on the share of items that the prompt states: "skill 7" is right where n % 10 < 7."""
    skill = int(prompt.split("skill ")[1].split()[0])
    n = int(prompt.rstrip().split()[-1])
    right = "even" if n % 2 == 0 else "odd"
    return right if (n * 7) % 10 < skill else {"even": "odd", "odd": "even"}[right]


@pytest.fixture
def numbers():
    return pt.Task([(f"number {n}", "odd" if n % 2 else "even") for n in range(200)])


def candidate(task, skill):
    return Learned((Text(f"odd or even? skill {skill} ."), Readout("answer")), task.signature)


def test_scores_are_paired_and_missing_is_not_wrong():
    values = np.array([[1, 1, np.nan, 0], [1, 0, 0, np.nan]])
    scores = Scores(values)
    assert scores.means.tolist() == [1.0, 0.5]
    assert scores.order == [0, 1]
    nothing = Scores(np.full((2, 3), np.nan))
    assert np.isnan(nothing.means).all()
    apart = Scores(np.array([[1, np.nan], [np.nan, 0]]))
    assert apart.means.tolist() == [1.0, 0.0]
    silent = Scores(np.array([[1, 1, np.nan], [np.nan] * 3, [1, 0, 0]]))
    np.testing.assert_array_equal(silent.means, [1.0, np.nan, 0.5])
    assert silent.order == [0, 2, 1]


def test_score_equals_one_by_one(numbers):
    run = make_run(numbers, model=skilled)
    candidates = [candidate(numbers, s) for s in (3, 9)]
    together = score(run, candidates, numbers.train).values
    alone = np.vstack([score(make_run(numbers, model=skilled), [c], numbers.train).values for c in candidates])
    np.testing.assert_array_equal(together, alone)
    assert score(run, [], numbers.train).values.shape == (0, len(numbers.train))


def test_a_failed_call_is_missing_in_the_scores(numbers):
    def sometimes(prompt):
        if prompt.endswith("4"):
            raise OSError("gone")
        return skilled(prompt)

    run = make_run(numbers, model=sometimes, limits=Limits(attempts=1, missing=1.0))
    values = score(run, [candidate(numbers, 10)], numbers.train).values[0]
    gone = [i.inputs["text"].endswith("4") for i in numbers.train]
    np.testing.assert_array_equal(np.isnan(values), gone)
    assert (values[~np.isnan(values)] == 1).all()


def test_halving_finds_the_best_within_its_evaluations(numbers):
    run = make_run(numbers, model=skilled)
    candidates = [candidate(numbers, s) for s in (2, 9, 4, 5, 3, 6, 1, 7)]
    race = sequential_halving(run, candidates, numbers.train, evaluations=8 * 30)
    best, mean = race.best, race.means[0]
    assert best.same_as(candidates[1])
    assert mean == pytest.approx(0.9, abs=0.08)
    rounds = [h["values"] for h in run.history]
    assert [r["candidates"] for r in rounds] == [8, 4, 2]
    assert [r["items"] for r in rounds] == sorted(r["items"] for r in rounds)
    assert [r["items"] for r in rounds] == [10, 30, 70]
    assert race.evaluations == 8 * 10 + 4 * 20 + 2 * 40 == 8 * 30
    assert run.kept.same_as(best)


def test_each_proposal_has_its_own_parent(numbers):
    texts = iter(["Rewrite {text} well.", "No place for it.", "Now {text} again.", "Another."])
    run = make_run(numbers, model=skilled, optimizer=lambda prompt: f"<prompt>{next(texts)}</prompt>")
    first, second = candidate(numbers, 5).with_instruction("Say {text}."), candidate(numbers, 5)
    found = propose(run, ["one", "two", "three"], [first, first, second])
    # The second one lost the place of the input, which its parent has, and was asked for again.
    assert [c.instruction if c else None for c in found] == ["Rewrite {text} well.", None, "Now {text} again."]
    nodes = {n["text"]: n for n in run.lineage.to_json(run.start)["nodes"]}
    assert nodes["Rewrite {text} well."]["parent"] == nodes[first.instruction]["number"]
    assert nodes["Now {text} again."]["parent"] == nodes[second.instruction]["number"]


def test_distinct_proposals():
    task = pt.Task([("number 1", "odd")])
    a, b, c = (candidate(task, 1).with_instruction(t) for t in ("Say it.", "say  IT.", "Say more."))
    assert distinct([a, None, b, c]) == [a, c]


def test_the_engine_returns_the_last_kept_when_the_budget_ends(numbers):
    class Search:
        def fit(self, run):
            return sequential_halving(run, [candidate(numbers, s) for s in (2, 9, 4, 5)], numbers.train, 4 * 60).best

    run = make_run(numbers, "130calls", model=skilled)
    assert learn(Search(), run) is run.kept
    nothing = make_run(numbers, "5calls", model=skilled)
    assert learn(Search(), nothing) is nothing.start


def test_proposals_are_fresh_samples_and_known_ones_are_refused(numbers):
    asked = []

    def optimizer(prompt):
        asked.append(prompt)
        return "<prompt>Known one.</prompt>" if len(asked) == 1 else f"<prompt>New {len(asked)}.</prompt>"

    run = make_run(numbers, model=skilled, optimizer=optimizer)
    parent = candidate(numbers, 5)
    first = propose(run, ["improve this"], parent, known=["known  ONE."])
    assert first[0].instruction == "New 2."
    assert "repeats a prompt" in asked[1]
    second = propose(run, ["improve this"], parent)
    assert second[0].instruction == "New 3."


def test_demonstrations_are_balanced_and_never_more_than_there_are(numbers):
    rng = np.random.default_rng(0)
    shown = draw_demonstrations(numbers.train, 7, rng)
    counts = Counter(e.output for e in shown.examples)
    assert sorted(counts.values()) == [3, 4]
    assert len(draw_demonstrations(numbers.train[:3], 10, rng).examples) == 3
    assert len({e.inputs["text"] for e in shown.examples}) == 7
