"""Races by upper confidence bounds: effects by hand, who is chosen at what error, what is spent, missing answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import promptology as pt
from promptology.errors import UsageError
from promptology.prompts import Learned, Readout, Text
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import memory_store
from promptology.search.bounds import additive, bounds, climb, ucb_race
from promptology.search.racing import race

NAN = np.nan


def scorer(values):
    return lambda alive, columns: values[np.ix_(alive, list(columns))]


def world(seed, skills, items=120, graded=False):
    """Scores with a difficulty that all candidates share; means equal the skills."""
    rng = np.random.default_rng(seed)
    skills = np.asarray(skills)[:, None]
    right = rng.random(items) < skills
    values = np.where(rng.random(right.shape) < 0.5, rng.random(right.shape) < skills, right).astype(float)
    return 0.5 * values + 0.5 * rng.random(right.shape) if graded else values


def test_effects_of_a_whole_table_are_means_and_holes_do_not_move_them():
    values = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    effects, difficulty = additive(values)
    assert effects == pytest.approx([0.25, -0.25])
    assert difficulty == pytest.approx([0.5, 0.0, 1.0, 0.5])
    # Candidate effects 0.3, 0.1, -0.4 and hard last items, which the weak ones were never asked.
    exact = np.array([0.3, 0.1, -0.4])[:, None] + np.array([0.6, 0.5, 0.4, -0.3, -0.3])
    exact[1, 3] = exact[1, 4] = exact[2, 4] = NAN
    effects, _ = additive(exact)
    assert effects - effects[0] == pytest.approx([0.0, -0.2, -0.7])
    assert np.nanmean(exact, axis=1)[1] > np.nanmean(exact, axis=1)[0]  # plain means would mislead


def test_bounds_by_hand():
    values = np.array([[1.0, 0.0, NAN, NAN], [0.0, 1.0, NAN, NAN]])
    found = bounds(values, z=2.0)
    # Effects are 0, residuals are all 0.5: variance (1 + 4 / 4) / (4 - 2 - 2 + 1) * 2 / 1, error 2 sqrt(4 (1/2 - 1/4)).
    assert found.upper == pytest.approx([2.0, 2.0]) and found.lower == pytest.approx([-2.0, -2.0])
    closed = bounds(np.array([[1.0, 0.0], [0.0, 0.0]]), z=2.0)
    assert closed.upper == pytest.approx([0.25, -0.25]) and closed.lower == pytest.approx([0.25, -0.25])
    nothing = bounds(np.array([[1.0, NAN], [NAN, NAN]]), z=2.0)
    assert nothing.upper[1] == -np.inf and np.isfinite(nothing.upper[0])


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize(("count", "skill"), [(2, 0.7), (6, 0.7), (6, 0.97), (6, 0.05)])
def test_the_choice_of_full_evaluation_is_missed_no_more_often_than_alpha(graded, count, skill):
    alpha, repeats, missed = 0.2, 60, 0
    for seed in range(repeats):
        values = world(seed, [skill] * count, graded=graded)
        end = climb(scorer(values), count, 120, 10, alpha)
        missed += values[end.survivors[0]].mean() < values.mean(axis=1).max() - 1e-12
    assert missed <= stats.binom.isf(1e-6, repeats, alpha)


def test_without_closing_in_on_all_looks_it_would_be_missed_more_often():
    """The bar above can be missed: the best mean of the first ten items is often not the best of all."""
    repeats, missed = 60, 0
    for seed in range(repeats):
        values = world(seed, [0.7] * 6)
        missed += values[np.argmax(values[:, :10].mean(axis=1))].mean() < values.mean(axis=1).max() - 1e-12
    assert missed > stats.binom.isf(1e-6, repeats, 0.2)


def test_it_spends_less_than_the_exact_race_and_finds_the_same():
    skills = np.clip(np.random.default_rng(0).normal(0.7, 0.06, 16), 0, 1)
    spent = {"bounds": [], "paired": []}
    for seed in range(12):
        values = world(seed, skills, 200)
        by_bounds, paired = climb(scorer(values), 16, 200), race(scorer(values), 16, 200)
        spent["bounds"].append(by_bounds.evaluations)
        spent["paired"].append(paired.evaluations)
        assert by_bounds.evaluations == int((~np.isnan(by_bounds.values)).sum())
        assert all(not np.isnan(by_bounds.values[i]).any() for i in by_bounds.survivors)
    assert np.mean(spent["bounds"]) < 0.7 * np.mean(spent["paired"])


def test_one_candidate_ties_and_sense():
    assert climb(scorer(np.ones((1, 25))), 1, 25).survivors == [0]
    end = climb(scorer(np.ones((3, 25))), 3, 25)
    assert end.survivors[0] == 0 and set(end.survivors) <= {0, 1, 2}
    for arguments in ((0, 5), (2, 0), (2, 5, 0), (2, 5, 10, 0.0), (2, 5, 10, 1.0)):
        with pytest.raises(UsageError, match="a race needs"):
            climb(scorer(np.ones((2, 5))), *arguments)


def test_missing_answers():
    values = world(0, [0.9, 0.5, 0.5], 60)
    values[0, ::3] = NAN  # the best one, without a third of its answers
    values[2] = NAN
    end = climb(scorer(values), 3, 60)
    assert end.survivors[0] == 0 and 2 not in end.survivors
    assert climb(scorer(np.full((2, 30), NAN)), 2, 30).survivors == [0, 1]


TASK = pt.Task(
    [(f"train {n}", "yes" if n % 2 else "no") for n in range(10)],
    [(f"item {n}", "yes" if n % 2 else "no") for n in range(120)],
    [("test 0", "no"), ("test 1", "yes")],
)


def test_a_race_of_prompts_is_the_race_of_their_scores_and_repeats():
    values = world(4, [0.5, 0.9, 0.6])

    def answer(prompt):
        candidate, n = int(prompt.split("candidate ")[1].split()[0]), int(prompt.split()[-1])
        return "yes" if bool(values[candidate, n]) == bool(n % 2) else "no"

    given = [Learned((Text(f"candidate {n} ."), Readout("answer")), TASK.signature) for n in range(3)]
    ends = []
    for _ in range(2):
        meter = Meter(memory_store(), limits=Limits(attempts=1))
        run = Run(TASK, {"model": Handle(meter, "model", pt.model(answer))}, meter)
        ends.append((ucb_race(run, given, TASK.validation, block=20), meter.charged.calls))
        assert run.kept.same_as(ends[-1][0].best)
    (one, calls), (other, _) = ends
    assert one.best.instruction == "candidate 1 ."
    assert one.means[0] == pytest.approx(values[1].mean())
    assert one.evaluations == calls < 3 * 120
    assert one.means == other.means and one.evaluations == other.evaluations
