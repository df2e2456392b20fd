"""Races by paired test and by halving, and scoring again on fresh items: who survives, at what error, at what price."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import promptology as pt
from promptology.errors import UsageError
from promptology.prompts import Learned, Readout, Text
from promptology.run.budget import Budget
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Limits, Meter
from promptology.run.store import memory_store
from promptology.search.halving import halve, sequential_halving
from promptology.search.racing import p_worse, paired_race, race, sign_test
from promptology.search.rescoring import fresh_items, rescore

REPEATS = 400


def most(p, repeats=REPEATS):
    """Return the count that a binomial with this probability exceeds once in a million times."""
    return int(stats.binom.isf(1e-6, repeats, p))


def least(p, repeats=REPEATS):
    return int(stats.binom.ppf(1e-6, repeats, p))


def table(rng, skills, items, graded=False):
    """Scores with a difficulty that all candidates share, as in real tasks: means equal the skills."""
    hard = rng.random(items)
    right = (hard < np.array(skills)[:, None]).astype(float)
    flip = rng.random(right.shape) < 0.5
    own = rng.random(right.shape) < np.array(skills)[:, None]
    values = np.where(flip, own, right)
    if not graded:
        return values
    noise = rng.random(right.shape)
    return 0.5 * values + 0.5 * noise


def scorer(values):
    return lambda alive, columns: values[np.ix_(alive, list(columns))]


def test_the_tests_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(30):
        a, b = rng.integers(0, 2, 25).astype(float), rng.integers(0, 2, 25).astype(float)
        plus, n = int((b > a).sum()), int((a != b).sum())
        expected = stats.binomtest(plus, n, alternative="greater").pvalue if n else 1.0
        assert p_worse(a, b) == pytest.approx(expected)
        x, y = rng.random(25), rng.random(25)
        assert p_worse(x, y) == pytest.approx(stats.ttest_rel(y, x, alternative="greater").pvalue)
    assert sign_test(700, 600) == pytest.approx(stats.binomtest(700, 1300, alternative="greater").pvalue)
    assert sign_test(60, 40) == pytest.approx(stats.binomtest(60, 100, alternative="greater").pvalue)
    assert sign_test(0, 0) == sign_test(0, 5000) == 1.0
    constant = np.full(10, 0.3)
    assert p_worse(constant, constant + 0.1) == pytest.approx(2**-10)
    assert p_worse(constant, constant) == 1.0


@pytest.mark.parametrize("graded", [False, True])
def test_the_best_is_dropped_no_more_often_than_alpha(graded):
    rng = np.random.default_rng(1)
    alpha, dropped = 0.2, 0
    for _ in range(REPEATS):
        # All equal: any of them is a best one, and the first is the one that must not be dropped.
        values = table(rng, [0.7] * 6, 120, graded)
        dropped += 0 not in race(scorer(values), 6, 120, 10, alpha).survivors
    assert dropped <= most(alpha)


def test_without_the_correction_the_best_would_be_dropped_more_often():
    """The bar above can be missed: the same tests at alpha itself, at every look, drop the first far more often."""
    rng = np.random.default_rng(1)
    alpha, dropped = 0.2, 0
    for _ in range(REPEATS):
        values = table(rng, [0.7] * 6, 120)
        looks = (values[:, :used] for used in range(10, 121, 10))
        dropped += any(p_worse(seen[0], seen[np.argmax(seen.mean(axis=1))]) <= alpha for seen in looks)
    assert dropped > most(alpha)


def test_a_clear_difference_ends_the_race_early_with_the_best():
    rng = np.random.default_rng(2)
    right, spent = 0, []
    for _ in range(100):
        values = table(rng, [0.4, 0.5, 0.9, 0.3], 300)
        end = race(scorer(values), 4, 300, 10, 0.05)
        right += end.survivors == [2]
        spent.append(end.evaluations)
    assert right >= least(0.95, 100)
    assert np.mean(spent) < 0.45 * 4 * 300


def test_missing_answers_never_decide():
    values = np.ones((3, 60))
    values[1] = 0.0
    values[1, 5:] = np.nan
    values[2] = np.nan
    end = race(scorer(values), 3, 60, 10, 0.05)
    # Five losses in common are not significant after the correction, and one without answers comes last.
    assert end.survivors == [0, 1, 2]
    values[1, 5:] = 0.0
    assert race(scorer(values), 3, 60, 10, 0.05).survivors == [0, 2]


@pytest.mark.parametrize("limit", [0, 3, 4, 37, 100])
def test_the_limit_of_evaluations_holds(limit):
    values = table(np.random.default_rng(3), [0.5, 0.52, 0.5, 0.51], 50)
    end = race(scorer(values), 4, 50, 10, 0.05, limit)
    assert end.evaluations == limit // 4 * 4
    assert sorted(end.survivors) == [0, 1, 2, 3]


def test_a_race_may_end_with_several_survivors():
    rng = np.random.default_rng(5)
    values = table(rng, [0.1, 0.5, 0.8, 0.81, 0.2, 0.79], 400)
    one = race(scorer(values), 6, 400)
    three = race(scorer(values), 6, 400, survivors=3)
    assert set(three.survivors) == {2, 3, 5}
    assert three.evaluations < one.evaluations


def world(seed, candidates=32, items=200):
    """Candidates that differ by about 6 points on items of shared difficulty: their accuracies and their scores."""
    rng = np.random.default_rng(seed)
    true = np.clip(rng.normal(0.7, 0.06, candidates), 0.01, 0.99)
    # Ability and difficulty are normal, so that the mean over items is the true accuracy.
    ability = stats.norm.ppf(true) * np.sqrt(2)
    p = stats.norm.cdf(ability[:, None] - rng.normal(size=items))
    return true, (rng.random(p.shape) < p).astype(float)


def test_a_race_chooses_as_well_as_full_evaluation_for_fewer_scores():
    extra, share = [], []
    for seed in range(60):
        true, values = world(seed)
        end = race(scorer(values), 32, 200, 10, 0.05)
        extra.append(true[np.argmax(values.mean(axis=1))] - true[end.survivors[0]])
        share.append(end.evaluations / values.size)
    # No worse on average, within three standard errors; and what was saved is more than nothing in every world.
    assert np.mean(extra) <= 3 * np.std(extra) / np.sqrt(60) + 1e-12
    assert max(share) < 1.0


def test_halving_beats_the_same_few_items_for_all_at_equal_scores():
    """An eighth of full evaluation: 25 items for each of 32 candidates, or halving."""
    gains = []
    for seed in range(200):
        true, values = world(seed)
        end = halve(scorer(values), 32, 200, 32 * 25)
        assert end.evaluations <= 32 * 25
        gains.append(true[end.survivors[0]] - true[np.argmax(values[:, -25:].mean(axis=1))])
    assert stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue < 1e-3


def test_halving_spends_what_it_may():
    values = world(0)[1]
    assert halve(scorer(values), 32, 200, 32 * 25).evaluations == 32 * 25
    assert halve(scorer(values[:1]), 1, 200, 90).evaluations == 90
    assert halve(scorer(values), 32, 200, 10**9).evaluations == 32 * 200
    assert halve(scorer(values), 32, 200, 0).evaluations == 32 + 16 + 8 + 4 + 2


def test_a_race_needs_sense():
    with pytest.raises(UsageError, match="alpha between"):
        race(scorer(np.ones((1, 1))), 1, 1, 10, 0.0)


TASK = pt.Task(
    [(f"train {n}", "yes" if n % 2 else "no") for n in range(10)],
    [(f"item {n}", "yes" if n % 2 else "no") for n in range(250)],
    [("test 0", "no"), ("test 1", "yes")],
)


def model_of(values, missing=()):
    def answer(prompt):
        candidate = int(prompt.split("candidate ")[1].split()[0])
        n = int(prompt.split()[-1])
        if (candidate, n) in missing or (candidate, None) in missing:
            raise OSError("gone")
        return "yes" if bool(values[candidate, n]) == bool(n % 2) else "no"

    return answer


def make_run(answer, seed=0):
    meter = Meter(memory_store(), budget=Budget({}), limits=Limits(attempts=1, missing=1.0))
    return Run(TASK, {"model": Handle(meter, "model", pt.model(answer))}, meter, seed=seed)


def candidates(count):
    return [Learned((Text(f"candidate {n} ."), Readout("answer")), TASK.signature) for n in range(count)]


def test_a_race_of_prompts_is_the_race_of_their_scores_and_repeats():
    values = table(np.random.default_rng(4), [0.5, 0.9, 0.6], 250)
    ends = [paired_race(make_run(model_of(values)), candidates(3), TASK.validation, block=20) for _ in range(2)]
    assert ends[0].best.instruction == "candidate 1 ."
    assert [c.instruction for c in ends[0].survivors] == [c.instruction for c in ends[1].survivors]
    assert ends[0].means == ends[1].means and ends[0].evaluations == ends[1].evaluations < 3 * 250
    run = make_run(model_of(values))
    limited = paired_race(run, candidates(3), TASK.validation, evaluations=100)
    assert limited.evaluations <= 100
    assert run.kept.same_as(limited.best)


def test_both_races_treat_missing_answers_alike():
    values = np.ones((3, 250))
    values[1, ::4] = 0
    for missing in ([(0, n) for n in range(0, 250, 3)], [(2, None)], [(0, n) for n in range(250)]):
        answer = model_of(values, set(missing))
        raced = paired_race(make_run(answer), candidates(3), TASK.validation, block=50)
        halved = sequential_halving(make_run(answer), candidates(3), TASK.validation, 3 * 250 * 2)
        assert raced.best.same_as(halved.best)
        assert raced.means[0] == halved.means[0] == 1.0


def test_fresh_items_are_validation_items_that_were_not_used():
    run = make_run(model_of(np.ones((1, 250))))
    used = TASK.validation[:50]
    fresh = fresh_items(run, [*used, *TASK.train])
    assert len(fresh) == 200 and not set(fresh) & set(used)
    assert [i.id for i in fresh] == [i.id for i in fresh_items(run, used)]
    assert len(fresh_items(run, used, 30)) == 30
    assert fresh_items(run, TASK.validation) == []


def test_identical_inputs_are_not_fresh():
    rows = [pt.Item(str(n), {"text": f"same {n % 5}"}, "yes" if n % 5 % 2 else "no") for n in range(10)]
    task = pt.Task([("a", "yes"), ("b", "no")], rows, [("c", "yes")])
    run = Run(task, {"model": make_run(print).model()}, Meter(memory_store()))
    assert {i.inputs["text"] for i in fresh_items(run, task.validation[:2])} == {"same 2", "same 3", "same 4"}


def test_ties_keep_the_order_of_the_search_and_nothing_fresh_measures_nothing():
    values = np.ones((4, 250))
    values[0, ::2] = 0
    run = make_run(model_of(values))
    again = rescore(run, candidates(4), TASK.validation[:40])
    assert [c.instruction.split()[1] for c in again.survivors] == ["1", "2", "3", "0"]
    assert again.means == [1.0, 1.0, 1.0, 0.5] and again.evaluations == 160
    skipped = rescore(run, candidates(2), [])
    assert [c.instruction.split()[1] for c in skipped.survivors] == ["0", "1"]
    assert np.isnan(skipped.means).all() and skipped.evaluations == 0


def test_the_winners_curse_is_seen_and_lifted():
    """100 candidates that are all right 7 times in 10: on 50 items the best looks far better, fresh items tell."""
    raw, again = [], []
    for seed in range(20):
        values = np.random.default_rng(seed).random((100, 250)) < 0.7
        run = make_run(model_of(values), seed)
        order = run.rng("search").permutation(250)[:50]
        search = values[:, order].mean(axis=1)
        best = int(np.argmax(search))
        raw.append(search[best])
        fresh = fresh_items(run, [TASK.validation[i] for i in order])
        rescored = rescore(run, [candidates(100)[i] for i in (best, (best + 1) % 100)], fresh)
        again.append(
            dict(zip([c.instruction for c in rescored.survivors], rescored.means, strict=True))[f"candidate {best} ."]
        )
    # The maximum of 100 binomial shares, exactly: mean and deviation of the largest of 100 draws of Bin(50, 0.7) / 50.
    cdf = stats.binom.cdf(np.arange(51), 50, 0.7) ** 100
    p = np.diff(cdf, prepend=0.0)
    mean = float((p * np.arange(51)).sum() / 50)
    sd = float(np.sqrt((p * (np.arange(51) / 50 - mean) ** 2).sum()))
    assert mean > 0.83
    assert np.mean(raw) == pytest.approx(mean, abs=4 * sd / np.sqrt(20))
    # A share of 200 fresh items is unbiased: 0.7 within four of its own standard errors.
    assert np.mean(again) == pytest.approx(0.7, abs=4 * np.sqrt(0.7 * 0.3 / 200 / 20))
