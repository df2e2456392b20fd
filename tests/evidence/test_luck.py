"""The winner's curse: what is said about the best of many, against worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

import promptology as pt
from promptology.evidence.luck import selection
from promptology.prompts import Learned, Readout, Text
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.scored import Scored
from promptology.run.store import memory_store
from promptology.search.halving import halve
from promptology.search.racing import race
from promptology.search.rescoring import rescore
from promptology.search.scoring import score


def search(truth, items, rng, hard=None):
    """Score candidates right or wrong by their true means; `hard` makes items hard or easy for all alike."""
    from scipy.stats import norm

    shape = (len(truth), items)
    if hard is None:
        return (rng.random(shape) < truth[:, None]).astype(float)
    noise = np.sqrt(hard) * rng.normal(size=items) + np.sqrt(1 - hard) * rng.normal(size=shape)
    return (noise < norm.ppf(truth)[:, None]).astype(float)


def noted(values, blocks=None):
    scored = Scored()
    keys = [str(k) for k in range(len(values))]
    for at, end in blocks or [(0, values.shape[1])]:
        scored.note(f"{at}", keys, values[:, at:end])
    return scored


def many(truths, items=50, times=60, hard=None, seed=0):
    """Return the means over many searches of best, luck, corrected and the true mean of the best."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(times):
        truth = truths(rng)
        values = search(truth, items, rng, hard)
        found = selection(noted(values))
        rows.append((found.best, found.luck, found.corrected, truth[values.mean(axis=1).argmax()]))
    return np.array(rows).mean(axis=0)


def test_the_best_of_a_hundred_equal_candidates_is_about_fifteen_points_lucky():
    best, luck, corrected, true = many(lambda rng: np.full(100, 0.7))
    assert best == pytest.approx(0.855, abs=0.01)
    assert true == pytest.approx(0.7)
    assert luck == pytest.approx(0.15, abs=0.03)
    assert corrected == pytest.approx(true, abs=0.03)


def spread(rng):
    return np.clip(rng.normal(0.7, 0.1, 100), 0, 1)


def one_good(rng):
    return np.r_[0.9, np.full(99, 0.5)]


def some_broken(rng):
    return np.r_[np.full(25, 0.1), np.full(75, 0.7)]


@pytest.mark.parametrize("truths", [spread, one_good, some_broken])
def test_the_corrected_figure_is_nearly_unbiased_where_candidates_truly_differ(truths):
    best, luck, corrected, true = many(truths)
    assert corrected == pytest.approx(true, abs=0.03)
    assert abs(corrected - true) < max(abs(best - true), 0.015)
    if truths is one_good:
        assert luck < 0.02, "what stands out by far did not win by luck"


def test_what_is_hard_for_all_is_no_luck_of_one():
    apart = many(lambda rng: np.full(40, 0.7))
    alike = many(lambda rng: np.full(40, 0.7), hard=0.8)
    assert alike[1] < 0.7 * apart[1], "answers that agree leave less to luck"
    assert alike[2] == pytest.approx(0.7, abs=0.035)


def test_few_candidates_leave_little_to_luck():
    assert 0 < many(lambda rng: np.full(2, 0.7))[1] < 0.05
    assert many(lambda rng: np.full(2, 0.7), items=2000, times=5)[1] < 0.01


def as_scorer(values, scored, name):
    def scorer(alive, columns):
        part = values[np.ix_(alive, list(columns))]
        scored.note(f"{name} {columns}", [str(i) for i in alive], part)
        return part

    return scorer


@pytest.mark.parametrize("kind", ["halving", "racing"])
def test_candidates_that_left_early_count_with_the_items_they_saw(kind):
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(60):
        truth = np.clip(rng.normal(0.6, 0.1, 64), 0, 1)
        hard = rng.normal(0, 0.25, 200)  # items, and so blocks, that are easier or harder for all
        values = (rng.random((64, 200)) < np.clip(truth[:, None] + hard, 0, 1)).astype(float)
        truth = np.clip(truth[:, None] + hard, 0, 1).mean(axis=1)
        scored = Scored()
        scorer = as_scorer(values, scored, kind)
        end = halve(scorer, 64, 200, 64 * 30) if kind == "halving" else race(scorer, 64, 60)
        found, winner = selection(scored), end.survivors[0]
        assert found.candidates == 64
        assert found.best == pytest.approx(np.nanmean(end.values[winner]))
        assert found.items == (~np.isnan(end.values[winner])).sum()
        rows.append((found.best - truth[winner], found.corrected - truth[winner]))
    naive, corrected = np.array(rows).mean(axis=0)
    assert naive > 0.02
    assert abs(corrected) < 0.6 * naive


def test_by_hand():
    # Two candidates on four items; what is left after candidate and item means is one quarter in every cell.
    scored = noted(np.array([[1.0, 1, 0, 0], [1, 0, 1, 0]]))
    found = selection(scored)
    assert (found.candidates, found.items, found.best, found.luck) == (2, 4, 0.5, 0.0), "equal means: nobody was lucky"
    sure = selection(noted(np.array([[1.0] * 4, [0.0] * 4])))
    assert (sure.best, sure.luck) == (1.0, 0.0), "no noise, no luck"
    assert selection(noted(np.array([[1.0, 0, 1]]))) is None, "nothing was selected"
    assert selection(noted(np.array([[1.0], [0.0]]))) is None, "one item does not tell noise from skill"
    assert selection(Scored()) is None


def test_scores_outside_0_to_1():
    rng = np.random.default_rng(0)
    found = [selection(noted(rng.normal(0.2, 0.5, (30, 40)).clip(-1, 1))) for _ in range(60)]
    assert np.mean([f.best for f in found]) == pytest.approx(0.34, abs=0.02)
    assert np.mean([f.corrected for f in found]) == pytest.approx(0.2, abs=0.03)


def test_missing_answers_and_repeats():
    values = search(np.full(6, 0.7), 40, np.random.default_rng(1))
    whole = selection(noted(values))
    again = noted(values)
    again.note("0", [str(k) for k in range(6)], values)
    assert selection(again) == whole, "what was scored before is not counted twice"
    values[0, :5], values[5] = np.nan, np.nan
    some = selection(noted(values))
    assert some.candidates == 5, "a candidate without any answer took no part"
    assert np.isfinite(some.luck)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("promptology.run.scored.MOST", 10)
    scored = noted(np.ones((50, 4)))
    assert len(scored.blocks["0"].means) == 10


def test_a_run_notes_what_its_search_scored_but_not_the_second_look():
    task = pt.Task([(f"number {n}", "odd" if n % 2 else "even") for n in range(200)])
    meter = Meter(memory_store())
    run = Run(task, {"model": Handle(meter, "model", pt.model(lambda p: "odd" if "odd" in p else "even"))}, meter)
    prompts = [Learned((Text(text), Readout("answer")), task.signature) for text in ("odd?", "which?", "name it")]
    items = [*[i for i in task.train if i.target == "odd"][:3], *[i for i in task.train if i.target == "even"][:7]]
    score(run, prompts, items)
    (block,) = run.scored.blocks.values()
    # The classes stand in the prompt where it does not name them, so every prompt holds "odd".
    assert list(block.means.values()) == pytest.approx([0.3] * 3)
    assert (block.items, block.squares, block.columns.tolist()) == (10, 9.0, [3.0] * 3 + [0.0] * 7)
    score(run, prompts[:1], items)
    rescore(run, prompts, task.validation)
    assert len(run.scored.blocks) == 1
    assert len(block.means) == 3
