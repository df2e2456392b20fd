"""The tree-structured Parzen estimator over discrete choices, and candidates that are scored bit by bit."""

from __future__ import annotations

from collections import Counter

import pytest
from skilled import TASK, Skilled

import promptology as pt
from promptology.run.budget import Budget
from promptology.run.engine import Run
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store
from promptology.search.boards import Board
from promptology.search.demonstrations import demonstration_sets
from promptology.search.tpe import TPE


def make_run(model):
    meter = Meter(memory_store(), budget=Budget.parse(None))
    return Run(TASK, {"model": Handle(meter, "model", pt.model(model))}, meter)


def climbed(seed, asks=80):
    """Ask and tell on a table whose best cell is (2, 3): the choices add up."""
    pytest.importorskip("optuna", reason="optuna is not installed: extra optuna")
    tpe, found = TPE((4, 5), seed, random_trials=10), []
    for _ in range(asks):
        found.append(tpe.ask())
        i, j = found[-1]
        tpe.tell((i, j), 1.0 - 0.2 * abs(i - 2) - 0.1 * abs(j - 3))
    return found


def test_tpe_finds_the_best_cell_and_stays_near_it():
    late = Counter(cell for seed in range(3) for cell in climbed(seed)[40:])
    # One of 20 cells by chance: 6 of 120.
    assert late.most_common(1)[0][0] == (2, 3) and late[2, 3] > 30


def test_tpe_repeats_itself_by_its_seed_and_leaves_other_messages_alone(capfd):
    assert climbed(5, 30) == climbed(5, 30)
    assert climbed(5, 30) != climbed(6, 30)
    assert capfd.readouterr().err == ""


def test_tpe_takes_no_notice_of_a_score_that_is_missing():
    pytest.importorskip("optuna", reason="optuna is not installed: extra optuna")
    one, two = TPE((4, 5), 0, random_trials=3), TPE((4, 5), 0, random_trials=3)
    for n in range(6):
        one.tell((n % 4, n % 5), float(n))
        two.tell((n % 4, n % 5), float(n))
        two.tell((3, 3), float("nan"))
    assert [one.ask() for _ in range(5)] == [two.ask() for _ in range(5)]


def test_a_board_adds_scores_up():
    run = make_run(Skilled())
    prompts = {name: run.start.with_instruction(f"Skill {name}.") for name in (100, 50, 0)}
    board = Board(run, prompts, TASK.validation)
    assert board.more(100, 20) == 1.0 and board.more(0, 20) == 0.0
    assert not board.complete(100) and not board.complete(50)
    assert board.promising() == 100 and board.full(3) == []
    first = board.more(50, 20)
    second = board.more(50, 100)
    assert board.complete(50) and board.mean(50) == pytest.approx(0.5) == pytest.approx((first * 20 + second * 40) / 60)
    assert [scored.score for scored in board.full(3)] == [pytest.approx(0.5)]
    board.more(100, 40)
    assert [scored.prompt for scored in board.full(3)] == [prompts[100], prompts[50]] and board.promising() == 0
    assert run.meter.charged.calls == 60 + 60 + 20


def test_demonstration_sets_are_none_labelled_and_bootstrapped():
    model = Skilled()
    run = make_run(model)
    sets = demonstration_sets(run, 6, 2)
    # 12 training items, of which the start is right on those that "Skill 20." stands for.
    assert run.meter.charged.calls == 12 == len(model.answered)
    known = {i.inputs["text"]: i.target for i in TASK.train}
    right = {f"train {n}" for n in range(12) if (n * 37 + 11) % 60 < 12}
    assert 0 < len(right) < 12
    assert sets[0] is None and len(sets) == 6 and len(sets[1].examples) == 2
    for shown in sets[1:]:
        assert all(known[e.inputs["text"]] == e.output for e in shown.examples)
    for shown in sets[2:]:
        assert {e.inputs["text"] for e in shown.examples} <= right and 1 <= len(shown.examples) <= 2
    again = demonstration_sets(make_run(Skilled()), 6, 2)
    assert [s and s.to_json() for s in again] == [s and s.to_json() for s in sets]


def test_where_nothing_is_answered_right_labels_stand_in():
    run = make_run(lambda prompt: "I would rather not say")
    sets = demonstration_sets(run, 4, 3)
    known = {i.inputs["text"]: i.target for i in TASK.train}
    assert len(sets[2].examples) == 3
    assert all(known[e.inputs["text"]] == e.output for shown in sets[1:] for e in shown.examples)
